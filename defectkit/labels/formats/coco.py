"""COCO JSON: polygons, RLE (compressed or not), or boxes alone; class ids are category names."""

from collections import Counter
from pathlib import Path
from typing import Any

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.formats.untrusted_files import (
    image_size,
    json_field,
    json_id,
    json_numbers,
    read_json,
)
from defectkit.labels.outlines import Box, CocoMask, Outline, Polygons
from defectkit.labels.table import LabelTable, clean_class


def is_coco(document: Any) -> bool:
    """Return whether a JSON document is one of COCO's."""
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def read_coco(path: Path) -> LabelTable:
    """Read a COCO file; images without annotations are good ones.

    Raises:
        LabelError: it cannot be read, is not COCO JSON, has an image or category twice, or has no
            list of annotations: only an empty one says that all images are good.
    """
    table = TableBuilder(path)
    document = read_json(path, table.encodings)
    if "classes" in document or {"objects", "size"} <= document.keys():
        raise LabelError(f"{path} is JSON of Supervisely. Export the project as COCO.")
    try:
        images = _images(document)
        categories = _categories(document)
        annotations = json_field(document, "annotations", list)
    except LabelError as error:
        raise LabelError(f"{path} is not usable COCO JSON: {error}.") from error
    labeled = set()
    for item in annotations:
        key = json_id(item.get("image_id")) if isinstance(item, dict) else None
        image = images.get(key) if key is not None else None
        labeled.add(key if image else None)

        def read(item: Any = item, image: dict[str, Any] | None = image) -> Annotation:
            if image is None:
                raise LabelError("its image_id is not the id of a listed image")
            outline = _outline(item, image_size(image.get("height"), image.get("width")))
            note = "marked as a crowd (iscrowd) and read as a defect" if item.get("iscrowd") else ""
            return Annotation(image["file_name"], _class(item, categories), outline, note)

        table.add(image["file_name"] if image else "", "", read)
    table.unlabeled += [image["file_name"] for key, image in images.items() if key not in labeled]
    table.notes += _notes(categories) if annotations else []
    return table.build("COCO JSON", [path])


def _images(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the listed images by id; one may be listed again under the same id and name."""
    by_id: dict[str, dict[str, Any]] = {}
    ids: dict[str, str] = {}
    for item in json_field(document, "images", list):
        name, own = json_field(item, "file_name", str), _own_id(item)
        known = by_id.setdefault(own, item)
        if known["file_name"] != name or ids.setdefault(name, own) != own:
            raise LabelError(f"two images have the id {own!r} or the name {name[:60]!r}")
    return by_id


def _categories(document: dict[str, Any]) -> dict[str, str] | None:
    """Return the names of the categories by id, None where no categories are listed.

    A category without a name is called by its id.
    """
    if not document.get("categories"):
        return None
    by_id: dict[str, str] = {}
    for item in json_field(document, "categories", list):
        own = _own_id(item)
        name = item.get("name")
        name = name if isinstance(name, str) and name.strip() else own
        if by_id.setdefault(own, name) != name:
            raise LabelError(f"two categories have the id {own!r}: {by_id[own]!r} and {name!r}")
    return by_id


def _own_id(item: Any) -> str:
    own = json_id(item.get("id")) if isinstance(item, dict) else None
    if own is None:
        raise LabelError("'id' is missing or is not of the right kind")
    return own


def _class(item: dict[str, Any], categories: dict[str, str] | None) -> str:
    own = json_id(item.get("category_id"))
    if own is None:
        raise LabelError("'category_id' is missing or is not of the right kind")
    if categories is None:
        return own
    if own not in categories:
        raise LabelError(f"category {item['category_id']!r} is not listed")
    return categories[own]


def _notes(categories: dict[str, str] | None) -> list[str]:
    """Return what the user should know of the classes."""
    if categories is None:
        return ["no categories are listed: the classes are called by their numbers"]
    counts = Counter(clean_class(name)[0] for name in categories.values())
    return [
        f"{count} categories are called {name!r} and are one class"
        for name, count in counts.items()
        if count > 1
    ]


def _outline(item: dict[str, Any], size: ImageSize | None) -> Outline:
    shape = item.get("segmentation")
    if isinstance(shape, dict):
        return _mask(shape, size)
    if shape and shape != [[]]:
        if not isinstance(shape, list):
            raise LabelError("its segmentation is neither polygons nor an RLE")
        rings = [shape] if not isinstance(shape[0], list) else shape
        return Polygons(tuple(map(_ring, rings)), size, box_sides=_box_sides(item))
    box = json_numbers(item.get("bbox"))
    if len(box) != 4:
        raise LabelError("its bbox does not have the four numbers x, y, width and height")
    left, top, width, height = box
    return Box(left, top, left + width, top + height, size)


def _box_sides(item: dict[str, Any]) -> tuple[float, float] | None:
    """Return width and height of the box beside polygons, None where there is none that counts."""
    try:
        box = json_numbers(item.get("bbox"))
    except LabelError:
        return None
    return box[2:] if len(box) == 4 else None


def _ring(ring: Any) -> tuple[float, ...]:
    """Return the numbers x, y, x, y ... of a ring, which may be a list of pairs."""
    if isinstance(ring, list) and ring and all(isinstance(one, list) for one in ring):
        points = [json_numbers(point) for point in ring]
        if any(len(point) != 2 for point in points):
            raise LabelError("a point does not have two numbers")
        return tuple(number for point in points for number in point)
    return json_numbers(ring)


def _mask(shape: dict[str, Any], size: ImageSize | None) -> CocoMask:
    counts = json_field(shape, "counts", str, list)
    listed = json_field(shape, "size", list)
    own = image_size(*listed) if len(listed) == 2 else None
    if own is None or size not in (None, own):
        raise LabelError(f"the size of its RLE, {listed[:4]}, is not that of its image")
    return CocoMask(counts if isinstance(counts, str) else tuple(counts), own)
