"""What is printed of a plan: the facts of the dataset, and the settings with their reasons."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from defectkit.control_characters import show_controls
from defectkit.data.dataset import Dataset
from defectkit.data.dataset_facts import DatasetFacts, Spread, facts_of
from defectkit.reporting.progress import track
from defectkit.training.plan import Plan, PlannedSetting


def measure_with_progress(dataset: Dataset, console: Console) -> DatasetFacts:
    """Return the facts of a dataset; where ``prepare`` stored none, its images are read.

    Raises:
        DatasetError, ImageError: as ``facts_of``.
    """
    return facts_of(
        dataset,
        track=lambda records: track(records, "measuring the dataset", console=console),
    )


def print_facts(console: Console, facts: DatasetFacts) -> None:
    """Print the facts as two tables: the images, and the defects by class."""
    images = _table("Splits, and training images: 5th, 50th and 95th percentile")
    for split, counts in facts.splits.items():
        images.add_row(
            split, f"{counts.defective} defective, {counts.good} good, in {counts.groups} groups"
        )
    images.add_row("width, px", f"{_show(facts.width)}{', all equal' * facts.equal_sizes}")
    images.add_row("height, px", _show(facts.height))
    images.add_row("aligned", _show_alignment(facts))
    console.print(images)
    if facts.defects is None:
        return
    columns = ("class", "regions", "area, px", "side, px", "thickness", "contrast")
    defects = _table("Training defects: 5th, 50th and 95th percentile", *columns)
    classes = {**facts.defects_by_class}
    if len(classes) > 1:
        classes["all"] = facts.defects
    for name, one in classes.items():
        spreads = map(_show, (one.area, one.side, one.thickness, one.contrast))
        defects.add_row(*map(Text, (show_controls(name), str(one.regions), *spreads)))
    console.print(defects)


def print_plan(console: Console, plan: Plan) -> None:
    """Print all planned settings; those that differ from their defaults are bold."""
    if not plan.settings:
        console.print("Nothing is planned: settings that are not given have their defaults.")
        return
    table = _table("Plan", "setting", "value", "default", "reason")
    for one in plan.settings:
        style = "bold" if one.is_changed else ""
        cells = (one.key, show_value(one.value), show_value(one.default))
        table.add_row(*(Text(cell, style) for cell in cells), Text(show_controls(one.reason)))
    console.print(table)


def print_changes(console: Console, plan: Plan) -> None:
    """Print a line for each planned setting that differs from its default."""
    changed = [one for one in plan.settings if one.is_changed]
    if changed:
        console.print("planned from the dataset (--set changes one, --set plan=false all):")
    for one in changed:
        console.print(Text(_line(one)), soft_wrap=True)


def show_value(value: Any) -> str:
    """Return the value of a setting as ``--set`` takes it."""
    return str(value).replace(" ", "")


def _line(one: PlannedSetting) -> str:
    return (
        f"  {one.key}={show_value(one.value)} rather than {show_value(one.default)}: "
        f"{show_controls(one.reason)}"
    )


def _show(spread: Spread | None) -> str:
    if spread is None:
        return ""
    values = (spread.p5, spread.p50, spread.p95)
    return " ".join(f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in values)


def _show_alignment(facts: DatasetFacts) -> str:
    if facts.alignment is None:
        return "too few images to tell"
    answer = "yes" if facts.aligned else "no"
    return f"{answer}: correlation of an image with the mean of the others {facts.alignment:.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_header=bool(columns),
        collapse_padding=True,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, no_wrap=column != "reason")
    return table
