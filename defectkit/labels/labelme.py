"""labelme: a JSON file for each image, with polygons and rectangles."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.annotations import Named, Read, gather
from defectkit.labels.csv_table import LabelTable
from defectkit.labels.documents import field, numbers, read_json_document
from defectkit.labels.outlines import Box, Outline, Polygons


def read_labelme(path: Path, files: Sequence[Path]) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a file without shapes is a good image's.

    Raises:
        LabelError: there is no annotation.
    """
    return gather(path, files, _read_file).table("labelme JSON", files)


def _read_file(file: Path, inner: Path) -> tuple[str, list[Read]]:
    document = read_json_document(file)
    # Whatever folder it was drawn in: the image is looked for in that of the images.
    image_id = (inner / PureWindowsPath(field(document, "imagePath", str)).name).as_posix()
    size = field(document, "imageHeight", int), field(document, "imageWidth", int)
    return image_id, [
        partial(_read_shape, image_id, shape, size) for shape in field(document, "shapes", list)
    ]


def _read_shape(image_id: str, shape: Any, size: ImageSize) -> Named:
    return image_id, field(shape, "label", str), _outline(shape, size)


def _outline(shape: dict[str, Any], size: ImageSize) -> Outline:
    points = [numbers(point) for point in field(shape, "points", list)]
    if any(len(point) != 2 for point in points):
        raise LabelError("a point does not have two numbers")
    match shape.get("shape_type", "polygon"):
        case "polygon":
            return Polygons((tuple(number for point in points for number in point),), size)
        case "rectangle" if len(points) == 2:
            (left, right), (top, bottom) = map(sorted, zip(*points, strict=True))
            return Box(left, top, right, bottom, size)
        case other:
            raise LabelError(f"the shape {str(other)[:30]!r} is no polygon and no rectangle")
