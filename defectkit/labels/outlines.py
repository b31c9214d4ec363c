"""The shapes in label files other than CSV, and the pixels that they cover.

Coordinates are in pixels, x right and y down; the image's corner is (0, 0), so that the first pixel
reaches from 0 to 1. A polygon covers the pixels whose centers lie inside it, by the even-odd rule;
a center on an edge belongs to the side right of it or below, so that polygons with an edge in
common have no pixel in common. (pycocotools rounds edges and includes about half a pixel along
slanted ones; with corners at whole numbers and sides along the axes both agree.
``skimage.draw.polygon`` includes the centers on all edges, so that such polygons overlap.) The
edges of a box are rounded to whole pixels.

Polygons of OpenCV's ``findContours`` are others: their corners name pixels, and the border between
them belongs to the mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array, ImageSize
from defectkit.errors import LabelError
from defectkit.labels.coco_rle import runs_from_counts
from defectkit.labels.rle import Runs, decode, parse_runs

MAX_OVERHANG = 1.0
"""Max. distance in pixels by which an outline may reach past the image; it is cut there."""
MAX_CLIPPED = 1e6
"""Max. such distance where the user asks for cutting."""
MAX_ROUNDING = 0.02
"""Max. distance in pixels from a whole number, of corners that name pixels."""


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
class PlacedMask:
    """A mask of a part of the image, (left, top) its first pixel; ``size`` as in ``Polygons``."""

    mask: RleMask
    left: int
    top: int
    size: ImageSize | None = None


MAX_CORNERS = 100_000
"""Max. number of corners of the polygons of an outline."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """The union of polygons, each x, y, x, y ...; ``relative``: in fractions of the image's sides.

    ``size`` is the image's according to the label file, None where it does not say.
    ``names_pixels``: the corners name pixels, and the border belongs to the mask. ``box_sides`` are
    (width, height) of the box around the mask in pixels according to the label file, if it says so.
    """

    rings: tuple[tuple[float, ...], ...]
    size: ImageSize | None = None
    relative: bool = False
    names_pixels: bool = False
    box_sides: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if sum(map(len, self.rings)) > 2 * MAX_CORNERS:
            raise LabelError(f"the outline has more than {MAX_CORNERS:,} corners: give a mask")


@dataclass(frozen=True, slots=True)
class Box:
    """A box, half-open; ``size`` and ``relative`` are those of ``Polygons``."""

    left: float
    top: float
    right: float
    bottom: float
    size: ImageSize | None = None
    relative: bool = False


Outline = RleMask | CocoMask | PlacedMask | Polygons | Box


@dataclass(frozen=True, slots=True)
class _Shape:
    """The pixels of an outline between two columns, and a note on how it was read.

    ``mask`` is (H, W') uint8 of 0 and 1, its first column that in column ``left`` of the image.
    """

    mask: npt.NDArray[np.uint8]
    left: int
    note: str = ""


def rasterize(outline: Outline, size: ImageSize, *, clip: bool = False) -> tuple[Runs, str]:
    """Return the runs of ``outline`` in an image of ``size``, in column order, and a note or "".

    Args:
        outline: the outline.
        size: (height, width) of the image in pixels.
        clip: cut the outline at the border, however far it reaches beyond it.

    Raises:
        LabelError: it is malformed, is of an image of another size, leaves the image, or is a box
            or a polygon that covers no pixel.
    """
    if outline.size not in (None, size):
        _refuse_size(outline.size, size)
    match outline:
        case RleMask():
            return parse_runs(outline.rle, size[0] * size[1]), ""
        case CocoMask():
            return runs_from_counts(outline.counts, size), ""
        case PlacedMask():
            shape = _place(outline, size, clip=clip)
        case Polygons():
            shape = _fill_polygons(outline, size, clip=clip)
        case Box():
            shape = _fill_box(outline, size, clip=clip)
    if not shape.mask.any():
        raise LabelError("the outline covers no pixel of the image")
    return _runs_of(shape, size), shape.note


def _refuse_size(labeled: ImageSize, size: ImageSize) -> None:
    (height, width), (true_height, true_width) = labeled, size
    exchanged = (
        ": width and height are exchanged. The camera's EXIF data seem to turn the image, and the "
        "labels are of the image without that turn. Save the images without EXIF orientation, "
        "with the pixels as stored, so that the labels fit"
        if (height, width) == (true_width, true_height)
        else ""
    )
    raise LabelError(
        f"the label is of an image of {width}x{height} pixels, but it has "
        f"{true_width}x{true_height}{exchanged}"
    )


def _runs_of(shape: _Shape, size: ImageSize) -> Runs:
    """Return the runs in the whole image; a small defect in a large one costs little."""
    height, width = size
    runs = Runs.from_mask(shape.mask)
    assert np.array_equal(runs.to_mask((height, shape.mask.shape[1])), shape.mask), shape.left
    right = width - shape.left - shape.mask.shape[1]
    stretches = runs.stretches.copy()
    stretches[0] += shape.left * height
    stretches[-1] += right * height
    return Runs(stretches)


def _place(placed: PlacedMask, size: ImageSize, *, clip: bool) -> _Shape:
    part = decode(placed.mask.rle, placed.mask.size)
    left, top, right, bottom = _bounds(part)
    corners = np.array(
        [[placed.left + left, placed.top + top], [placed.left + right, placed.top + bottom]], float
    )
    note = _check_inside(corners, size, tolerated=0, clip=clip)
    (first, low), (last, high) = np.clip(corners, 0, size[::-1]).astype(int).tolist()
    mask = np.zeros((size[0], last - first), np.uint8)
    mask[low:high] = part[
        low - placed.top : high - placed.top, first - placed.left : last - placed.left
    ]
    return _Shape(mask, first, note)


def _bounds(mask: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return the half-open box of the pixels of a mask, as left, top, right, bottom."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        raise LabelError("the outline covers no pixel of the image")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _fill_box(box: Box, size: ImageSize, *, clip: bool) -> _Shape:
    corners = points_of((box.left, box.top, box.right, box.bottom), size, relative=box.relative)
    note = _check_inside(corners, size, tolerated=MAX_OVERHANG, clip=clip)
    corners = np.clip(corners, 0, size[::-1])
    (left, top), (right, bottom) = np.floor(corners + 0.5).astype(int).tolist()
    mask = np.zeros((size[0], max(0, right - left)), np.uint8)
    mask[top:bottom] = 1
    return _Shape(mask, left, note)


def _fill_polygons(polygons: Polygons, size: ImageSize, *, clip: bool) -> _Shape:
    for ring in polygons.rings:
        if len(ring) % 2:
            raise LabelError(f"a polygon has {len(ring)} numbers: it needs x and y of 3 points")
    rings = [points_of(ring, size, relative=polygons.relative) for ring in polygons.rings if ring]
    longest = max(map(len, rings), default=0)
    if longest < (1 if polygons.names_pixels else 3):
        raise LabelError(f"a polygon has {2 * longest} numbers: it needs x and y of 3 points")
    points = np.concatenate(rings)
    if polygons.names_pixels:
        return _fill_named(rings, points, size)
    note = _check_inside(points, size, tolerated=MAX_OVERHANG, clip=clip)
    left, right = np.clip([points[:, 0].min(), points[:, 0].max()], 0, size[1])
    left, right = int(np.floor(left)), int(np.ceil(right))
    masks = [_fill(ring, size[0], left, right) for ring in rings]
    empty = sum(not mask.any() for mask in masks)
    if 0 < empty < len(masks):
        ignored = f"{empty} of its {len(masks)} rings cover no pixel and are ignored"
        note = "; ".join(filter(None, [note, ignored]))
    return _Shape(np.bitwise_or.reduce(masks), left, note)


def _fill_named(rings: list[Float64Array], points: Float64Array, size: ImageSize) -> _Shape:
    """Return the pixels that the corners name, those between them, and those inside."""
    if not names_pixels(points, size):
        raise LabelError(
            "its corners are not the numbers of pixels of the image, as those of other polygons "
            "are. If all corners are points, give --polygons points"
        )
    left, right = int(np.rint(points[:, 0].min())), int(np.rint(points[:, 0].max())) + 1
    mask = np.zeros((size[0], right - left), np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [np.rint(ring - (left, 0)).astype(np.int32)], 1)
    return _Shape(mask, left)


def names_pixels(points: Float64Array, size: ImageSize) -> bool:
    """Return whether (N, 2) points x, y may be the numbers of pixels: whole, and in the image."""
    whole = np.rint(points)
    is_whole = bool((abs(points - whole) <= MAX_ROUNDING).all())
    return is_whole and bool(((whole >= 0) & (whole < size[::-1])).all())


def points_of(ring: tuple[float, ...], size: ImageSize, *, relative: bool) -> Float64Array:
    """Return (N, 2) points x, y in pixels of a ring of an image of ``size``."""
    points = np.array(ring, np.float64).reshape(-1, 2)
    return points * size[::-1] if relative else points


def _check_inside(points: Float64Array, size: ImageSize, *, tolerated: float, clip: bool) -> str:
    """Refuse points further outside than ``tolerated``, or return a note that they are cut.

    Raises:
        LabelError: there are such points.
    """
    height, width = size
    beyond = abs(points - np.clip(points, 0, (width, height))).max(axis=1)
    outside = ~(beyond <= tolerated)  # True for NaN too.
    if not outside.any():
        return ""
    x, y = points[np.argmax(outside)].tolist()
    furthest = beyond.max()
    far = f"by up to {furthest:.3g} pixels" if np.isfinite(furthest) else "without end"
    which = f"{outside.sum()} of its {len(points)} points are outside the image of {width}x{height}"
    if clip and (beyond <= MAX_CLIPPED).all():
        return f"{which}, {far}, and are cut at its border"
    raise LabelError(
        f"{which}, {far}, the first at ({x:g}, {y:g}). Correct them, or cut them at the border "
        "with --clip"
    )


def _fill(points: Float64Array, height: int, left: int, right: int) -> npt.NDArray[np.uint8]:
    """Return the columns from ``left`` to ``right`` of the mask of the polygon through ``points``.

    In each row, every edge switches it.
    """
    switches = np.zeros((height, right - left + 1), np.uint8)
    for (x, y), (next_x, next_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = sorted((y, next_y))
        first, last = max(0, np.ceil(low - 0.5)), min(height, np.ceil(high - 0.5))
        rows = np.arange(first, last, dtype=np.intp)
        crossings = x + (rows + 0.5 - y) * ((next_x - x) / (next_y - y)) if len(rows) else rows
        # The first pixel whose center is not left of the edge; an edge meets a row only once.
        columns = np.clip(np.ceil(crossings - 0.5), left, right).astype(np.intp) - left
        switches[rows, columns] ^= 1
    return np.bitwise_xor.accumulate(switches[:, :-1], axis=1)
