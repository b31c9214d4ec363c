"""labelme: a JSON file for each image, with polygons, rectangles, circles and masks."""

import base64
import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.formats.shapes import box_of, ellipse
from defectkit.labels.formats.table_builder import (
    Annotation,
    ReadAnnotation,
    collect_annotations,
    refuse_words,
)
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.labels.formats.untrusted_files import (
    MAX_MASK_PIXELS,
    image_size,
    json_field,
    json_id,
    json_numbers,
    read_json,
)
from defectkit.labels.outlines import Outline, PlacedMask, Polygons, RleMask
from defectkit.labels.table import LabelTable

POLYGONS = ("polygon", "rotation", "quadrilateral")
"""The shapes whose points are the corners; the last two are those of labelme's relatives."""
BACKGROUND, IGNORED = "_background_", "__ignore__"
"""Labels that labelme itself knows, which are no classes."""
WITHOUT_AREA = ("line", "linestrip", "point", "points")

Points = list[tuple[float, ...]]


def is_labelme(document: Any) -> bool:
    """Return whether a JSON document is one of labelme's."""
    return isinstance(document, dict) and "shapes" in document


def read_labelme(path: Path, files: Sequence[Path]) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a file without shapes is a good image's.

    Raises:
        LabelError: there are no annotations.
    """
    encodings = Encodings()
    read = partial(_read_file, encodings=encodings)
    return collect_annotations(path, files, read, encodings).build("labelme JSON", files)


def _read_file(
    file: Path, inner: Path, *, encodings: Encodings
) -> tuple[str, list[ReadAnnotation]]:
    document = read_json(file, encodings)
    shapes = json_field(document, "shapes", list)
    # Whatever folder it was drawn in: the image is looked for in the folder of images.
    name = document.get("imagePath")
    name = PureWindowsPath(name).name if isinstance(name, str) else ""
    image_id = (inner / (name or file.stem)).as_posix()
    size = image_size(document.get("imageHeight"), document.get("imageWidth"))
    reads: list[ReadAnnotation] = [partial(_read_shape, image_id, one, size) for one in shapes]
    flags = document.get("flags")
    words = [name for name, is_set in flags.items() if is_set] if isinstance(flags, dict) else []
    if not reads and words:
        reads = [partial(_read_good, image_id, words, size)]
    return image_id, reads


def _read_good(image_id: str, words: list[str], size: ImageSize | None) -> Annotation:
    refuse_words(words)
    return _good(image_id, size)


def _good(image_id: str, size: ImageSize | None, note: str = "") -> Annotation:
    if size is None:
        raise LabelError("the size of its image is missing")
    return Annotation(image_id, "", RleMask("", size), note)


def _read_shape(image_id: str, shape: Any, size: ImageSize | None) -> Annotation:
    label = json_id(shape.get("label")) if isinstance(shape, dict) else None
    if label is None:
        raise LabelError("'label' is missing or is not of the right kind")
    if label == BACKGROUND:
        return _good(image_id, size, f"{label} is no defect")
    if label == IGNORED:
        note = f"{label}: these pixels are ignored"
        return Annotation(image_id, "", _outline(shape, size), note, ignored=True)
    return Annotation(image_id, label, _outline(shape, size))


def _outline(shape: dict[str, Any], size: ImageSize | None) -> Outline:
    points = [json_numbers(point) for point in json_field(shape, "points", list)]
    if any(len(point) != 2 for point in points):
        raise LabelError("a point does not have two numbers")
    kind = shape.get("shape_type") or "polygon"
    if kind in POLYGONS or (kind == "rectangle" and len(points) == 4 and not _is_upright(points)):
        return Polygons((tuple(number for point in points for number in point),), size)
    if kind == "rectangle" and len(points) in (2, 4):
        (x, y), (other_x, other_y) = points[0], points[1 if len(points) == 2 else 2]
        return box_of(x, y, other_x, other_y, size)
    if kind == "circle" and len(points) == 2:
        (x, y), (on_x, on_y) = points
        radius = math.hypot(on_x - x, on_y - y)
        return ellipse(x, y, radius, radius, size)
    if kind == "mask" and len(points) == 2:
        return _mask(json_field(shape, "mask", str), points, size)
    if kind in WITHOUT_AREA:
        raise LabelError(f"the shape {kind!r} has no area: draw a polygon around the defect")
    raise LabelError(
        f"the shape {str(kind)[:30]!r} with {len(points)} points is neither polygon nor rectangle"
    )


def _is_upright(points: Points) -> bool:
    """Return whether four corners are those of a box, in turn."""
    (x, y), (other_x, other_y) = points[0], points[2]
    corners = {(x, y), (other_x, other_y), (x, other_y), (other_x, y)}
    return set(points) == corners and points[0] not in (points[1], points[3])


def _mask(encoded: str, points: Points, size: ImageSize | None) -> PlacedMask:
    """Return the mask of a PNG; its points are its first and its last pixel."""
    left, top = (math.floor(min(side)) for side in zip(*points, strict=True))
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded)), formats=["PNG"]) as opened:
            if opened.width * opened.height > MAX_MASK_PIXELS:
                raise LabelError(f"its mask has {opened.width}x{opened.height} pixels: too many")
            pixels = np.asarray(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabelError(f"its mask is no readable PNG ({error})") from error
    if pixels.ndim != 2:
        raise LabelError("its mask is a PNG in color")
    height, width = pixels.shape
    return PlacedMask(RleMask(rle.encode(pixels), (height, width)), left, top, size)
