"""Which tiles are defective, and by which rule.

A tile is defective when enough of it is defect, or when it contains enough of a whole defect: small
and thin defects never cover much of a tile, and would be lost by the first rule alone.
"""

from collections.abc import Sequence
from enum import IntEnum

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, Corners, Int8Array, Int64Array, Masks
from defectkit.data.dataset import ImageRecord
from defectkit.labels.scope import Scope
from defectkit.regions import label_regions


class TileLabel(IntEnum):
    """What a tile is for one class."""

    GOOD = 0
    """It contains no pixel of a defect."""
    PARTIAL = 1
    """It contains some, but too little by either rule."""
    WHOLE = 2
    """It contains enough of a whole defect."""
    COVERED = 3
    """Enough of it is defect."""


def label_tiles(masks: Masks, corners: Corners, *, tile: int, min_coverage: float) -> Int8Array:
    """Return a ``TileLabel`` for each tile and class, (N, K) int8.

    Args:
        masks: (K, H, W) of 0 and 1.
        corners: (N, 2) row and column of each tile's upper left pixel; where a tile leaves the
            image, coverage is that of the part inside the image.
        tile: side of the tiles in pixels.
        min_coverage: the fraction of the tile, or of a region, that is enough, in (0, 1].
    """
    labels = np.full((len(corners), len(masks)), TileLabel.GOOD, np.int8)
    top, left = np.clip(corners, 0, masks.shape[1:]).T
    bottom, right = np.clip(corners + tile, 0, masks.shape[1:]).T
    # The area is multiplied first: 0.1 * 6 * 5 is rounded to more than 3.
    enough = min_coverage * ((bottom - top) * (right - left))
    for mask, own in zip(masks, labels.T, strict=True):
        if not mask.any():
            continue
        pixels = count_pixels(mask, corners, tile=tile)
        own[pixels > 0] = TileLabel.PARTIAL
        own[_contain_a_defect(mask, corners, tile, min_coverage)] = TileLabel.WHOLE
        own[(pixels > 0) & (pixels >= enough)] = TileLabel.COVERED
    return labels


def _contain_a_defect(
    mask: npt.NDArray[np.uint8], corners: Corners, tile: int, min_fraction: float
) -> BoolArray:
    found = np.zeros(len(corners), np.bool_)
    numbers, regions = label_regions(mask)
    for number, region in enumerate(regions, start=1):
        if min_fraction * region.area > tile**2:
            continue  # no tile can contain so much of it
        x, y, width, height = region.box_xywh
        alone = (numbers[y : y + height, x : x + width] == number).astype(np.uint8)
        found |= count_pixels(alone, corners - (y, x), tile=tile) >= min_fraction * region.area
    return found


def count_pixels(mask: npt.NDArray[np.uint8], corners: Corners, *, tile: int) -> Int64Array:
    """Return the number of pixels of ``mask`` (H, W) in each tile, (N,) int64."""
    sums = np.asarray(cv2.integral(mask), np.int64)  # (H + 1, W + 1)
    top, left = np.clip(corners, 0, mask.shape).T
    bottom, right = np.clip(corners + tile, 0, mask.shape).T
    pixels: Int64Array = (
        sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    )
    return pixels


def scope_tiles(scope: Scope, corners: Corners, *, tile: int) -> tuple[BoolArray, BoolArray]:
    """Return which tiles count, and which of these may be called good; each (N,) bool.

    At least half of a tile, of its part inside the image, must be in the region to inspect. An
    ignored pixel may be a defect: a tile with one may be defective but not good.
    """
    counts = np.ones(len(corners), np.bool_)
    if scope.roi is not None:
        everything = np.ones(scope.roi.shape, np.uint8)
        whole = count_pixels(everything, corners, tile=tile)
        counts = 2 * count_pixels(scope.roi.view(np.uint8), corners, tile=tile) >= whole
    if scope.ignored is None:
        return counts, counts
    return counts, counts & (count_pixels(scope.ignored.view(np.uint8), corners, tile=tile) == 0)


def tile_starts(length: int, *, tile: int, stride: int) -> Corners:
    """Return the first pixels of the tiles at every ``stride`` pixels along a side, (n,) int64.

    The first and last tiles exceed the border, so that the outermost pixel is in as many tiles as
    any other.
    """
    before = -(-tile // stride) - 1
    return np.arange(-before, (length - 1) // stride + 1, dtype=np.int64) * stride


def count_labels(
    records: Sequence[ImageRecord],
    classes: Sequence[str],
    *,
    tile: int,
    stride: int,
    min_coverage: float,
) -> Int64Array:
    """Count the tiles of an inspection of the images, by class and label: (K, 4) int64."""
    counts = np.zeros((len(classes), len(TileLabel)), np.int64)
    for record in records:
        axes = [tile_starts(n, tile=tile, stride=stride) for n in (record.height, record.width)]
        scope = record.read_scope()
        if not record.defective and scope.counted is None:
            counts[:, TileLabel.GOOD] += len(axes[0]) * len(axes[1])
            continue
        corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        masks = record.read_masks(classes)
        labels = label_tiles(masks, corners, tile=tile, min_coverage=min_coverage)
        counted, may_be_good = scope_tiles(scope, corners, tile=tile)
        for label in TileLabel:
            usable = may_be_good if label == TileLabel.GOOD else counted
            counts[:, label] += np.count_nonzero(labels[usable] == label, axis=0)
    return counts
