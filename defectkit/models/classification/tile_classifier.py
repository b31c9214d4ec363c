"""Classifiers of tiles, and the scores of all tiles of an image: densely, or one by one.

Shapes: B images, C input channels (1 gray, 3 RGB, up to 16), K outputs, H and W in pixels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from defectkit.models.network import Network

TILES_AT_ONCE = 128
"""Number of tiles that are cut out and classified in one batch."""


class TileClassifier(Network):
    """Classifies square tiles of side ``tile``; it sees ``context`` more pixels on each side.

    Called on (B, C, H, W) in [0, 255], uint8 or float, it returns logits (B, K, h, w): those of the
    tiles at every ``stride`` pixels, the first in the upper left corner. For a single tile with its
    context that is (B, K, 1, 1). Where ``stride`` is None the network takes single tiles only.
    """

    tile: int
    context: int = 0
    stride: int | None = None

    @property
    def size(self) -> int:
        """Side of a tile with its context."""
        return self.tile + 2 * self.context


def score_densely(network: TileClassifier, images: torch.Tensor, *, stride: int) -> torch.Tensor:
    """Return the logits (B, K, h, w) of the tiles at every ``stride`` pixels, in dense passes.

    ``images`` (B, C, H, W) begin with the context of the first tile. Tiles whose distance is a
    multiple of the network's own stride share a pass. The others have passes of their own, shifted
    by ``stride`` pixels, and all results are interleaved (shift-and-stitch: Long, Shelhamer and
    Darrell, 2015). A pass ends where its last tile does, so that a network with padding pads there.
    """
    assert network.stride is not None
    passes = network.stride // math.gcd(stride, network.stride)  # along each axis
    step = passes * stride  # pixels from one tile to the next of a pass
    rows, columns = ((length - network.size) // stride + 1 for length in images.shape[2:])
    shifts = [min(passes, count) for count in (rows, columns)]
    found = []
    for y in range(shifts[0]):
        for x in range(shifts[1]):
            height = (rows - 1 - y) // passes * step + network.size
            width = (columns - 1 - x) // passes * step + network.size
            top, left = y * stride, x * stride
            seen = images[:, :, top : top + height, left : left + width]
            skip = step // network.stride
            found.append(network(_channels_last(seen))[:, :, ::skip, ::skip])
    return _interleave(found, shifts)[:, :, :rows, :columns]


def _interleave(parts: Sequence[torch.Tensor], shifts: Sequence[int]) -> torch.Tensor:
    """Return what lies in ``parts`` (B, K, h, w) of a grid, one for each shift, down then right.

    The first part is the largest; what the others lack at their ends is 0.
    """
    if len(parts) == 1:
        return parts[0]
    count, layers, height, width = parts[0].shape
    padded = [F.pad(part, (0, width - part.shape[3], 0, height - part.shape[2])) for part in parts]
    grid = torch.stack(padded, dim=2).reshape(count, layers, *shifts, height, width)
    rows, columns = height * shifts[0], width * shifts[1]
    return grid.permute(0, 1, 4, 2, 5, 3).reshape(count, layers, rows, columns)


def score_one_by_one(network: TileClassifier, images: torch.Tensor, *, stride: int) -> torch.Tensor:
    """Return the same as ``score_densely``; every tile is cut out and classified on its own."""
    side = network.size
    windows = images.unfold(2, side, stride).unfold(3, side, stride)  # (B, C, h, w, side, side)
    count, (rows, columns) = len(images), windows.shape[2:4]
    parts = []
    for places in torch.split(torch.arange(rows * columns), max(TILES_AT_ONCE // count, 1)):
        tiles = windows[:, :, places // columns, places % columns]  # (B, C, n, side, side)
        logits: torch.Tensor = network(
            _channels_last(tiles.transpose(1, 2).flatten(0, 1))
        )  # (B n, K, 1, 1)
        parts.append(logits.reshape(count, len(places), -1))
    return torch.cat(parts, dim=1).transpose(1, 2).reshape(count, -1, rows, columns)


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
