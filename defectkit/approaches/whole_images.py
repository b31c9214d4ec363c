"""Findings of images of any size: batches of one shape, and blended tiles for large images."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from defectkit.approaches.score_maps import make_finding, witnesses_of
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Float32Array, Image, ImageBatch, ImageSize, ScoreMap
from defectkit.data.tiles import blend_weight, cover_with_tiles
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.memory import check_memory
from defectkit.watching import tell

FINDING_BYTES = 24
"""Bytes of memory that a pixel takes while its region is found, as measured."""

Scored = tuple[ScoreMap, Float32Array | None]
"""Score maps (B, K, H, W) in [0, 1], and logits (B,) of whether an image is defective, or None."""

PaddedSide = Callable[[int], int]
"""Returns the side in pixels, with its padding, that a network sees of an image of a side."""


def batches_by_shape(
    images: Sequence[Image], *, n_classes: int
) -> Iterator[tuple[list[int], ImageBatch]]:
    """Yield the indices of the images (H, W, C) of one shape, and those images as (B, H, W, C).

    Raises:
        ImageError: finding defects of ``n_classes`` in them takes more memory than there is.
    """
    by_shape = defaultdict(list)
    for index, image in enumerate(images):
        by_shape[image.shape].append(index)
    for (height, width, channels), indices in by_shape.items():
        # Twice the scores of each class, since some pixels may not count, and a region
        # map; and of one image at a time the regions, and then its overlay.
        pixel_bytes = len(indices) * (channels + 8 * n_classes + 4) + FINDING_BYTES
        check_memory(
            pixel_bytes * height * width, what=f"finding defects in {width}x{height} pixels"
        )
        if len(indices) == 1:  # A large image is not copied.
            yield indices, np.require(images[indices[0]], requirements=["C", "W"])[None]
        else:
            yield indices, np.stack([images[index] for index in indices])


def find_by_scores(
    score: Callable[[ImageBatch], Scored],
    images: Sequence[Image],
    classes: Sequence[str],
    *,
    tuning: Tuning,
    one_class: bool = False,
    scopes: Sequence[Scope] = (),
) -> list[Finding]:
    """Return the finding of each image (H, W, C) uint8, of any size.

    Args:
        score: returns the scores of images of one shape (B, H, W, C).
        images: (H, W, C) uint8 each.
        classes: the names of the K classes.
        tuning: the thresholds of pixels and regions.
        one_class: all pixels of a region get its class.
        scopes: that of each image; nothing is found outside of it. By default all pixels count.
    """
    findings: dict[int, Finding] = {}
    for indices, batch in batches_by_shape(images, n_classes=len(classes)):
        maps, decisions = score(batch)
        for place, index in enumerate(indices):
            findings[index] = make_finding(
                np.ascontiguousarray(maps[place]),
                classes,
                tuning=tuning,
                one_class=one_class,
                scope=scopes[index] if scopes else EVERYWHERE,
                image_logit=None if decisions is None else float(decisions[place]),
            )
    return [findings[index] for index in range(len(images))]


def score_images(
    score: Callable[[ImageBatch], Scored],
    images: Sequence[Image],
    *,
    tuning: Tuning,
    scopes: Sequence[Scope],
) -> list[float]:
    """Return the scores alone that ``find_by_scores`` gives images, by a single class."""
    found: dict[int, float] = {}
    for indices, batch in batches_by_shape(images, n_classes=1):
        maps, decisions = score(batch)
        for place, index in enumerate(indices):
            defect_map, scope = maps[place, 0], scopes[index]
            if scope.counted is not None:
                defect_map = np.where(scope.counted, defect_map, np.float32(0))
            logit = None if decisions is None else float(decisions[place])
            found[index] = tuning.image_mix.score(*witnesses_of(defect_map, scope, logit))
    return [found[index] for index in range(len(images))]


def fits_tile(size: ImageSize, tile: int, padded: PaddedSide) -> bool:
    """Return whether the network sees no more pixels of an image than of a square tile.

    Of very long and thin images it sees much more than they have.
    """
    return padded(size[0]) * padded(size[1]) <= padded(tile) ** 2


def score_in_tiles(
    score: Callable[[ImageBatch], Scored],
    batch: ImageBatch,
    *,
    n_classes: int,
    tile: int,
    overlap: int,
    padded: PaddedSide,
) -> Scored:
    """Return the scores of images (B, H, W, C), by blended tiles if they are large.

    An image is as defective as the most defective of its tiles.

    Args:
        score: returns the scores of images of up to ``tile`` x ``tile`` pixels.
        batch: the images.
        n_classes: K.
        tile: side of a tile in pixels.
        overlap: pixels by which neighboring tiles overlap.
        padded: returns the side that the network sees of an image of a side.
    """
    height, width = batch.shape[1:3]
    if fits_tile((height, width), tile, padded):
        return score(batch)
    total = np.empty((len(batch), n_classes, height, width), np.float32)
    decided: list[Float32Array] = []
    for block in score_blocks(score, batch, n_classes=n_classes, tile=tile, overlap=overlap):
        total[:, :, block.rows, block.columns] = block.scores
        decided += [] if block.decisions is None else [block.decisions]
    return total, np.max(decided, axis=0) if decided else None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The scores of a rectangle of images, which no further tile changes.

    Attributes:
        rows: the rows of the images.
        columns: their columns.
        scores: (B, K, H, W) of the rectangle, float32 in [0, 1], until the next block comes.
        decisions: the logits (B,) of the tile that was scored last, or None.
    """

    rows: slice
    columns: slice
    scores: ScoreMap
    decisions: Float32Array | None


def score_blocks(
    score: Callable[[ImageBatch], Scored],
    batch: ImageBatch,
    *,
    n_classes: int,
    tile: int,
    overlap: int,
) -> Iterator[Block]:
    """Yield the scores of images (B, H, W, C) by blended tiles, row by row of blocks.

    Together the blocks are the image. Of what is not yet done only the overlaps with the next tiles
    are kept. The arguments are those of ``score_in_tiles``.
    """
    height, width = batch.shape[1:3]
    tiles = list(cover_with_tiles(height, width, size=tile, overlap=overlap))
    tops = sorted({part.y for part in tiles})
    lefts = sorted({part.x for part in tiles})
    weight = blend_weight(tiles[0], overlap)
    high, wide = weight.shape

    def zeros(rows: int, columns: int) -> ScoreMap:
        """Return no sums yet: of the scores of the K classes, and of the weights."""
        return np.zeros((len(batch), n_classes + 1, rows, columns), np.float32)

    shared = [top + high - below for top, below in pairwise(tops)]
    # The sums of the rows that two rows of tiles share: first those above, then those below.
    carried, above = zeros(max(shared, default=0), width), 0
    sums = zeros(high, wide)
    scored = 0
    for top, next_top in zip(tops, [*tops[1:], height], strict=True):
        before = zeros(high, 0)
        for left, next_left in zip(lefts, [*lefts[1:], width], strict=True):
            rows, columns = slice(top, top + high), slice(left, left + wide)
            scores, decisions = score(batch[:, rows, columns])
            scored += 1
            tell(scored / len(tiles))
            sums[...] = 0
            sums[:, :, :above] = carried[:, :, :above, columns]
            sums[..., : before.shape[3]] = before
            for layer in range(n_classes):  # All at once would take as much memory again.
                sums[:, layer] += scores[:, layer] * weight
            sums[:, n_classes] += weight
            del scores
            down, right = next_top - top, next_left - left
            done = sums[:, :n_classes, :down, :right]
            done /= sums[:, n_classes:, :down, :right]
            np.clip(done, 0.0, 1.0, out=done)
            carried[:, :, : high - down, left:next_left] = sums[:, :, down:, :right]
            before = sums[..., right:].copy()
            yield Block(slice(top, next_top), slice(left, next_left), done, decisions)
        above = high - down
