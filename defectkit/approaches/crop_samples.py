"""Training samples that are square crops of images with their masks, many around a defect."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from defectkit.arrays import Float64Array, Image, Mask, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment, build_augmentation
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import resize_image
from defectkit.errors import ModelError
from defectkit.regions import label_regions


class CropSamples:
    """Crops with masks: ``data.defect_fraction`` of them around a defect, the rest anywhere."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        records: Sequence[ImageRecord],
        *,
        resize: int | None = None,
    ) -> None:
        """Draw from ``records``; with ``resize`` whole images resized to that side, not crops."""
        self.config = config
        self.resize = config.data.resize if resize is None else resize
        self.classes, self.channels = dataset.classes, dataset.channels
        self.records = list(records)
        self.defective = [record for record in records if record.defective]
        self.scoped = any(record.roi or record.ignored for record in self.records)
        self.length = config.train.samples_per_epoch or max(2 * len(self.records), 128)

    @cached_property
    def _pipeline(self) -> Any:
        # Built on first use: each loader process has its own.
        return build_augmentation(self.config.augment)

    @cached_property
    def _probabilities(self) -> Float64Array:
        """Probability of each defective image, by the inverse root of its rarest class's count."""
        counts = {
            class_id: sum(class_id in record.rles for record in self.defective)
            for class_id in self.classes
        }
        weights = np.array(
            [max(counts[c] ** -0.5 for c in record.rles) for record in self.defective]
        )
        probabilities: Float64Array = weights / weights.sum()
        return probabilities

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Any]:
        """Return image (C, S, S) and masks (K, S, S), uint8.

        Where pixels of any image do not count, the second is a dict of ``masks`` and ``counted``,
        (S, S) bool.
        """
        image, masks, counted = self.scoped_sample(key)
        target = torch.from_numpy(np.ascontiguousarray(masks))
        if counted is None:
            return as_tensor(image), target
        return as_tensor(image), {"masks": target, "counted": torch.from_numpy(counted)}

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to a batch."""
        inputs, targets = default_collate(samples)
        return inputs, targets

    def image_id(self, key: tuple[int, int]) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        return self._draw_record(np.random.default_rng([self.config.seed, *key]))[0].image_id

    def describe(self) -> list[str]:
        """Return lines for the user; crops need none."""
        return []

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return (image, masks) of the first samples of the first epoch."""
        return [self.sample((1, index)) for index in range(count)]

    def _draw_record(self, rng: np.random.Generator) -> tuple[ImageRecord, bool]:
        """Draw an image; return its record and whether the sample must contain a defect of it."""
        if self.defective and rng.random() < self.config.data.defect_fraction:
            return self.defective[rng.choice(len(self.defective), p=self._probabilities)], True
        return self.records[rng.integers(len(self.records))], False

    def sample(self, key: tuple[int, int]) -> tuple[Image, Masks]:
        """Return image (S, S, C) and masks (K, S, S) uint8 of ``(epoch, index)``."""
        image, masks, _ = self.scoped_sample(key)
        return image, masks

    def scoped_sample(self, key: tuple[int, int]) -> tuple[Image, Masks, Mask | None]:
        """Return image (S, S, C) and masks (K, S, S) uint8, and which pixels count, (S, S) bool.

        The last is None where all pixels of all images count. Crops that need no defect are taken
        around a pixel that counts.
        """
        rng = np.random.default_rng([self.config.seed, *key])
        record, near_defect = self._draw_record(rng)
        image, masks = record.read_image(self.channels), record.read_masks(self.classes)
        if self.scoped:  # One more layer, so that it is changed as the others are.
            masks = np.concatenate([masks, _counted_layer(record)])
        if self.resize is not None:
            size = (self.resize, self.resize)
            image = resize_image(image, size)
            masks = np.stack([resize_image(mask, size, cv2.INTER_NEAREST) for mask in masks])
        else:
            center = None
            if near_defect:
                center = _draw_defect_pixel(masks[: len(self.classes)], rng)
            elif self.scoped:
                center = _draw_pixel(masks[-1], rng)
            image, masks = _crop(image, masks, self.config.data.crop, center, rng)
        image, masks = augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))
        if not self.scoped:
            return image, masks, None
        return image, masks[:-1], np.ascontiguousarray(masks[-1]) > 0


def as_tensor(image: Image) -> torch.Tensor:
    """Copy (H, W, C) uint8 to a tensor (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _draw_defect_pixel(masks: Masks, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a pixel of a region that is drawn first: small defects come as often as large ones."""
    labels, regions = label_regions(masks.max(axis=0))
    return _draw_pixel(labels == rng.integers(len(regions)) + 1, rng)


def _draw_pixel(mask: npt.NDArray[np.generic], rng: np.random.Generator) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows))
    return int(rows[chosen]), int(columns[chosen])


def _counted_layer(record: ImageRecord) -> Masks:
    """Return which pixels of an image count, as one more layer of its masks, (1, H, W) uint8."""
    counted = record.read_scope().counted
    if counted is None:
        return np.ones((1, record.height, record.width), np.uint8)
    return counted.view(np.uint8)[None]


def _crop(
    image: Image,
    masks: Masks,
    size: int,
    center: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[Image, Masks]:
    """Cut a square of side ``size``; with ``center`` that pixel lies at a random place in it.

    Crops may exceed the border by a quarter of their side (reflected there). Otherwise the
    outermost pixels of an image little larger than the crop would hardly ever be seen, and in
    inspection every edge would look like a defect.
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
