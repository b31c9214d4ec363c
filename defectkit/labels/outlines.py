"""The shapes in label files other than CSV, and the pixels that they cover.

Coordinates are in pixels, x right and y down; the image's corner is (0, 0), so that the first pixel
reaches from 0 to 1. A polygon covers the pixels whose centers lie inside it, by the even-odd rule;
a center on an edge belongs to the side right of it or below, so that polygons with an edge in
common have no pixel in common. (pycocotools rounds edges and includes about half a pixel along
slanted ones; with corners at whole numbers and sides along the axes both agree.
``skimage.draw.polygon`` includes the centers on all edges, so that such polygons overlap.) The
edges of a box are rounded to whole pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array, ImageSize
from defectkit.errors import LabelError
from defectkit.labels.coco_rle import runs_from_counts
from defectkit.labels.rle import Runs, parse_runs

MAX_OVERHANG = 1.0
"""Max. distance in pixels by which an outline may reach past the image; it is clipped there."""


@dataclass(frozen=True, slots=True)
class RleMask:
    """A mask in canonical form; "" is an empty one."""

    rle: str
    size: ImageSize


@dataclass(frozen=True, slots=True)
class CocoMask:
    """COCO's RLE: the compressed text, or the lengths of alternating stretches, 0s first."""

    counts: str | tuple[int, ...]
    size: ImageSize


@dataclass(frozen=True, slots=True)
class Polygons:
    """The union of polygons, each x, y, x, y ...; ``relative``: in fractions of the image's sides.

    ``size`` is the image's according to the label file, None where it does not say.
    """

    rings: tuple[tuple[float, ...], ...]
    size: ImageSize | None = None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A box, half-open; ``size`` and ``relative`` are those of ``Polygons``."""

    left: float
    top: float
    right: float
    bottom: float
    size: ImageSize | None = None
    relative: bool = False


Outline = RleMask | CocoMask | Polygons | Box


def rasterize(outline: Outline, size: ImageSize) -> Runs:
    """Return the runs of ``outline`` in an image of ``size``, in column order.

    Raises:
        LabelError: it is malformed, is of an image of another size, leaves the image, or is a box
            or a polygon that covers no pixel.
    """
    if outline.size not in (None, size):
        (height, width), (true_height, true_width) = outline.size, size
        raise LabelError(
            f"the label is of an image of {width}x{height} pixels, but it has "
            f"{true_width}x{true_height}"
        )
    match outline:
        case RleMask():
            return parse_runs(outline.rle, size[0] * size[1])
        case CocoMask():
            return runs_from_counts(outline.counts, size)
        case Polygons():
            mask = _fill_polygons(outline, size)
        case Box():
            mask = _fill_box(outline, size)
    if not mask.any():
        raise LabelError("the outline covers no pixel")
    runs = Runs.from_mask(mask)
    assert np.array_equal(runs.to_mask(size), mask), outline
    return runs


def _fill_box(box: Box, size: ImageSize) -> npt.NDArray[np.uint8]:
    corners = _points((box.left, box.top, box.right, box.bottom), size, relative=box.relative)
    (left, top), (right, bottom) = np.floor(corners + 0.5).astype(int).tolist()
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def _fill_polygons(polygons: Polygons, size: ImageSize) -> npt.NDArray[np.uint8]:
    mask = np.zeros(size, np.uint8)
    for ring in polygons.rings:
        if len(ring) < 6 or len(ring) % 2:
            raise LabelError(f"a polygon has {len(ring)} numbers: it needs x and y of 3 points")
        mask |= _fill(_points(ring, size, relative=polygons.relative), size)
    return mask


def _points(numbers: tuple[float, ...], size: ImageSize, *, relative: bool) -> Float64Array:
    """Return (N, 2) points x, y in pixels, clipped to the image."""
    height, width = size
    points = np.array(numbers, np.float64).reshape(-1, 2)
    if relative:
        points *= (width, height)
    inside = np.clip(points, 0, (width, height))
    if not (abs(points - inside) <= MAX_OVERHANG).all():  # False for NaN and infinity too.
        x, y = points[np.argmax((~(abs(points - inside) <= MAX_OVERHANG)).any(axis=1))].tolist()
        raise LabelError(f"the point ({x:g}, {y:g}) lies outside the image of {width}x{height}")
    return inside


def _fill(points: Float64Array, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Return the mask of the polygon through ``points``: in each row, every edge switches it."""
    switches = np.zeros((size[0], size[1] + 1), np.uint8)
    for (x, y), (next_x, next_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = sorted((y, next_y))
        rows = np.arange(np.ceil(low - 0.5), np.ceil(high - 0.5), dtype=np.intp)
        crossings = x + (rows + 0.5 - y) * ((next_x - x) / (next_y - y)) if len(rows) else rows
        # The first pixel whose center is not left of the edge; an edge meets a row only once.
        switches[rows, np.ceil(crossings - 0.5).astype(np.intp)] ^= 1
    return np.bitwise_xor.accumulate(switches[:, :-1], axis=1)
