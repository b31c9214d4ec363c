"""Which tiles are defective, and by which rule.

A tile is defective when enough of it is defect, or when it holds enough of a whole defect: small
and thin defects never cover much of a tile, and would vanish by the first rule alone.
"""

from collections.abc import Sequence
from enum import IntEnum

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import Corners
from defectkit.data.dataset import ImageRecord
from defectkit.regions import label_regions


class TileLabel(IntEnum):
    """What a tile is, seen by one class."""

    GOOD = 0
    """It holds no pixel of a defect."""
    PARTIAL = 1
    """It holds some, but too little by either rule."""
    WHOLE = 2
    """It holds enough of a whole defect."""
    COVERED = 3
    """Enough of it is defect."""


def label_tiles(
    masks: npt.NDArray[np.uint8], corners: Corners, *, tile: int, min_coverage: float
) -> npt.NDArray[np.int8]:
    """Return a ``TileLabel`` for each tile and class, (N, K) int8.

    Args:
        masks: (K, H, W) of 0 and 1.
        corners: (N, 2) row and column of each tile's upper left pixel; where a tile leaves the
            image, what covers it is judged by the part within.
        tile: the side of the tiles in pixels.
        min_coverage: the part of the tile, or of a connected region, that is enough, in (0, 1].
    """
    labels = np.full((len(corners), len(masks)), TileLabel.GOOD, np.int8)
    top, left = np.clip(corners, 0, masks.shape[1:]).T
    bottom, right = np.clip(corners + tile, 0, masks.shape[1:]).T
    # The whole area first: 0.1 * 6 * 5 is rounded to more than 3.
    enough = min_coverage * ((bottom - top) * (right - left))
    for mask, own in zip(masks, labels.T, strict=True):
        if not mask.any():
            continue
        held = count_inside(mask, corners, tile=tile)
        own[held > 0] = TileLabel.PARTIAL
        own[_hold_a_whole_one(mask, corners, tile, min_coverage)] = TileLabel.WHOLE
        own[(held > 0) & (held >= enough)] = TileLabel.COVERED
    return labels


def _hold_a_whole_one(
    mask: npt.NDArray[np.uint8], corners: Corners, tile: int, part: float
) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(corners), np.bool_)
    numbers, regions = label_regions(mask)
    for number, region in enumerate(regions, start=1):
        if part * region.area > tile**2:
            continue  # no tile can hold so much of it
        x, y, width, height = region.box_xywh
        alone = (numbers[y : y + height, x : x + width] == number).astype(np.uint8)
        found |= count_inside(alone, corners - (y, x), tile=tile) >= part * region.area
    return found


def count_inside(
    mask: npt.NDArray[np.uint8], corners: Corners, *, tile: int
) -> npt.NDArray[np.int64]:
    """Return how many pixels of ``mask`` (H, W) each tile holds, (N,) int64."""
    sums = np.asarray(cv2.integral(mask), np.int64)  # (H + 1, W + 1)
    top, left = np.clip(corners, 0, mask.shape).T
    bottom, right = np.clip(corners + tile, 0, mask.shape).T
    held: npt.NDArray[np.int64] = (
        sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    )
    return held


def tile_starts(length: int, *, tile: int, stride: int) -> Corners:
    """Return where the tiles at every ``stride`` pixels of a side start, (n,) int64.

    The first and last ones reach over the border, so that the outermost pixel is in as many tiles
    as any other.
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
) -> npt.NDArray[np.int64]:
    """Count the tiles that inspection looks at by class and label, (K, 4) int64."""
    counts = np.zeros((len(classes), len(TileLabel)), np.int64)
    for record in records:
        axes = [tile_starts(n, tile=tile, stride=stride) for n in (record.height, record.width)]
        if not record.defective:
            counts[:, TileLabel.GOOD] += len(axes[0]) * len(axes[1])
            continue
        corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        masks = record.read_masks(classes)
        labels = label_tiles(masks, corners, tile=tile, min_coverage=min_coverage)
        for label in TileLabel:
            counts[:, label] += np.count_nonzero(labels == label, axis=0)
    return counts
