"""VGG Image Annotator (VIA): the JSON of a project or of its annotations, and its CSV."""

import json
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_text import CsvText
from defectkit.labels.formats.shapes import ellipse
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.formats.untrusted_files import json_field, json_numbers, read_json
from defectkit.labels.outlines import Box, Outline, Polygons
from defectkit.labels.table import LabelTable

PROJECT = "_via_img_metadata"
CSV_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
CSV_SIZES = ("file_size", "size")
"""The columns that tell files of one name apart, of both versions."""
CLASS_ATTRIBUTES = ("class", "label", "defect", "type", "category", "name")
"""Which attribute is the class, where a region has several."""


def is_via(document: Any) -> bool:
    """Return whether a JSON document is one of VIA's."""
    if not isinstance(document, dict) or not document:
        return False
    items = document.values()
    return PROJECT in document or all(
        isinstance(item, dict) and {"filename", "regions"} <= item.keys() for item in items
    )


def read_via(path: Path) -> LabelTable:
    """Read VIA's JSON; images without regions are good ones.

    Raises:
        LabelError: it cannot be read, or is of another kind.
    """
    table = TableBuilder(path)
    document = read_json(path, table.encodings)
    if not is_via(document):
        raise LabelError(f"{path} is not JSON of VIA: it has no images with regions.")
    items = json_field(document, PROJECT, dict) if PROJECT in document else document
    images: list[tuple[str, list[Any]]] = []
    for key, item in items.items():
        regions = item.get("regions") if isinstance(item, dict) else None
        listed = list(regions.values()) if isinstance(regions, dict) else regions or []
        name = json_field(item, "filename", str)
        table.enter(name, f"the entry {key[:80]!r}")
        images.append((name, listed))
    return _build(table, images, "VIA JSON")


def is_via_table(names: Iterable[str]) -> bool:
    """Return whether a CSV with these columns is one of VIA's."""
    return set(CSV_COLUMNS) <= set(names)


def read_via_table(text: CsvText) -> LabelTable:
    """Read VIA's CSV, a row for each region; a row without a shape is a good image's.

    Raises:
        LabelError: it has no rows.
    """
    table = TableBuilder(text.path, notes=list(text.notes))
    rows = text.rows(",")
    header = next(rows).cells
    places = [header.index(name) for name in CSV_COLUMNS]
    size = next((header.index(name) for name in CSV_SIZES if name in header), None)
    images: list[tuple[str, list[Any]]] = []
    for row in rows:
        try:
            if row.problem or len(row.cells) <= max(places):
                raise LabelError(row.problem or f"the row has {len(row.cells)} cells")
            name, shape, attributes = (row.cells[place] for place in places)
            region = {
                "shape_attributes": json.loads(shape or "{}"),
                "region_attributes": json.loads(attributes or "{}"),
            }
        except (LabelError, ValueError, RecursionError) as error:
            name = row.cells[places[0]] if len(row.cells) > places[0] else ""
            images.append((name, [f"line {row.line}: {error}"]))
        else:
            if size is not None and len(row.cells) > size:
                table.enter(name, f"with {row.cells[size][:20]} bytes")
            images.append((name, [region] if region["shape_attributes"] else []))
    return _build(table, images, "VIA CSV")


def _build(table: TableBuilder, images: list[tuple[str, list[Any]]], form: str) -> LabelTable:
    regions = [region for _, listed in images for region in listed if isinstance(region, dict)]
    has_classes = any(region.get("region_attributes") for region in regions)
    for name, listed in images:
        for region in listed:
            table.add(name, "", partial(_read_region, name, region, has_classes=has_classes))
        table.unlabeled += [] if listed else [name]
    return table.build(form, [table.path])


def _read_region(name: str, region: Any, *, has_classes: bool) -> Annotation:
    if isinstance(region, str):
        raise LabelError(region)
    outline = _outline(json_field(region, "shape_attributes", dict))
    attributes = region.get("region_attributes") or {}
    return Annotation(name, _class(attributes) if has_classes else "1", outline)


def _class(attributes: Any) -> str:
    """Return the value of the only attribute, or of the one that is called as a class is.

    Raises:
        LabelError: there are several, or several values.
    """
    if not isinstance(attributes, dict):
        raise LabelError("its attributes are not an object")
    values = {
        key.lower(): [one for one, chosen in value.items() if chosen]
        if isinstance(value, dict)
        else [str(value)]
        for key, value in attributes.items()
        if value not in (None, "", {})
    }
    known = [key for key in CLASS_ATTRIBUTES if key in values]
    key = known[0] if known else next(iter(values), "")
    chosen = values.get(key, [])
    if (len(values) > 1 and not known) or len(chosen) > 1:
        raise LabelError(f"its class is not clear: its attributes are {str(attributes)[:80]}")
    return chosen[0] if chosen else ""


def _outline(shape: dict[str, Any]) -> Outline:
    kind = shape.get("name")

    def numbers(*keys: str) -> tuple[float, ...]:
        return json_numbers([shape.get(key) for key in keys])

    match kind:
        case "polygon":
            xs, ys = (json_numbers(shape.get(key)) for key in ("all_points_x", "all_points_y"))
            if len(xs) != len(ys):
                raise LabelError(f"it has {len(xs)} x and {len(ys)} y of points")
            pairs = zip(xs, ys, strict=True)
            return Polygons((tuple(number for pair in pairs for number in pair),))
        case "rect":
            x, y, width, height = numbers("x", "y", "width", "height")
            return Box(x, y, x + width, y + height)
        case "circle":
            x, y, radius = numbers("cx", "cy", "r")
            return ellipse(x, y, radius, radius, None)
        case "ellipse":
            x, y, radius_x, radius_y = numbers("cx", "cy", "rx", "ry")
            (turn,) = json_numbers([shape.get("theta") or 0])
            return ellipse(x, y, radius_x, radius_y, None, math.degrees(turn))
        case "point" | "polyline":
            raise LabelError(f"the shape {kind!r} has no area: draw a polygon around the defect")
        case other:
            raise LabelError(f"the shape {str(other)[:30]!r} is not one of VIA's")
