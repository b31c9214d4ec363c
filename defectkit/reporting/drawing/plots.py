"""Plots, drawn with matplotlib's objects: no pyplot, so no global state and no display."""

import io
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.scale import FuncScale
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from defectkit.arrays import BoolArray, Float64Array
from defectkit.evaluation.image_metrics import escape_and_overkill_rates
from defectkit.files import write_bytes
from defectkit.reporting.drawing import palette
from defectkit.reporting.drawing.palette import hex_code

# The palette without yellow, which is too light for white paper.
LINE_COLORS = tuple(
    hex_code(color)
    for color in (
        *(palette.BLUE, palette.ORANGE, palette.GREEN),
        *(palette.VERMILLION, palette.PURPLE, palette.SKY),
    )
)
BLUE, ORANGE, GREEN, VERMILLION, *_ = LINE_COLORS
INK, FAINT = "#24292f", "#6e7781"

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
    figure = _figure(13, 3.6)
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
    _write(path, figure)


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
    figure = _figure(12, 4.2)
    histogram, trade_off = figure.subplots(1, 2)
    _plot_histogram(histogram, values, truth, threshold_low, threshold_high)
    _plot_trade_off(trade_off, values, truth, threshold_low, threshold_high)
    _write(path, figure)


def plot_region_recall(path: Path | str, recall_by_area: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``region_recall.png``: the fraction of the true regions that were found, by area.

    A bar for each area range, with its 95 % Clopper-Pearson interval.

    Args:
        path: the PNG to write.
        recall_by_area: the name of an area range to ``{found, total, value, low, high}``, as in
            ``metrics.json``; a range without regions gets no bar.
    """
    figure = _figure(max(5, 1.3 * len(recall_by_area) + 1.5), 3.8)
    axes = figure.subplots()
    for position, entry in enumerate(recall_by_area.values()):
        if not entry["total"]:
            continue
        value = entry["value"]
        interval = [[max(0, value - entry["low"])], [max(0, entry["high"] - value)]]
        axes.bar(position, value, width=0.62, color=BLUE, alpha=0.85)
        axes.errorbar(position, value, yerr=interval, color=INK, capsize=5, linewidth=1.4)
    axes.set_xticks(
        range(len(recall_by_area)),
        [
            f"{label}\n{entry['found']} of {entry['total']}"
            for label, entry in recall_by_area.items()
        ],
    )
    axes.set_xlim(-0.6, max(len(recall_by_area), 1) - 0.4)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    _style_axes(axes, "Regions found, by area", "area in pixels", "regions found, 95 % interval")
    _write(path, figure)


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
    _style_axes(axes, "Image scores", "defect score", "number of images (square-root scale)")


def _plot_trade_off(
    axes: Axes, scores: Float64Array, truth: BoolArray, low: float, high: float
) -> None:
    _style_axes(axes, "Escapes and overkills", "overkill rate", "escape rate")
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
    _style_axes(axes, title, "epoch", "")


def _style_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold")
    axes.set_xlabel(x_label, color=FAINT)
    axes.set_ylabel(y_label, color=FAINT)
    axes.tick_params(colors=FAINT)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c9ced4")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def _column(rows: HistoryRows, name: str) -> Float64Array:
    values = (row.get(name) for row in rows)
    return np.array([np.nan if value is None else float(value) for value in values])


def _write(path: Path | str, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
