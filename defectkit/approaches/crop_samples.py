"""Training samples cut from images: squares, part of them around defects, with their masks."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from defectkit.arrays import Image, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment, build_augmentation
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import resize_image
from defectkit.errors import ModelError
from defectkit.regions import label_regions


class CropSamples:
    """Crops with masks: part of them centered near a defect, the rest anywhere in any image."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        records: Sequence[ImageRecord],
        *,
        resize: int | None = None,
    ) -> None:
        """Draw from ``records``; with ``resize`` whole images of that side, not crops."""
        self.config = config
        self.resize = config.data.resize if resize is None else resize
        self.classes, self.channels = dataset.classes, dataset.channels
        self.records = list(records)
        self.defective = [record for record in records if record.defective]
        self.length = config.train.samples_per_epoch or max(2 * len(self.records), 128)

    @cached_property
    def _pipeline(self) -> Any:
        # Made where it is used: each loader process has its own.
        return build_augmentation(self.config.augment)

    @cached_property
    def _weights(self) -> npt.NDArray[np.float64]:
        """How often each defective image is drawn: by the inverse root of its class's count."""
        counts = {
            class_id: sum(class_id in record.rles for record in self.defective)
            for class_id in self.classes
        }
        weights = np.array(
            [max(counts[c] ** -0.5 for c in record.rles) for record in self.defective]
        )
        share: npt.NDArray[np.float64] = weights / weights.sum()
        return share

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        image, masks = self.sample(key)
        return as_tensor(image), torch.from_numpy(np.ascontiguousarray(masks))

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to a batch."""
        inputs, targets = default_collate(samples)
        return inputs, targets

    def image_id(self, key: tuple[int, int]) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        return self._choose(np.random.default_rng([self.config.seed, *key]))[0].image_id

    def describe(self) -> list[str]:
        """Say in lines what a person should know of them: of crops, nothing."""
        return []

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return (image, masks) of the first samples of the first epoch."""
        return [self.sample((1, index)) for index in range(count)]

    def _choose(self, rng: np.random.Generator) -> tuple[ImageRecord, bool]:
        """Return a record, and whether the sample shall hold one of its defects."""
        if self.defective and rng.random() < self.config.data.defect_fraction:
            return self.defective[rng.choice(len(self.defective), p=self._weights)], True
        return self.records[rng.integers(len(self.records))], False

    def sample(self, key: tuple[int, int]) -> tuple[Image, Masks]:
        """Return image (S, S, C) and masks (K, S, S) uint8 of ``(epoch, index)``."""
        rng = np.random.default_rng([self.config.seed, *key])
        record, near_defect = self._choose(rng)
        image, masks = record.read_image(self.channels), record.read_masks(self.classes)
        if self.resize is not None:
            size = (self.resize, self.resize)
            image = resize_image(image, size)
            masks = np.stack([resize_image(mask, size, cv2.INTER_NEAREST) for mask in masks])
        else:
            center = _defect_pixel(masks, rng) if near_defect else None
            image, masks = _crop(image, masks, self.config.data.crop, center, rng)
        return augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))


def as_tensor(image: Image) -> torch.Tensor:
    """(H, W, C) uint8 -> (C, H, W) uint8, in memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _defect_pixel(masks: Masks, rng: np.random.Generator) -> tuple[int, int]:
    """A random pixel of a random region: small defects are met as often as large ones."""
    labels, parts = label_regions(masks.max(axis=0))
    rows, columns = np.nonzero(labels == rng.integers(len(parts)) + 1)
    chosen = rng.integers(len(rows))
    return int(rows[chosen]), int(columns[chosen])


def _crop(
    image: Image,
    masks: Masks,
    size: int,
    center: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[Image, Masks]:
    """Cut a square; with ``center`` it holds that pixel, at a random place within.

    Crops may reach over the border by a quarter of their side (reflected there). Otherwise the
    outermost pixels of an image little larger than the crop would hardly ever be seen, and at
    inspection every edge of a part would look like a defect.
    """
    beyond = size // 4
    starts = []
    for axis, length in enumerate(image.shape[:2]):
        low, high = sorted((-beyond, length - size + beyond))
        if center is not None:
            low = int(np.clip(center[axis] - size + 1, low, high))
            high = int(np.clip(center[axis], low, high))
        starts.append(int(rng.integers(low, high + 1)))
    around, window = [], []
    for start, length in zip(starts, image.shape[:2], strict=True):
        before, after = max(-start, 0), max(start + size - length, 0)
        around.append((before, after))
        window.append(slice(start + before, start + before + size))
    if any(before or after for before, after in around):
        image = np.pad(image, (*around, (0, 0)), mode="symmetric")
        masks = np.pad(masks, ((0, 0), *around), mode="symmetric")
    rows, columns = window
    return image[rows, columns], masks[:, rows, columns]


def check_side(config: Config, *, divisor: int, resize: int | None) -> None:
    """Check that the side of the samples in pixels fits the network.

    Raises:
        ModelError: ``divisor`` does not divide it.
    """
    key, side = ("crop", config.data.crop) if resize is None else ("resize", resize)
    if side % divisor:
        below = max(side // divisor, 1) * divisor
        raise ModelError(
            f"data.{key}={side} is not divisible by {divisor}, as "
            f"{config.model.architecture} needs. Use {below} or {below + divisor}."
        )
