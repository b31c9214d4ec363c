"""Training samples of the approach ``patch``: from each image that is read, several tiles.

Shapes: T tiles an image, K classes, S the side of a tile and its context on both sides.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor
from defectkit.approaches.tile_labels import TileLabel, count_labels, label_tiles
from defectkit.arrays import Corners, Image, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import DefectkitWarning
from defectkit.regions import measure_regions

CANDIDATES = 32
"""So many places are tried for each tile that is wanted."""
DEFECTIVE_SHARE = 0.75
"""Of the tiles of an image that is read for its defects; the rest are good tiles beside them."""
LEFT_OUT = -1
"""Stands for the labels of a tile that nothing shall be learned from."""


class LabeledTile(NamedTuple):
    """Image (S, S, C) and masks (K, S, S) of a tile and its context, and labels (K,) of the tile.

    The labels are 1 where it shows a defect of the class and 0 where not, int8, or ``LEFT_OUT``.
    """

    image: Image
    masks: Masks
    labels: npt.NDArray[np.int8]


class TileSamples(CropSamples):
    """Tiles; of an image that is read for its defects most are defective, of others few or none."""

    def __init__(
        self, config: Config, dataset: Dataset, records: Sequence[ImageRecord], *, context: int
    ) -> None:
        super().__init__(config, dataset, records)
        self.context = context

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
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

    def tiles(self, key: tuple[int, int]) -> list[LabeledTile]:
        """Return the tiles of ``(epoch, index)``, cut from one image, each changed on its own."""
        rng = np.random.default_rng([self.config.seed, *key])
        record, near_defect = self._choose(rng)
        image, masks = record.read_image(self.channels), record.read_masks(self.classes)
        corners, labels = self._draw(masks, rng, near_defect=near_defect)
        side, margin = self.config.patch.tile + 2 * self.context, self.config.patch.tile
        around = ((margin + self.context,) * 2,) * 2
        image = np.pad(image, (*around, (0, 0)), mode="symmetric")
        masks = np.pad(masks, ((0, 0), *around), mode="symmetric")
        tiles = []
        for (row, column), own in zip((corners + margin).tolist(), labels, strict=True):
            window = (slice(row, row + side), slice(column, column + side))
            tiles.append(self._change(image[window], masks[:, *window], own, rng))
        return tiles

    def _change(
        self, image: Image, masks: Masks, labels: npt.NDArray[np.int8], rng: np.random.Generator
    ) -> LabeledTile:
        """Augment a tile; where that moved a defect out of it or into it, it is left out."""
        before = self._defect_area(masks)
        image, masks = augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))
        after = self._defect_area(masks)
        lost = (labels == 1) & (after < self.config.patch.min_coverage * before)
        won = (before == 0) & (after > 0)
        return LabeledTile(image, masks, np.where((lost | won).any(), np.int8(LEFT_OUT), labels))

    def _defect_area(self, masks: Masks) -> npt.NDArray[np.int64]:
        own = slice(self.context, self.context + self.config.patch.tile)
        area: npt.NDArray[np.int64] = masks[:, own, own].sum(axis=(1, 2), dtype=np.int64)
        return area

    def _draw(
        self, masks: Masks, rng: np.random.Generator, *, near_defect: bool
    ) -> tuple[Corners, npt.NDArray[np.int8]]:
        """Return the tiles' corners (T, 2) in the image and their labels (T, K)."""
        patch, count = self.config.patch, self.config.patch.tiles_per_image
        tries = CANDIDATES * count
        # They may reach over the border, so that its pixels are learned as often as the others.
        over = patch.tile // 2
        ends = np.array([(-over, length - patch.tile + over) for length in masks.shape[1:]])
        low, high = ends.min(axis=1), ends.max(axis=1)
        corners = rng.integers(low, high + 1, size=(tries, 2))
        if near_defect:
            near = _around_defects(masks, tries, rng, tile=patch.tile)
            corners = np.concatenate([np.clip(near, low, high), corners])
        found = label_tiles(
            masks, corners, tile=patch.tile, min_coverage=patch.min_coverage
        )  # (N, K)
        labels = (found >= least_defective(patch.partial_tiles)).astype(np.int8)
        usable = np.ones(len(corners), np.bool_)
        if patch.partial_tiles == "skip":
            usable = (found != TileLabel.PARTIAL).all(axis=1)
        defective = np.flatnonzero(usable & labels.any(axis=1))
        good = np.flatnonzero(usable & ~labels.any(axis=1))
        wanted = round(DEFECTIVE_SHARE * count) if near_defect and len(defective) else 0
        # Places near defects come first: good tiles there are the hardest. Where there are too few
        # of a kind, some come several times.
        chosen = np.concatenate([np.resize(defective, wanted), good, defective])
        if not len(chosen):
            return corners[:count], np.full_like(labels[:count], LEFT_OUT)
        chosen = np.resize(chosen, count)
        return corners[chosen], labels[chosen]

    def describe(self) -> list[str]:
        """Say how many tiles each rule makes of the training images, by class.

        Warns of classes that no tile is defective of.
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
            if not own[least_defective(patch.partial_tiles) :].any():
                warnings.warn(_nothing_to_learn(class_id), DefectkitWarning, stacklevel=2)
        total = counts[0].sum()
        return [
            f"{total} tiles of {patch.tile}x{patch.tile} pixels, one every {patch.stride}:",
            *(_line(*pair, patch.partial_tiles) for pair in zip(self.classes, counts, strict=True)),
        ]


def _around_defects(masks: Masks, count: int, rng: np.random.Generator, *, tile: int) -> Corners:
    """Return corners of tiles that meet the box of a defect; all defects get as many."""
    regions = measure_regions(masks.max(axis=0))
    chosen = rng.integers(len(regions), size=count)
    x, y, width, height = np.array([region.box_xywh for region in regions])[chosen].T
    low, high = np.stack([y, x], axis=1) - tile + 1, np.stack([y + height, x + width], axis=1)
    corners: Corners = rng.integers(low, high)
    return corners


def least_defective(partial_tiles: str) -> TileLabel:
    """The label from which on a tile counts as defective."""
    return TileLabel.PARTIAL if partial_tiles == "defective" else TileLabel.WHOLE


def _line(class_id: str, counts: npt.NDArray[np.int64], partial_tiles: str) -> str:
    meaning = {"skip": "left out", "good": "taken as good", "defective": "taken as defective"}
    return (
        f"  class {class_id}: {counts[TileLabel.COVERED]} defective by coverage, "
        f"{counts[TileLabel.WHOLE]} by holding a whole defect, {counts[TileLabel.PARTIAL]} partial "
        f"({meaning[partial_tiles]}), {counts[TileLabel.GOOD]} good"
    )


def _nothing_to_learn(class_id: str) -> str:
    return (
        f"no training tile is defective of class {class_id}, so it cannot be learned: its defects "
        "are larger than a tile and never fill one. Set patch.partial_tiles=defective, a larger "
        "patch.tile or a smaller patch.min_coverage."
    )
