"""What ``prepare`` found, as tables for people."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from defectkit.preparation.prepared_image import PreparedImage
from defectkit.vocabulary import SPLITS

PERCENTILES = (5, 25, 50, 75, 95)


def print_summary(
    console: Console,
    images: Sequence[PreparedImage],
    classes: Sequence[str],
    *,
    pixel_pitch: float | None,
) -> None:
    """Print what the images are, how large the defects are, and what each split holds.

    ``pixel_pitch`` is the side of a pixel in mm; with it, areas are given in mm² too.
    """
    console.print(_images_table(images))
    if classes:
        console.print(_defects_table(images, classes, pixel_pitch))
    console.print(_splits_table(images, classes))


def _images_table(images: Sequence[PreparedImage]) -> Table:
    by_size = sorted(
        (image.facts for image in images), key=lambda facts: facts.width * facts.height
    )
    smallest, middle, largest = (
        f"{facts.width} x {facts.height}"
        for facts in (by_size[0], by_size[len(by_size) // 2], by_size[-1])
    )
    defective = sum(bool(image.facts.rles) for image in images)
    gray = sum(image.facts.channels == 1 for image in images)
    table = _table("Images", "", "")
    for name, value in (
        ("images", str(len(images))),
        ("defective", str(defective)),
        ("good", str(len(images) - defective)),
        ("gray", str(gray)),
        ("color", str(len(images) - gray)),
        ("smallest, width x height", smallest),
        ("median", middle),
        ("largest", largest),
    ):
        table.add_row(name, value)
    return table


def _defects_table(
    images: Sequence[PreparedImage], classes: Sequence[str], pixel_pitch: float | None
) -> Table:
    columns = ("class", "images", "regions", "area", *(f"p{rank}" for rank in PERCENTILES))
    table = _table("Defect regions, area by percentile (% is of the image)", *columns)
    for class_id in classes:
        holders = [image.facts for image in images if class_id in image.facts.rles]
        areas_and_images = [
            (defect.area, facts.width * facts.height)
            for facts in holders
            for defect in facts.regions
            if defect.class_id == class_id
        ]
        areas, pixels = np.array(areas_and_images, dtype=np.float64).T
        values = {"px": areas, "%": 100 * areas / pixels}
        if pixel_pitch:
            values["mm²"] = areas * pixel_pitch**2
        first = [class_id, str(len(holders)), str(len(areas))]
        for unit, of_unit in values.items():
            ranked = np.percentile(of_unit, PERCENTILES)
            numbers = [f"{value:.0f}" if unit == "px" else f"{value:.3g}" for value in ranked]
            table.add_row(*map(Text, (*first, unit, *numbers)))
            first = ["", "", ""]
    return table


def _splits_table(images: Sequence[PreparedImage], classes: Sequence[str]) -> Table:
    table = _table("Splits", "", *SPLITS)
    chosen = [[image for image in images if image.split == split] for split in SPLITS]
    counts = [
        Counter(class_id for image in part for class_id in image.facts.rles) for part in chosen
    ]
    defective = [sum(bool(image.facts.rles) for image in part) for part in chosen]
    good = [len(part) - count for part, count in zip(chosen, defective, strict=True)]
    groups = [len({image.group for image in part}) for part in chosen]
    table.add_row("images", *(str(len(part)) for part in chosen))
    table.add_row("share", *(f"{100 * len(part) / len(images):.1f} %" for part in chosen))
    table.add_row("groups", *map(str, groups))
    table.add_row("good", *map(str, good))
    table.add_row("defective", *map(str, defective))
    for class_id in classes:
        table.add_row(Text(f"class {class_id}"), *(str(count[class_id]) for count in counts))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table
