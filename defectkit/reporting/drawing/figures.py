"""What all plots share: the figure, the look of its axes, and the file."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches; it needs no display and no global state."""
    figure = Figure(figsize=(width, height), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Give axes their title, labels and look."""
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


def write_figure(path: Path | str, figure: Figure) -> None:
    """Write a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
