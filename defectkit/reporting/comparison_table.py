"""The table of a comparison: a line for each metric, a cell for each run, the best ones marked.

A run is given by its row of ``comparison.csv``: a value under each key, the ends of its interval
under ``<key>_low`` and ``<key>_high``, and under ``<key>_significant`` whether it is worse than
the best run by more than chance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from defectkit.control_characters import show_controls
from defectkit.reporting.glossary import GLOSSARY
from defectkit.reporting.metric_tables import NO_VALUE
from defectkit.reporting.progress import format_time
from defectkit.terminal import one_line

Row = Mapping[str, Any]
Form = Literal["number", "rate", "count", "large", "time", "milliseconds", "text"]


class Line(NamedTuple):
    """One line of the table: its key in ``comparison.csv``, its name, its meaning and its form.

    ``better`` is 1 where the largest value is best, -1 where the smallest is, 0 where none is.
    """

    key: str
    name: str
    meaning: str
    form: Form
    better: Literal[-1, 0, 1] = 0


class Cell(NamedTuple):
    """One value as text, with its counts and its interval as ``details``.

    ``best`` says that no run is better, ``worse`` that the best run is better by more than chance.
    """

    value: str
    details: tuple[str, ...]
    best: bool
    worse: bool


def _metric_line(
    key: str, section: str, name: str, form: Form = "number", better: Literal[-1, 1] = 1
) -> Line:
    return Line(key, *GLOSSARY[section][name], form, better)


EXPORTED_MEANING = "Numbers that an exported model computes with; in a cascade another looks first."
FLOPS_MEANING = "Floating-point operations for one image of 512 x 512 pixels."

SECTIONS: dict[str, tuple[Line, ...]] = {
    "Model": (
        Line("approach", "Approach", "The way of finding defects.", "text"),
        Line("network", "Network", "Architecture of the network.", "text"),
        Line("encoder", "Encoder", "The part that may start from pretrained weights.", "text"),
        Line("exported", "Exported", EXPORTED_MEANING, "text"),
        Line("train_seconds", "Training", "Wall clock time, with validations and folds.", "time"),
        Line("epochs", "Epochs", "Number of epochs that were trained.", "count"),
    ),
    "Images": (
        _metric_line("image_ap", "image", "average_precision"),
        _metric_line("auroc", "image", "auroc"),
        _metric_line("escape_rate", "image", "escape_rate", "rate", -1),
        _metric_line("overkill_rate", "image", "overkill_rate", "rate", -1),
        Line("reviews", "Reviews", GLOSSARY["image"]["reviews"][1], "count"),
    ),
    "Pixels": (
        _metric_line("pixel_dice", "pixel", "dice"),
        _metric_line("pixel_ap", "pixel", "average_precision"),
        _metric_line("pixel_mean_iou", "pixel", "mean_iou"),
        _metric_line("pixel_aupro_30", "pixel", "aupro_30"),
        _metric_line("pixel_aupro_05", "pixel", "aupro_05"),
    ),
    "Regions": (
        _metric_line("region_recall", "region", "recall", "rate"),
        _metric_line("region_precision", "region", "precision", "rate"),
        _metric_line("false_alarms_per_image", "region", "false_alarms_per_image", "number", -1),
        _metric_line(
            "false_alarms_per_good_image", "region", "false_alarms_per_good_image", "number", -1
        ),
        _metric_line(
            "good_with_false_alarms", "region", "good_images_with_false_alarms", "rate", -1
        ),
    ),
    "Boxes": (
        _metric_line("box_map_50", "box", "map_50"),
        _metric_line("box_map_50_95", "box", "map_50_95"),
    ),
    "Cost": (
        _metric_line("ms_per_image", "speed", "ms_per_image_median", "milliseconds", -1),
        Line("device", "Device", GLOSSARY["speed"]["device"][1], "text"),
        Line("flops", "FLOPs", FLOPS_MEANING, "large", -1),
        Line("parameters", "Parameters", "Number of learned parameters.", "large", -1),
    ),
}

LINES = {line.key: line for lines in SECTIONS.values() for line in lines}

CONSOLE_NAMES = {
    "image_ap": "image\nAP",
    "escape_rate": "\nescapes",
    "overkill_rate": "\noverkills",
    "pixel_dice": "pixel\nDice",
    "region_recall": "regions\nfound",
    "false_alarms_per_image": "false\nalarms",
    "box_map_50": "box\nmAP50",
    "ms_per_image": "ms per\nimage",
}
"""The lines that the console shows, with shorter names."""

RATE_COUNTS = {
    "escape_rate": ("escapes", "n_defective"),
    "overkill_rate": ("overkills", "n_good"),
    "region_recall": ("regions_found", "regions_total"),
    "region_precision": ("regions_right", "regions_listed"),
    "good_with_false_alarms": ("n_good_with_false_alarms", "n_good"),
}
"""The two counts of each rate."""


def make_cells(line: Line, rows: Sequence[Row]) -> list[Cell]:
    """Return the cell of each run. A single run is not marked as best."""
    values = [row[line.key] for row in rows]
    known = [line.better * value for value in values if value is not None] if line.better else []
    best = max(known) if len(known) > 1 else None
    return [
        Cell(
            value=format_cell(value, line.form),
            details=_details(line, row),
            best=best is not None and value is not None and line.better * value == best,
            worse=bool(row.get(f"{line.key}_significant")),
        )
        for value, row in zip(values, rows, strict=True)
    ]


def format_cell(value: Any, form: Form) -> str:
    """Return a value as text for people.

    >>> [format_cell(value, "time") for value in (42.3, 1500.0, 4320.0)]
    ['42 s', '25 min', '1 h 12 min']
    >>> [format_cell(value, "large") for value in (123, 4_650_000, 12_345_678_901)]
    ['123', '4.65 M', '12.35 G']
    """
    if value is None or value == "":
        return NO_VALUE
    match form:
        case "number":
            return f"{value:.3f}" if value < 10 else f"{value:.1f}"
        case "rate":
            return f"{100 * value:.1f} %"
        case "milliseconds":
            return f"{value:.1f}" if value < 100 else f"{value:.0f}"
        case "time":
            return format_time(value)
        case "large":
            return _format_large(value)
        case "count" | "text":
            return str(value)


def print_comparison(
    console: Console, rows: Sequence[Row], notes: Sequence[str], out: Path
) -> None:
    """Print the table, the notes, and where the comparison was written."""
    console.print(console_table(rows))
    if len(rows) > 1:
        console.print("[bold]bold[/]: best  ▼: significantly worse than the best")
    for note in notes:
        console.print(f"[yellow]note:[/] {one_line(note)}", highlight=False)
    told = (
        f"table in {out / 'comparison.csv'}, page in {out / 'comparison.html'}, "
        f"picture in {out / 'comparison.png'}"
    )
    console.print(f"\n{one_line(told)}")


def console_table(rows: Sequence[Row]) -> Table:
    """Return the main metrics, a row per run: the best in bold, those that are behind marked."""
    # Narrow: it must fit a terminal of 80 columns.
    table = Table(box=None, padding=(0, 1, 1, 0), header_style="bold")
    table.add_column("\nrun", overflow="fold", min_width=9)
    for name in CONSOLE_NAMES.values():
        table.add_column(name, justify="right", no_wrap=True)
    columns = [
        [_console_cell(key, cell) for cell in make_cells(LINES[key], rows)] for key in CONSOLE_NAMES
    ]
    for row, *cells in zip(rows, *columns, strict=True):
        model = Text("".join(f"\n{one}" for one in describe_model(row)), "dim")
        table.add_row(Text(show_controls(row["run"])) + model, *cells)
    return table


def describe_model(row: Row) -> list[str]:
    """Return what the model of a row is: approach, network, and how it was exported if it was."""
    return [row[key] for key in ("approach", "network", "exported") if row[key]]


def _console_cell(key: str, cell: Cell) -> Text:
    style = "bold green" if cell.best else "red" if cell.worse else ""
    # Intervals of false alarms differ too much in width for a narrow column.
    details = () if key == "false_alarms_per_image" else cell.details
    mark = " ▼" if cell.worse else ""
    return Text(cell.value + mark, style) + Text("".join(f"\n{one}" for one in details), "dim")


def _details(line: Line, row: Row) -> tuple[str, ...]:
    """Return the counts of a rate, and the 95 % interval of a value that has one."""
    low, high = row.get(f"{line.key}_low"), row.get(f"{line.key}_high")
    if low is None or high is None or row[line.key] is None:
        return ()
    if line.form != "rate":
        digits = 2 if high < 10 else 0
        return (f"{low:.{digits}f}{NO_VALUE}{high:.{digits}f}",)
    part, whole = (row[key] for key in RATE_COUNTS[line.key])
    return f"{part} of {whole}", NO_VALUE.join(
        f"{100 * end:.1f}".removesuffix(".0") for end in (low, high)
    )


def _format_large(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return str(value)
