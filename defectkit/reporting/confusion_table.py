"""The confusion matrix of the classes, for the console and for pages."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from defectkit.control_characters import show_controls
from defectkit.evaluation.region_matching import ClassConfusion

HEAT_LEVELS = 10
"""A cell that holds all regions of its row has this heat."""


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """A number of regions, its share of the row as a heat in 0..10, and if the class is right."""

    count: int
    heat: int
    right: bool


def confusion_rows(confusion: ClassConfusion) -> list[tuple[str, list[ConfusionCell]]]:
    """Return each true class with its cells: by found class, and last the missed regions.

    Where there is a region, the heat is at least 1.
    """
    rows = []
    for place, (name, counts) in enumerate(
        zip(confusion["classes"], confusion["counts"], strict=True)
    ):
        cells = [
            ConfusionCell(count, -(-HEAT_LEVELS * count // max(sum(counts), 1)), column == place)
            for column, count in enumerate(counts)
        ]
        rows.append((name, cells))
    return rows


def describe_mixups(confusion: ClassConfusion | None) -> str:
    """Return how many of the found regions got another class, and which one got which most often.

    "" where there are no classes to mix up, or nothing was found.

    >>> describe_mixups({"classes": ["cut", "pit"], "counts": [[5, 1, 0], [2, 3, 1]]})
    'named as another class: 3 of 11 found defects, most often class pit as class cut'
    """
    classes = confusion["classes"] if confusion else []
    if not confusion or len(classes) < 2:
        return ""
    named = [counts[: len(classes)] for counts in confusion["counts"]]
    total = sum(map(sum, named))
    if not total:
        return ""
    wrong = {
        (true, found): count
        for true, counts in zip(classes, named, strict=True)
        for found, count in zip(classes, counts, strict=True)
        if found != true and count
    }
    told = f"named as another class: {sum(wrong.values()) or 'none'} of {total} found defects"
    if not wrong:
        return told
    true, found = max(wrong, key=lambda pair: wrong[pair])
    return f"{told}, most often class {true} as class {found}"


def confusion_table(confusion: ClassConfusion) -> Table:
    """Return the table for a terminal: right classes are bold, 0 is a dot."""
    table = Table(title="labeled defects, by the class that was found", title_justify="left")
    table.add_column("labeled class")
    for name in confusion["classes"]:
        table.add_column(Text(show_controls(name)), justify="right", overflow="fold")
    table.add_column("missed", justify="right", style="dim")
    for name, cells in confusion_rows(confusion):
        texts = [Text(str(cell.count or "·"), "bold" if cell.right else "") for cell in cells]
        table.add_row(Text(show_controls(name)), *texts)
    return table
