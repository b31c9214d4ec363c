"""Training samples that are whole good images, or tiles of large ones, without augmentation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from defectkit.approaches.crop_samples import as_tensor
from defectkit.approaches.sample_draws import SampleKey
from defectkit.arrays import Image, Masks
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.image_cache import ImageCache
from defectkit.data.tiles import Tile, cover_with_tiles
from defectkit.errors import DatasetError


class GoodSamples:
    """The good images among the records, in random order, each tile of a large one by itself."""

    def __init__(self, config: Config, dataset: Dataset, records: Sequence[ImageRecord]) -> None:
        """Take the good images of ``records``.

        Raises:
            DatasetError: there are none, or only of one group.
        """
        good = [record for record in records if not record.defective]
        tiles = [(record, tile) for record in good for tile in _counted_tiles(config, record)]
        groups = sorted({record.group for record, _ in tiles})
        if len(groups) < 2:
            raise DatasetError(
                f"{dataset.folder} has good training images of {len(groups)} "
                f"group{'' if len(groups) == 1 else 's'}, and novelty compares those of at least "
                "two. Add good images and run 'defectkit prepare' again."
            )
        self.records = good
        self.cache = ImageCache(config.data.cache_mib)
        self.classes, self.channels = dataset.classes, dataset.channels
        self.n_good, self.n_defective = len(good), len(records) - len(good)
        self.numbers = {group: number for number, group in enumerate(groups)}
        # In random order: a pass that ends early has seen all kinds of them.
        order = np.random.default_rng([config.seed, 0]).permutation(len(tiles))
        self.tiles: list[tuple[ImageRecord, Tile]] = [tiles[place] for place in order]

    @property
    def unit(self) -> str:
        """What the samples are: good images, of which large ones are many tiles."""
        return "good images" if len(self.tiles) == self.n_good else "tiles of good images"

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return an image (C, H, W) uint8 and a dict: ``counted`` (H, W) bool, ``group`` int."""
        record, tile = self.tiles[key[1]]
        scope, counted = record.read_scope().counted, np.ones((tile.height, tile.width), np.bool_)
        if scope is not None:
            counted = np.ascontiguousarray(scope[tile.window])
        target = {"counted": torch.from_numpy(counted), "group": self.numbers[record.group]}
        return as_tensor(self._read(record, tile)), target

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples of one size to a batch."""
        inputs, targets = default_collate(samples)
        return inputs, targets

    def image_id(self, key: SampleKey) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        return self.tiles[key[1]][0].image_id

    def describe(self) -> list[str]:
        """Say which images are learned from."""
        left_out = f"; {self.n_defective} defective ones are left out" if self.n_defective else ""
        return [f"learns from {self.n_good} good training images alone{left_out}"]

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return images and empty masks of the first samples."""
        images = [self._read(record, tile) for record, tile in self.tiles[:count]]
        return [
            (image, np.zeros((len(self.classes), *image.shape[:2]), np.uint8)) for image in images
        ]

    def _read(self, record: ImageRecord, tile: Tile) -> Image:
        return self.cache.read(record, self.channels)[tile.window]


def _counted_tiles(config: Config, record: ImageRecord) -> list[Tile]:
    """Return the tiles of an image in which a pixel counts."""
    size = (record.height, record.width)
    counted, infer = record.read_scope().counted, config.infer
    tiles = cover_with_tiles(*size, size=infer.tile, overlap=infer.overlap)
    return [tile for tile in tiles if counted is None or counted[tile.window].any()]
