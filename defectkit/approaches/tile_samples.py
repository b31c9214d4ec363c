"""Training samples of the approach ``patch``: from each image that is read, several tiles.

Shapes: T tiles per image, K classes, S the side of a tile and its context on both sides.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor
from defectkit.approaches.sample_draws import SampleKey
from defectkit.approaches.tile_labels import TileLabel, count_labels, label_tiles, scope_tiles
from defectkit.arrays import Corners, Image, ImageSize, Int8Array, Int64Array, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import DefectkitWarning
from defectkit.labels.scope import Scope
from defectkit.regions import measure_regions

CANDIDATES_PER_TILE = 32
"""Number of positions that are drawn for each tile."""
DEFECTIVE_FRACTION = 0.75
"""Fraction of defective tiles in an image that is drawn for its defects; the rest are good."""
IGNORED = -1
"""The label of a tile that is not learned from, for all classes."""


class LabeledTile(NamedTuple):
    """Image (S, S, C) and masks (K, S, S) of a tile and its context, and labels (K,) of the tile.

    A label is 1 where the tile shows a defect of the class, else 0, int8; or all are ``IGNORED``.
    """

    image: Image
    masks: Masks
    labels: Int8Array


class TileSamples(CropSamples):
    """Tiles: most are defective in an image drawn for its defects, few or none in others."""

    def __init__(
        self, config: Config, dataset: Dataset, records: Sequence[ImageRecord], *, context: int
    ) -> None:
        super().__init__(config, dataset, records)
        self.context = context

    @property
    def unit(self) -> str:
        """What the samples are: the tiles of an image."""
        patch = self.config.patch
        return f"each {patch.tiles_per_image} tiles of {patch.tile} x {patch.tile} pixels"

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tiles (T, C, S, S) uint8 and labels (T, K) int8."""
        tiles = self.tiles(key)
        images = torch.stack([as_tensor(tile.image) for tile in tiles])
        return images, torch.from_numpy(np.stack([tile.labels for tile in tiles]))

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to one batch of tiles: (B T, C, S, S) and (B T, K)."""
        images, labels = zip(*samples, strict=True)
        return torch.cat(images), torch.cat(labels)

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return (image, masks) of one tile of each of the first samples of the first epoch."""
        several = (self.tiles((1, index)) for index in range(count))
        return [tiles[index % len(tiles)][:2] for index, tiles in enumerate(several)]

    def tiles(self, key: SampleKey) -> list[LabeledTile]:
        """Return the tiles of ``(epoch, index)``, cut from one image, each augmented on its own."""
        rng = np.random.default_rng([self.config.seed, *key[:2]])
        record, class_id, *_ = self.draws.draw(key)
        image, masks = self.cache.read(record, self.channels), record.read_masks(self.classes)
        corners, labels = self._draw_corners(
            masks, record.read_scope(), rng, near_defect=class_id is not None
        )
        side, margin = self.config.patch.tile + 2 * self.context, self.config.patch.tile
        around = ((margin + self.context,) * 2,) * 2
        image = np.pad(image, (*around, (0, 0)), mode="symmetric")
        masks = np.pad(masks, ((0, 0), *around), mode="symmetric")
        tiles = []
        for (row, column), own in zip((corners + margin).tolist(), labels, strict=True):
            window = (slice(row, row + side), slice(column, column + side))
            tiles.append(self._augment(image[window], masks[:, *window], own, rng))
        return tiles

    def _augment(
        self, image: Image, masks: Masks, labels: Int8Array, rng: np.random.Generator
    ) -> LabeledTile:
        """Augment a tile; where that moved a defect out of it or into it, it is ignored."""
        before = self._defect_area(masks)
        image, masks = augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))
        after = self._defect_area(masks)
        lost = (labels == 1) & (after < self.config.patch.min_coverage * before)
        gained = (before == 0) & (after > 0)
        return LabeledTile(image, masks, np.where((lost | gained).any(), np.int8(IGNORED), labels))

    def _defect_area(self, masks: Masks) -> Int64Array:
        own = slice(self.context, self.context + self.config.patch.tile)
        area: Int64Array = masks[:, own, own].sum(axis=(1, 2), dtype=np.int64)
        return area

    def _draw_corners(
        self, masks: Masks, scope: Scope, rng: np.random.Generator, *, near_defect: bool
    ) -> tuple[Corners, Int8Array]:
        """Draw the tiles: return their corners (T, 2) in the image and their labels (T, K)."""
        patch, count = self.config.patch, self.config.patch.tiles_per_image
        tries = CANDIDATES_PER_TILE * count
        # Tiles may exceed the border, so that its pixels are learned as often as the others.
        over = patch.tile // 2
        spans = _counted_spans(scope, masks.shape[1:])
        ends = np.array([(start - over, stop - patch.tile + over) for start, stop in spans])
        low, high = ends.min(axis=1), ends.max(axis=1)
        corners = rng.integers(low, high + 1, size=(tries, 2))
        if near_defect:
            near = _around_defects(masks, tries, rng, tile=patch.tile)
            corners = np.concatenate([np.clip(near, low, high), corners])
        found = label_tiles(
            masks, corners, tile=patch.tile, min_coverage=patch.min_coverage
        )  # (N, K)
        labels = (found >= min_defective_label(patch.partial_tiles)).astype(np.int8)
        usable, may_be_good = scope_tiles(scope, corners, tile=patch.tile)
        if patch.partial_tiles == "skip":
            usable = usable & (found != TileLabel.PARTIAL).all(axis=1)
        defective = np.flatnonzero(usable & labels.any(axis=1))
        good = np.flatnonzero(usable & may_be_good & ~labels.any(axis=1))
        wanted = round(DEFECTIVE_FRACTION * count) if near_defect and len(defective) else 0
        # Tiles near defects come first: good ones there are the hardest. Where there are too few of
        # a kind, some come several times.
        chosen = np.concatenate([np.resize(defective, wanted), good, defective])
        if not len(chosen):
            return corners[:count], np.full_like(labels[:count], IGNORED)
        chosen = np.resize(chosen, count)
        return corners[chosen], labels[chosen]

    def describe(self) -> list[str]:
        """Return the numbers of tiles in the training images by class and label, as lines.

        Warns of classes without a defective tile.
        """
        patch = self.config.patch
        counts = count_labels(
            self.records,
            self.classes,
            tile=patch.tile,
            stride=patch.stride,
            min_coverage=patch.min_coverage,
        )
        for class_id, own in zip(self.classes, counts, strict=True):
            if not own[min_defective_label(patch.partial_tiles) :].any():
                warnings.warn(_nothing_to_learn(class_id), DefectkitWarning, stacklevel=2)
        total = counts[0].sum()
        return [
            f"{total} tiles of {patch.tile}x{patch.tile} pixels, one every {patch.stride}:",
            *(_line(*pair, patch.partial_tiles) for pair in zip(self.classes, counts, strict=True)),
        ]


def _counted_spans(scope: Scope, size: ImageSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and column that count, and those after the last ones."""
    if scope.counted is None:
        return (0, size[0]), (0, size[1])
    x, y, width, height = cv2.boundingRect(scope.counted.view(np.uint8))
    return (y, y + height), (x, x + width)


def _around_defects(masks: Masks, count: int, rng: np.random.Generator, *, tile: int) -> Corners:
    """Draw corners of tiles that overlap the box of a defect, each defect as often."""
    regions = measure_regions(masks.max(axis=0))
    chosen = rng.integers(len(regions), size=count)
    x, y, width, height = np.array([region.box_xywh for region in regions])[chosen].T
    low, high = np.stack([y, x], axis=1) - tile + 1, np.stack([y + height, x + width], axis=1)
    corners: Corners = rng.integers(low, high)
    return corners


def min_defective_label(partial_tiles: str) -> TileLabel:
    """Return the lowest label of a tile that counts as defective."""
    return TileLabel.PARTIAL if partial_tiles == "defective" else TileLabel.WHOLE


def _line(class_id: str, counts: Int64Array, partial_tiles: str) -> str:
    meaning = {"skip": "left out", "good": "taken as good", "defective": "taken as defective"}
    return (
        f"  class {class_id}: {counts[TileLabel.COVERED]} defective by coverage, "
        f"{counts[TileLabel.WHOLE]} by containing enough of a defect, "
        f"{counts[TileLabel.PARTIAL]} partial "
        f"({meaning[partial_tiles]}), {counts[TileLabel.GOOD]} good"
    )


def _nothing_to_learn(class_id: str) -> str:
    return (
        f"no training tile is defective of class {class_id}, so it cannot be learned: its defects "
        "are larger than a tile and never fill one. Set patch.partial_tiles=defective, a larger "
        "patch.tile or a smaller patch.min_coverage."
    )
