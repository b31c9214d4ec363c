"""The picture of ``benchmarks/quality.py``: quality beside speed, made from the results alone."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from quality_scores import Scores
from quality_table import BySeed

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter


def draw(sections: Mapping[str, Mapping[str, BySeed]], path: Path) -> None:
    """Draw a panel for each section: the Dice of the pixels beside images per second.

    Small dots are seeds, the large ones their means; up and to the right is better.
    """
    figure, axes = plt.subplots(
        1, len(sections), figsize=(4.5 * len(sections), 3.8), squeeze=False, layout="constrained"
    )
    names = sorted({name for results in sections.values() for name in results})
    for ax, (title, results) in zip(axes[0], sections.items(), strict=True):
        for name, by_seed in results.items():
            _draw_competitor(ax, name, list(by_seed.values()), color=f"C{names.index(name)}")
        ax.set(title=title, xlabel="images per second", xscale="log")
        ax.set_ylim(top=1)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(which="both", labelsize=8)
        ax.margins(x=0.25)
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("pixel Dice")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_competitor(ax: Axes, name: str, scores: list[Scores], *, color: str) -> None:
    once = [np.ones((1, len(one.groups)), np.int64) for one in scores]
    dice = [float(one.dice(all_)[0]) for one, all_ in zip(scores, once, strict=True)]
    speed = [1000 / one.content["facts"]["ms_per_image"] for one in scores]
    ax.plot(speed, dice, "o", markersize=3, alpha=0.5, color=color)
    center = float(np.mean(speed)), float(np.mean(dice))
    ax.plot(*center, "o", markersize=9, color=color)
    ax.annotate(name, center, textcoords="offset points", xytext=(8, 6), fontsize=9)
