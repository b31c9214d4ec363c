"""CVAT XML for images: one file with all images, their polygons, boxes, ellipses and masks."""

import re
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.files import open_limited
from defectkit.labels import rle
from defectkit.labels.formats.shapes import box_of, ellipse, rectangle_around
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.formats.untrusted_files import MAX_MASK_PIXELS, image_size, read_xml
from defectkit.labels.outlines import Outline, PlacedMask, Polygons, RleMask
from defectkit.labels.table import LabelTable

MAX_BYTES = 2**28
HEAD_BYTES = 4096
WITHOUT_AREA = ("polyline", "points")
SHAPES = ("polygon", "box", "mask", "ellipse", "cuboid", "skeleton", *WITHOUT_AREA)


def is_cvat(path: Path) -> bool:
    """Return whether an XML file is one of CVAT's, as its beginning shows."""
    try:
        with open_limited(path, MAX_BYTES) as handle:
            head = handle.read(HEAD_BYTES)
    except (OSError, ValueError):
        return False
    return b"<annotations" in head.replace(b"\0", b"")


def read_cvat(path: Path) -> LabelTable:
    """Read a file of CVAT XML for images; images without shapes are good ones.

    Raises:
        LabelError: it cannot be read, or is of another kind.
    """
    table = TableBuilder(path)
    root = read_xml(path, table.encodings, max_bytes=MAX_BYTES)
    if root.tag != "annotations" or root.find("track") is not None:
        raise LabelError(
            f"{path} is not CVAT XML for images: its root is {root.tag[:30]!r}, or it has tracks "
            "of a video. Export the task as 'CVAT for images'."
        )
    for number, image in enumerate(root.iterfind("image"), start=1):
        name = (image.get("name") or "").strip()
        table.enter(name, f"<image> {number} (id {(image.get('id') or '')[:20]!r})")
        size = image_size(image.get("height"), image.get("width"))
        shapes = [shape for shape in image if shape.tag in SHAPES]
        for shape in shapes:
            table.add(name, "", partial(_read_shape, name, shape, size))
        if not shapes:
            table.add_unlabeled(name, [tag.get("label") or "" for tag in image.iterfind("tag")])
    return table.build("CVAT XML for images", [path])


def _read_shape(name: str, shape: ET.Element, size: ImageSize | None) -> Annotation:
    return Annotation(name, shape.get("label") or "", _outline(shape, size))


def _outline(shape: ET.Element, size: ImageSize | None) -> Outline:
    match shape.tag:
        case "polygon":
            return Polygons((tuple(_numbers(shape.get("points") or "", r"[;,\s]+")),), size)
        case "box":
            left, top, right, bottom = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
            if angle := _angle(shape):
                return rectangle_around(left, top, right, bottom, size, angle)
            return box_of(left, top, right, bottom, size)
        case "ellipse":
            x, y, radius_x, radius_y = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
            return ellipse(x, y, radius_x, radius_y, size, _angle(shape))
        case "mask":
            return _mask(shape, size)
        case tag if tag in WITHOUT_AREA:
            raise LabelError(f"the shape {tag!r} has no area: draw a polygon around the defect")
        case tag:
            raise LabelError(f"the shape {tag!r} is neither polygon, box, ellipse nor mask")


def _mask(shape: ET.Element, size: ImageSize | None) -> PlacedMask:
    """Return a mask: lengths of stretches along the rows of its box, 0s first."""
    left, top, width, height = (
        _whole(_number(shape, key)) for key in ("left", "top", "width", "height")
    )
    lengths = [_whole(one) for one in _numbers(shape.get("rle") or "", r"[,\s]+")]
    if not 0 < width * height <= MAX_MASK_PIXELS or min(lengths, default=-1) < 0:
        raise LabelError("the sides or the lengths of its mask are not numbers above 0")
    if sum(lengths) != width * height:
        raise LabelError(f"the lengths of its mask do not sum to its {width}x{height} pixels")
    values = np.arange(len(lengths)) % 2 > 0
    part = np.repeat(values, lengths).reshape(height, width)
    return PlacedMask(RleMask(rle.encode(part), (height, width)), left, top, size)


def _whole(number: float) -> int:
    if not number.is_integer() or abs(number) > MAX_MASK_PIXELS:
        raise LabelError(f"{number} of its mask is not a whole number, or too large")
    return int(number)


def _angle(shape: ET.Element) -> float:
    return _number(shape, "rotation") if shape.get("rotation") else 0.0


def _numbers(text: str, separator: str) -> list[float]:
    try:
        return [float(part) for part in re.split(separator, text.strip()) if part]
    except ValueError as error:
        raise LabelError(f"{text[:40]!r} is not a list of numbers") from error


def _number(shape: ET.Element, key: str) -> float:
    text = shape.get(key) or ""
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise LabelError(f"its {key} {text[:30]!r} is not a number")
    return number
