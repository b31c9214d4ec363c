"""labelme: a JSON file for each image, with polygons and rectangles."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.formats.table_builder import Annotation, ReadAnnotation, collect_annotations
from defectkit.labels.formats.untrusted_files import json_field, json_numbers, read_json
from defectkit.labels.outlines import Box, Outline, Polygons
from defectkit.labels.table import LabelTable


def read_labelme(path: Path, files: Sequence[Path]) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a file without shapes is a good image's.

    Raises:
        LabelError: there are no annotations.
    """
    return collect_annotations(path, files, _read_file).build("labelme JSON", files)


def _read_file(file: Path, inner: Path) -> tuple[str, list[ReadAnnotation]]:
    document = read_json(file)
    # Whatever folder it was drawn in: the image is looked for in the folder of images.
    image_id = (inner / PureWindowsPath(json_field(document, "imagePath", str)).name).as_posix()
    size = json_field(document, "imageHeight", int), json_field(document, "imageWidth", int)
    return image_id, [
        partial(_read_shape, image_id, shape, size)
        for shape in json_field(document, "shapes", list)
    ]


def _read_shape(image_id: str, shape: Any, size: ImageSize) -> Annotation:
    return Annotation(image_id, json_field(shape, "label", str), _outline(shape, size))


def _outline(shape: dict[str, Any], size: ImageSize) -> Outline:
    points = [json_numbers(point) for point in json_field(shape, "points", list)]
    if any(len(point) != 2 for point in points):
        raise LabelError("a point does not have two numbers")
    match shape.get("shape_type", "polygon"):
        case "polygon":
            return Polygons((tuple(number for point in points for number in point),), size)
        case "rectangle" if len(points) == 2:
            (left, right), (top, bottom) = map(sorted, zip(*points, strict=True))
            return Box(left, top, right, bottom, size)
        case other:
            raise LabelError(f"the shape {str(other)[:30]!r} is neither polygon nor rectangle")
