"""Plots, drawn with matplotlib's objects: no pyplot, so no global state and no display."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale
from matplotlib.ticker import FuncFormatter, MaxNLocator

from defectkit.arrays import BoolArray, Float64Array
from defectkit.evaluation.image_metrics import escape_and_overkill_rates
from defectkit.reporting.drawing.figures import (
    BLUE,
    FAINT,
    INK,
    LINE_COLORS,
    ORANGE,
    VERMILLION,
    new_figure,
    style_axes,
    write_figure,
)

HistoryRows = Sequence[Mapping[str, float | int | None]]

METRIC_LABELS = {
    "val_image_ap": "image average precision",
    "val_pixel_ap": "pixel average precision",
    "val_dice": "pixel Dice",
}


def plot_history(path: Path | str, rows: HistoryRows, *, kept_epoch: int | None = None) -> None:
    """Write ``curves.png``: losses, validation metrics and learning rate over the epochs.

    Args:
        path: the PNG to write.
        rows: a row per epoch with ``epoch``, ``train_loss``, any ``train_<term>`` and
            ``val_<metric>``, and ``learning_rate``; a missing value or None has no point.
        kept_epoch: the epoch whose weights were kept; a dashed line marks it.
    """
    figure = new_figure(13, 3.6)
    loss, validation, rate = figure.subplots(1, 3)
    names = [name for name in dict.fromkeys(chain(*rows)) if not name.endswith("_seconds")]
    terms = [name for name in names if name.startswith("train_") and name != "train_loss"]
    totals = {"train_loss": "total" if len(terms) > 1 else "loss"}
    losses = totals | {name: name.removeprefix("train_") for name in terms if len(terms) > 1}
    metrics = {
        name: METRIC_LABELS.get(name, name.removeprefix("val_"))
        for name in names
        if name.startswith("val_")
    }
    rates = {name: name for name in names if name.startswith("learning_rate")}
    _plot_columns(loss, rows, losses, title="Training loss")
    _plot_columns(validation, rows, metrics, title="Validation")
    _plot_columns(rate, rows, rates, title="Learning rate")
    validation.set_ylim(0, 1.02)
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if kept_epoch is not None:
        label = f"kept epoch: {kept_epoch}"
        for axes in (loss, validation, rate):
            axes.axvline(
                kept_epoch, color=FAINT, linewidth=1, linestyle="--", zorder=1, label=label
            )
        validation.legend(edgecolor="none", framealpha=0.85)
    write_figure(path, figure)


def plot_scores(
    path: Path | str,
    scores: npt.ArrayLike,
    defective: npt.ArrayLike,
    *,
    threshold_low: float,
    threshold_high: float,
) -> None:
    """Write ``scores.png``: the image scores, and the error rates at each threshold.

    Left, histograms of the scores of good and of defective images. Right, the escape rate against
    the overkill rate as one threshold moves from 0 to 1, with the chosen thresholds marked. An
    image is called defective when ``score >= threshold``.

    Args:
        path: the PNG to write.
        scores: (N,) image scores in [0, 1].
        defective: (N,) bool, the truth.
        threshold_low: below it an image is called good.
        threshold_high: at or above it an image is called defective.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(defective, dtype=np.bool_)
    assert values.shape == truth.shape, (values.shape, truth.shape)
    figure = new_figure(12, 4.2)
    histogram, trade_off = figure.subplots(1, 2)
    _plot_histogram(histogram, values, truth, threshold_low, threshold_high)
    _plot_trade_off(trade_off, values, truth, threshold_low, threshold_high)
    write_figure(path, figure)


def _plot_histogram(
    axes: Axes, scores: Float64Array, truth: BoolArray, low: float, high: float
) -> None:
    bins = np.linspace(0, 1, 41).tolist()
    for chosen, color, name in ((~truth, BLUE, "good"), (truth, ORANGE, "defective")):
        axes.hist(
            np.clip(scores[chosen], 0, 1),
            bins=bins,
            color=color,
            alpha=0.6,
            edgecolor=color,
            histtype="stepfilled",
            label=f"{name} ({chosen.sum()})",
        )
    lines: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": "--"}
    if high > low:
        name = f"review: {low:.3f} to {high:.3f}"
        axes.axvspan(low, high, color=FAINT, alpha=0.18, linewidth=0, label=name)
        axes.axvline(low, **lines)
        axes.axvline(high, **lines)
    else:
        axes.axvline(low, **lines, label=f"threshold {low:.3f}")
    # On a square-root scale, few images of one kind are visible beside hundreds of the other.
    axes.set_yscale(_square_root_scale(axes.yaxis))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.legend(edgecolor="none", framealpha=0.85)
    style_axes(axes, "Image scores", "defect score", "number of images (square-root scale)")


def _plot_trade_off(
    axes: Axes, scores: Float64Array, truth: BoolArray, low: float, high: float
) -> None:
    style_axes(axes, "Escapes and overkills", "overkill rate", "escape rate")
    if truth.all() or not truth.any():
        axes.set_axis_off()
        axes.text(0.5, 0.5, "only with good and with defective images", color=FAINT, ha="center")
        return
    _, escapes, overkills = escape_and_overkill_rates(scores, truth)
    axes.plot(
        overkills,
        escapes,
        color=BLUE,
        linewidth=2,
        clip_on=False,
        label="a single threshold of any value",
    )
    n_defective, n_good = int(truth.sum()), int((~truth).sum())
    n_escapes = int((scores[truth] < low).sum())
    n_overkills = int((scores[~truth] >= high).sum())
    n_reviews = int(((scores >= low) & (scores < high)).sum())
    label = f"chosen: escapes {n_escapes} of {n_defective}, overkills {n_overkills} of {n_good}"
    if high > low:
        label += f",\nreviews {n_reviews} of {truth.size}"
    axes.plot(
        n_overkills / n_good,
        n_escapes / n_defective,
        color=VERMILLION,
        marker="D",
        markersize=8,
        linestyle="none",
        clip_on=False,
        zorder=3,
        label=label,
    )
    # A square-root scale gives more space to the small rates, which matter most.
    ticks = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 1]
    for axis, name in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        axes.set(**{f"{name}scale": _square_root_scale(axis), f"{name}lim": (0, 1)})
        axis.set_ticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])
    axes.legend(edgecolor="none", framealpha=0.85)


def _square_root_scale(axis: Axis) -> FuncScale:
    return FuncScale(axis, (lambda value: np.sqrt(np.maximum(value, 0)), np.square))


def _plot_columns(axes: Axes, rows: HistoryRows, names: Mapping[str, str], *, title: str) -> None:
    epochs = _column(rows, "epoch")
    for index, (name, label) in enumerate(names.items()):
        values = _column(rows, name)
        known = ~np.isnan(values)  # not every epoch is validated
        axes.plot(
            epochs[known],
            values[known],
            label=label,
            color=LINE_COLORS[index % len(LINE_COLORS)],
            linewidth=1.6,
            marker="o",
            markersize=3 if len(rows) > 1 else 6,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(np.nanmin(epochs) - 0.5, np.nanmax(epochs) + 0.5)
    axes.set_ylim(bottom=0)
    if len(names) > 1:
        axes.legend(edgecolor="none", framealpha=0.85)
    style_axes(axes, title, "epoch", "")


def _column(rows: HistoryRows, name: str) -> Float64Array:
    values = (row.get(name) for row in rows)
    return np.array([np.nan if value is None else float(value) for value in values])
