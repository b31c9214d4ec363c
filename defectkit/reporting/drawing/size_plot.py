"""The plot of how large defects must be to be found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter

from defectkit.reporting.drawing.figures import (
    BLUE,
    INK,
    ORANGE,
    new_figure,
    style_axes,
    write_figure,
)


def plot_region_recall(
    path: Path | str,
    recall_by_area: Mapping[str, Mapping[str, Any]],
    detection: Mapping[str, Any] | None = None,
) -> None:
    """Write ``region_recall.png``: the fraction of the true regions that were found, by area.

    For each area range a line from its least to its largest area, whose middle has the 95 %
    Clopper-Pearson interval; and the curve of the probability of detection with its band, where
    there is one.

    Args:
        path: the PNG to write.
        recall_by_area: the name of an area range to ``{found, total, value, low, high}``, as in
            ``metrics.json``; a range without regions gets no line.
        detection: ``detection.by_area`` of ``metrics.json``.
    """
    figure = new_figure(8, 4.2)
    axes = figure.subplots()
    axes.set_xscale("log")
    borders: set[float] = set()
    for label, entry in recall_by_area.items():
        if entry["total"]:
            borders |= _plot_recall(axes, label, entry)
    if detection and detection["sizes"]:
        _plot_detection(axes, detection)
    if borders:
        axes.set_xticks(sorted(borders))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    style_axes(axes, "Defects found, by area", "area in pixels", "found")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    write_figure(path, figure)


def _plot_recall(axes: Axes, label: str, entry: Mapping[str, Any]) -> set[float]:
    """Draw the fraction of an area range such as 64-255 or 4096+, and return its borders."""
    low, _, high = label.rstrip("+").partition("-")
    start = max(float(low), 1.0)
    end = float(high) + 1 if high else 4 * start
    middle = np.sqrt(start * end)
    value = entry["value"]
    axes.plot([start, end], [value, value], color=INK, linewidth=3, solid_capstyle="butt")
    interval = [[max(0, value - entry["low"])], [max(0, entry["high"] - value)]]
    style: dict[str, Any] = {"color": INK, "linewidth": 1.4, "capsize": 4, "fmt": "none"}
    axes.errorbar(middle, value, yerr=interval, **style)
    axes.annotate(
        f"{entry['found']} of {entry['total']}",
        (middle, value),
        xytext=(5, -4 if value > 0.1 else 4),
        textcoords="offset points",
        fontsize=8,
        va="top" if value > 0.1 else "bottom",
        color=INK,
    )
    return {start, end} if high else {start}


def _plot_detection(axes: Axes, detection: Mapping[str, Any]) -> None:
    sizes = detection["sizes"]
    axes.plot(sizes, detection["probability"], color=BLUE, label="probability of detection")
    if detection["low"]:
        axes.fill_between(
            sizes,
            detection["low"],
            detection["high"],
            color=BLUE,
            alpha=0.18,
            label="one-sided bounds of 95 %",
        )
    for name, text in (("a90", "a90"), ("a90_95", "a90/95")):
        if detection[name]:
            label = f"{text}: {detection[name]:,.0f} pixels"
            style = "--" if name == "a90" else ":"
            axes.axvline(detection[name], color=ORANGE, linewidth=1.2, linestyle=style, label=label)
