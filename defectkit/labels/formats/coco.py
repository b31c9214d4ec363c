"""COCO JSON: polygons, RLE (compressed or not), or boxes alone; class ids are category names."""

from pathlib import Path
from typing import Any

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.formats.untrusted_files import json_field, json_numbers, read_json
from defectkit.labels.outlines import Box, CocoMask, Outline, Polygons
from defectkit.labels.table import LabelTable


def read_coco(path: Path) -> LabelTable:
    """Read a COCO file; images without annotations are good ones.

    Raises:
        LabelError: it cannot be read, is not COCO JSON, or has an image or category twice.
    """
    document = read_json(path)
    try:
        images = _by_id(document, "images", "file_name")
        categories = _by_id(document, "categories", "name")
        annotations = json_field(document, "annotations", list)
    except LabelError as error:
        raise LabelError(f"{path} is not usable COCO JSON: {error}.") from error
    table = TableBuilder(path)
    labeled = set()
    for item in annotations:
        key = item.get("image_id") if isinstance(item, dict) else None
        image = images.get(key) if isinstance(key, int | str) else None
        labeled.add(key if image else None)

        def read(item: Any = item, image: dict[str, Any] | None = image) -> Annotation:
            if image is None:
                raise LabelError("its image_id is not the id of a listed image")
            category = categories.get(json_field(item, "category_id", int, str))
            if category is None:
                raise LabelError(f"category {item['category_id']!r} is not listed")
            return Annotation(image["file_name"], category["name"], _outline(item, _size(image)))

        table.add(image["file_name"] if image else "", "", read)
    table.unlabeled += [image["file_name"] for key, image in images.items() if key not in labeled]
    return table.build("COCO JSON", [path])


def _by_id(document: dict[str, Any], key: str, name: str) -> dict[int | str, dict[str, Any]]:
    """Return the items of a list by their ids; each id and each name is there once."""
    by_id: dict[int | str, dict[str, Any]] = {}
    names = set()
    for item in json_field(document, key, list):
        text, own = json_field(item, name, str), json_field(item, "id", int, str)
        if own in by_id or text in names:
            raise LabelError(f"two {key} have the id {own!r} or the name {text[:60]!r}")
        by_id[own] = item
        names.add(text)
    return by_id


def _size(image: dict[str, Any]) -> ImageSize | None:
    if "height" not in image and "width" not in image:
        return None
    return json_field(image, "height", int), json_field(image, "width", int)


def _outline(item: dict[str, Any], size: ImageSize | None) -> Outline:
    shape = item.get("segmentation")
    if isinstance(shape, dict):
        counts = json_field(shape, "counts", str, list)
        own = tuple(json_field(shape, "size", list))
        if size not in (None, own) or len(own) != 2 or not all(type(side) is int for side in own):
            raise LabelError(f"the size of its RLE, {list(own)[:4]}, is not that of its image")
        return CocoMask(counts if isinstance(counts, str) else tuple(counts), (own[0], own[1]))
    if shape:
        if not isinstance(shape, list):
            raise LabelError("its segmentation is neither polygons nor an RLE")
        return Polygons(tuple(json_numbers(ring) for ring in shape), size)
    box = json_numbers(item.get("bbox"))
    if len(box) != 4:
        raise LabelError("its bbox does not have the four numbers x, y, width and height")
    left, top, width, height = box
    return Box(left, top, left + width, top + height, size)
