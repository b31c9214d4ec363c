"""Tiles that cover an image, and their weights where their scores are blended."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from defectkit.arrays import Float32Array


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of an image: rows ``y:y+height``, columns ``x:x+width``."""

    x: int
    y: int
    width: int
    height: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The tile as an index of an image's pixels: (rows, columns)."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def cover_with_tiles(height: int, width: int, *, size: int, overlap: int) -> Iterator[Tile]:
    """Yield tiles of equal size, at most ``size`` x ``size``, that cover an image.

    Neighbors share at least ``overlap`` pixels. Tiles are spread evenly and lie inside the image.
    """
    assert 0 <= overlap < size, (size, overlap)
    for y in _starts(height, size, overlap):
        for x in _starts(width, size, overlap):
            yield Tile(x, y, min(size, width), min(size, height))


def blend_weight(tile: Tile, overlap: int) -> Float32Array:
    """Return the weight of each pixel of a tile, (height, width) float32 in (0, 1].

    Weights fall off linearly over ``overlap`` pixels at each side, so that blended tiles show no
    seams.
    """
    rows, columns = (_ramp(length, overlap) for length in (tile.height, tile.width))
    return np.minimum(rows[:, None], columns[None, :])


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def _ramp(length: int, overlap: int) -> Float32Array:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(distance / (overlap + 1), 1.0).astype(np.float32)
