"""``Region``, from labels to findings, and the connected regions of a mask."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoxXywh, Int32Array, Int64Array, Mask, RegionMap

DEFECT_OR_NOT = ("",)
"""The classes of what only says *defect or not*: a single one, without a name."""

FOUND_COVERAGE = 0.1
"""Fraction of a true region's pixels that the predicted mask must cover for it to be found."""


# Without slots it travels between processes in less than half of the time.
@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected defect of an image, labeled or found, or one detection of a detector.

    ``box_xywh`` is in pixels of the image, x right and y down, half-open: it covers
    ``x <= column < x + width`` and ``y <= row < y + height``. ``area`` counts the region's own
    pixels, so its holes are left out. ``class_id`` is empty for regions of *defect or not*;
    ``score`` is in [0, 1], 1 for a labeled region. ``mask``, (height, width) bool, has the pixels
    of the box that a detection covers; None if it covers them all, or if a region map has them.

    Raises:
        ValueError: a value is out of its range, or box, area and mask do not fit each other.
    """

    box_xywh: BoxXywh
    area: int
    class_id: str = ""
    score: float = 1.0
    mask: Mask | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"region score must be in [0, 1] but got {self.score}")
        _, _, width, height = self.box_xywh
        if width < 1 or height < 1 or not 1 <= self.area <= width * height:
            raise ValueError(
                f"region box {self.box_xywh} and area {self.area} do not fit each other"
            )
        if self.mask is not None and self.mask.shape != (height, width):
            raise ValueError(f"region box {self.box_xywh} does not fit a mask {self.mask.shape}")

    @property
    def window(self) -> tuple[slice, slice]:
        """The (rows, columns) of its box, to index an image."""
        x, y, width, height = self.box_xywh
        return slice(y, y + height), slice(x, x + width)


def measure_regions(mask: npt.NDArray[np.generic], class_id: str = "") -> list[Region]:
    """Return the regions of ``mask`` as ``label_regions`` does, faster since without a region map.

    ``mask`` is (H, W) of bool or any number, nonzero = defect.
    """
    defect, x, y = _crop_to_defects(mask)
    if not defect.size:
        return []
    if cv2.connectedComponents(defect, connectivity=8)[0] == 2:  # One region: a third of the time.
        height, width = defect.shape
        area = cv2.countNonZero(defect)
        return [Region(box_xywh=(x, y, width, height), area=area, class_id=class_id)]
    _, _, stats, _ = cv2.connectedComponentsWithStats(defect, connectivity=8)
    return [
        Region(box_xywh=(x + left, y + top, width, height), area=area, class_id=class_id)
        for top, left, height, width, area in sorted(stats[1:, [1, 0, 3, 2, 4]].tolist())
    ]


def label_regions(
    mask: npt.NDArray[np.generic], class_id: str = ""
) -> tuple[RegionMap, list[Region]]:
    """Return the region map and the regions of ``mask``, sorted by y and then x of their boxes.

    Regions are 8-connected: pixels that touch at a corner belong together.

    Args:
        mask: (H, W) of bool or any number, nonzero = defect. A region that lies in the hole of
            another is one of its own.
        class_id: the class that the regions get.

    Returns:
        The region map, (H, W) int32: 0 on the background, i + 1 on the pixels of the i-th region;
        and the regions.
    """
    region_map = np.zeros(mask.shape, np.int32)
    defect, x, y = _crop_to_defects(mask)
    if not defect.size:
        return region_map, []
    height, width = defect.shape
    inside = np.zeros((height, width + 1), np.bool_)  # The empty column separates the rows' runs.
    inside[:, :width] = defect
    boxes, starts = _outer_borders(inside.view(np.uint8), (x, y))

    count, numbers = cv2.connectedComponents(inside.view(np.uint8), connectivity=8)
    assert count == len(boxes) + 1, (count, len(boxes))
    columns, rows = (np.array(starts) - (x, y)).T
    ranks = np.zeros(count, np.int32)
    ranks[numbers[rows, columns]] = np.arange(1, count)

    # Run by run and not pixel by pixel: several times as fast on large regions.
    edges = np.flatnonzero(np.diff(inside.ravel(), prepend=False))
    begins, lengths = edges[::2], edges[1::2] - edges[::2]
    ranked = ranks[numbers.ravel()[begins]]
    del numbers  # Large, and no longer needed.
    region_map[y : y + height, x : x + width][defect.view(np.bool_)] = np.repeat(ranked, lengths)
    areas = np.bincount(ranked, lengths, minlength=count)[1:].astype(int).tolist()
    return region_map, [
        Region(box_xywh=box, area=area, class_id=class_id)
        for box, area in zip(boxes, areas, strict=True)
    ]


class StripRegions:
    """The regions of a mask that comes in strips, from the top down, and is never whole.

    In each strip the parts of regions have numbers of their own; parts that touch where strips end
    are one region, which has the number of one of its parts.
    """

    def __init__(self) -> None:
        self._parents = [0]
        self._boxes: list[Int64Array] = []  # (P, 4) of each strip: left, top, right, bottom
        self._last = np.zeros(0, np.int32)
        self._top = 0

    def add(self, strip: Mask) -> RegionMap:
        """Return the numbers of the parts in the next rows, (H, W) int32; 0 on the background."""
        count, parts, stats, _ = cv2.connectedComponentsWithStats(
            strip.view(np.uint8), connectivity=8
        )
        parts = np.asarray(parts, np.int32)
        first = len(self._parents)
        parts[strip] += first - 1
        self._parents += range(first, first + count - 1)
        left, top, width, height = stats[1:, :4].astype(np.int64).T
        top += self._top
        self._boxes.append(np.stack([left, top, left + width, top + height], axis=1))
        if self._top:
            self._join(self._last, parts[0])
        self._last = parts[-1].copy()
        self._top += len(strip)
        return parts

    def regions_of(self, parts: Int32Array) -> Int32Array:
        """Return the numbers of the regions that parts, (N,), belong to by now."""
        own, index = np.unique(parts, return_inverse=True)
        roots = np.array([self._root(part) for part in own.tolist()], np.int32)
        return roots[index]

    def open_regions(self) -> Int32Array:
        """Return the numbers of the regions that the next strip may go on with, and maybe 0."""
        return np.unique(self.regions_of(self._last))

    def boxes(self) -> list[BoxXywh]:
        """Return the boxes of all regions, sorted as by ``label_regions``."""
        count = len(self._parents)
        if count == 1:
            return []
        roots, index = np.unique(
            self.regions_of(np.arange(1, count, dtype=np.int32)), return_inverse=True
        )
        left, top = np.full((2, len(roots)), np.iinfo(np.int64).max)
        right, bottom = np.zeros((2, len(roots)), np.int64)
        corners = np.concatenate(self._boxes).T
        for least, values in zip((left, top), corners[:2], strict=True):
            np.minimum.at(least, index, values)
        for most, values in zip((right, bottom), corners[2:], strict=True):
            np.maximum.at(most, index, values)
        boxes = np.stack([left, top, right - left, bottom - top], axis=1).tolist()
        return sorted(map(tuple, boxes), key=box_order)

    def _join(self, upper: Int32Array, lower: Int32Array) -> None:
        """Join the parts that touch where a strip ends, also at a corner."""
        length = len(upper)
        for shift in (-1, 0, 1):
            above = upper[max(shift, 0) : length + min(shift, 0)]
            below = lower[max(-shift, 0) : length + min(-shift, 0)]
            touching = (above > 0) & (below > 0)
            pairs = np.unique(np.stack([above[touching], below[touching]], axis=1), axis=0)
            for one, other in pairs.tolist():
                self._parents[self._root(other)] = self._root(one)

    def _root(self, part: int) -> int:
        parents = self._parents
        while parents[part] != part:
            parents[part] = parents[parents[part]]
            part = parents[part]
        return part


def box_order(box: BoxXywh) -> tuple[int, int, int, int]:
    """Return by what the boxes of regions are sorted.

    No two regions have the same box: each would have to cross the other.
    """
    x, y, width, height = box
    return y, x, height, width


def measure_region_map(region_map: RegionMap) -> list[Region]:
    """Return the regions of a region map, in the order of their numbers."""
    rows, columns = np.nonzero(region_map)
    if not rows.size:
        return []
    numbers = region_map[rows, columns] - 1
    count = int(numbers.max()) + 1
    top, bottom, left, right = np.empty((4, count), np.intp)
    top[numbers[::-1]] = rows[::-1]  # Pixels come row by row: the first one stays.
    bottom[numbers] = rows
    left[:], right[:] = region_map.shape[1], 0
    np.minimum.at(left, numbers, columns)
    np.maximum.at(right, numbers, columns)
    boxes = np.stack([left, top, right - left + 1, bottom - top + 1], axis=1).tolist()
    areas = np.bincount(numbers).tolist()
    return [Region(box_xywh=tuple(box), area=area) for box, area in zip(boxes, areas, strict=True)]


def _crop_to_defects(mask: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Return the window of ``mask`` around all its regions, often a small one, and its x and y."""
    defect = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    if not defect.flags.c_contiguous:  # A decoded mask is stored column by column.
        defect = np.asarray(cv2.transpose(defect.T), np.uint8)
    x, y, width, height = cv2.boundingRect(defect)
    return defect[y : y + height, x : x + width], x, y


def _outer_borders(
    mask: npt.NDArray[np.uint8], offset: tuple[int, int]
) -> tuple[list[BoxXywh], list[npt.NDArray[np.int32]]]:
    """Return box and first contour pixel (x, y) of each region, sorted, moved by ``offset``."""
    # RETR_CCOMP and not RETR_EXTERNAL, which leaves out the regions in holes of others.
    contours, hierarchy = cv2.findContours(
        mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=offset
    )
    outer = [
        (tuple(cv2.boundingRect(contour)), contour[0, 0])
        for contour, (_, _, _, parent) in zip(contours, hierarchy[0].tolist(), strict=True)
        if parent < 0
    ]
    outer.sort(key=lambda item: box_order(item[0]))
    return [box for box, _ in outer], [start for _, start in outer]
