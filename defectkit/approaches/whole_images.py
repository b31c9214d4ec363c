"""Findings of images of any size: batches of one shape, and blended tiles for large images."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from defectkit.approaches.score_maps import make_finding, witnesses_of
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Float32Array, Image, ImageBatch, ImageSize, ScoreMap
from defectkit.data.tiles import blend_weight, cover_with_tiles
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.memory import check_memory

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
    total = np.zeros((len(batch), n_classes, height, width), np.float32)
    decided: list[Float32Array] = []
    # The weights of the rows from ``top`` on: those above have all of their tiles.
    weights, top = np.zeros((min(tile, height), width), np.float32), 0

    def finish(end: int) -> None:
        """Divide the rows up to ``end`` by their weights, in place: no array is as large."""
        rows = total[:, :, top:end]
        rows /= weights[: end - top]
        np.clip(rows, 0.0, 1.0, out=rows)

    for part in cover_with_tiles(height, width, size=tile, overlap=overlap):
        if part.y > top:
            finish(part.y)
            kept = len(weights) - (part.y - top)
            weights[:kept] = weights[part.y - top :].copy()
            weights[kept:] = 0.0
            top = part.y
        rows, columns = part.window
        weight = blend_weight(part, overlap)
        scores, decisions = score(batch[:, rows, columns])
        total[:, :, rows, columns] += scores * weight
        weights[:, columns] += weight
        decided += [] if decisions is None else [decisions]
    finish(height)
    return total, np.max(decided, axis=0) if decided else None
