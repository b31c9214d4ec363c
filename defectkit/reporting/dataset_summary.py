"""The tables that ``prepare`` prints: images, defect regions by class, and splits."""

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from defectkit.control_characters import show_controls
from defectkit.labels.ledger import LedgerRow
from defectkit.labels.scope import count_roi
from defectkit.preparation.prepared_image import PreparedImage
from defectkit.terminal import one_line
from defectkit.vocabulary import SPLITS, LabelKind, RowOutcome

if TYPE_CHECKING:
    import pandas as pd

PERCENTILES = (5, 25, 50, 75, 95)


def print_summary(
    console: Console,
    images: Sequence[PreparedImage],
    classes: Sequence[str],
    *,
    pixel_pitch: float | None,
) -> None:
    """Print what the images are, how large the defect regions are, and what each split has.

    ``pixel_pitch`` is the side of a pixel in mm; with it, areas are given in mm² too.
    """
    image_table, class_table, region_table = _make_tables(images)
    console.print(_images_table(image_table))
    if classes:
        console.print(_regions_table(class_table, region_table, classes, pixel_pitch))
    console.print(_splits_table(image_table, class_table, classes))


def print_outcome(
    console: Console,
    out: Path,
    ledger: Sequence[LedgerRow],
    warnings: Sequence[str],
    kind: LabelKind,
    classes: Sequence[str],
) -> None:
    """Print the outcome of the rows, the warnings, and the next command."""
    counts = Counter(row.outcome for row in ledger)
    merged = " with others of the same image and class" if counts["merged"] else ""
    words = {"merged": f"merged{merged}"}
    rows = ", ".join(
        f"{counts[outcome]} {words.get(outcome, outcome)}" for outcome in get_args(RowOutcome)
    )
    console.print(f"Rows: {rows} (ledger.csv)")
    for warning in warnings:
        console.print(one_line(f"Warning: {warning}."), style="yellow")
    learned = "segment" if kind == "masks" else "box"
    approach = learned if classes else "novelty"
    console.print(
        one_line(f"Written to {out}. Check {out / 'preview'}, then:"),
        f"\n  defectkit train --approach {approach} --data {one_line(str(out))}",
        sep="",
    )


def _make_tables(
    images: Sequence[PreparedImage],
) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]":
    """Return the tables of images, of defect classes by image, and of regions; ids are text."""
    import pandas as pd

    # Numbers as arrays and not in a row for each image: of a million these would take gigabytes.
    texts = {name: list[str]() for name in ("split", "class_id", "class_split", "region_class")}
    sizes = {name: array("q") for name in ("width", "height", "channels", "inspected", "ignored")}
    defective, areas, shares = bytearray(), array("q"), array("d")
    for image in images:
        facts = image.facts
        pixels, classes, regions = facts.width * facts.height, facts.rles, facts.regions
        texts["split"].append(image.split)
        for name in ("width", "height", "channels"):
            sizes[name].append(getattr(facts, name))
        sizes["inspected"].append(count_roi(facts.roi) if facts.roi else pixels)
        sizes["ignored"].append(count_roi(facts.ignored))
        defective.append(bool(classes))
        texts["class_id"] += classes
        texts["class_split"] += [image.split] * len(classes)
        texts["region_class"] += [region.class_id for region in regions]
        areas.extend(region.area for region in regions)
        shares.extend(100 * region.area / pixels for region in regions)
    columns = {name: np.frombuffer(values, np.int64) for name, values in sizes.items()}
    columns["pixels"] = columns["width"] * columns["height"]
    text = {name: pd.Series(values, dtype=object) for name, values in texts.items()}
    groups = pd.Series([image.group for image in images], dtype=object)
    flags = {"defective": np.frombuffer(defective, np.bool_)}
    return (
        pd.DataFrame({"split": text["split"], "group": groups, **columns, **flags}),
        pd.DataFrame({"class_id": text["class_id"], "split": text["class_split"]}),
        pd.DataFrame({"class_id": text["region_class"], "px": areas, "%": shares}),
    )


def _images_table(images: "pd.DataFrame") -> Table:
    by_size = images.sort_values("pixels", kind="stable")
    smallest, middle, largest = (
        f"{by_size['width'].iloc[place]} x {by_size['height'].iloc[place]}"
        for place in (0, len(images) // 2, -1)
    )
    counts = images["channels"].value_counts()
    table = _table("Images", "", "")
    for name, value in (
        ("images", len(images)),
        ("defective", images["defective"].sum()),
        ("good", (~images["defective"]).sum()),
        ("gray", (images["channels"] == 1).sum()),
        ("color", (images["channels"] == 3).sum()),
        *((f"{n} channels", count) for n, count in counts.items() if n not in (1, 3)),
        ("smallest, width x height", smallest),
        ("median", middle),
        ("largest", largest),
        *_scope_rows(images),
    ):
        table.add_row(name, str(value))
    return table


def _scope_rows(images: "pd.DataFrame") -> list[tuple[str, str]]:
    """Return the fractions of all pixels that are inspected and ignored, where it is not all."""
    rows = []
    if (images["inspected"] < images["pixels"]).any():
        share = images["inspected"].sum() / images["pixels"].sum()
        rows.append(("region to inspect", f"{100 * share:.1f} % of the pixels"))
    if images["ignored"].any():
        share = images["ignored"].sum() / images["pixels"].sum()
        count = int((images["ignored"] > 0).sum())
        rows.append(("ignored", f"{100 * share:.2g} % of the pixels, in {count} images"))
    return rows


def _regions_table(
    class_table: "pd.DataFrame",
    regions: "pd.DataFrame",
    classes: Sequence[str],
    pixel_pitch: float | None,
) -> Table:
    columns = ("class", "images", "regions", "area", *(f"p{rank}" for rank in PERCENTILES))
    table = _table("Defect regions, area by percentile (% is of the image)", *columns)
    units = ["px", "%"]
    if pixel_pitch:
        regions = regions.assign(**{"mm²": regions["px"] * pixel_pitch**2})
        units.append("mm²")
    n_images = class_table.groupby("class_id").size()
    n_regions = regions.groupby("class_id").size()
    areas = regions.groupby("class_id")[units].quantile(np.array(PERCENTILES) / 100)
    for class_id in classes:
        first = [show_controls(class_id), str(n_images[class_id]), str(n_regions[class_id])]
        for unit in units:
            values = areas[unit].loc[[class_id]].tolist()
            numbers = [f"{value:.0f}" if unit == "px" else f"{value:.3g}" for value in values]
            table.add_row(*map(Text, (*first, unit, *numbers)))
            first = ["", "", ""]
    return table


def _splits_table(
    images: "pd.DataFrame", class_table: "pd.DataFrame", classes: Sequence[str]
) -> Table:
    by_split = images.groupby("split").agg(
        images=("group", "size"), groups=("group", "nunique"), defective=("defective", "sum")
    )
    by_split = by_split.reindex(list(SPLITS), fill_value=0)
    by_split["good"] = by_split["images"] - by_split["defective"]
    table = _table("Splits", "", *SPLITS)
    table.add_row("images", *by_split["images"].astype(str))
    table.add_row("share", *(f"{100 * count / len(images):.1f} %" for count in by_split["images"]))
    for name in ("groups", "good", "defective"):
        table.add_row(name, *by_split[name].astype(str))
    if classes:
        counts = class_table.groupby(["class_id", "split"]).size()
        for class_id in classes:
            own = (str(counts.get((class_id, split), 0)) for split in SPLITS)
            table.add_row(Text(show_controls(f"class {class_id}")), *own)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table
