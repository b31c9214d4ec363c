"""Training samples that are square crops of images with their masks, many around a defect."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from defectkit.approaches.sample_draws import Draw, SampleDraws, SampleKey
from defectkit.arrays import Image, ImageSize, Int64Array, Mask, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment, build_augmentation
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.image_cache import ImageCache
from defectkit.data.images import resize_image
from defectkit.data.injection import cut_patch, find_place, mask_of_region, paste, turn_patch
from defectkit.errors import ModelError


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
        self.cache = ImageCache(config.data.cache_mib)

    @cached_property
    def _pipeline(self) -> Any:
        # Built on first use: each loader process has its own.
        return build_augmentation(self.config.augment)

    @cached_property
    def draws(self) -> SampleDraws:
        """The images of all samples."""
        batch_size = self.config.train.batch_size
        per_epoch = max(self.length // batch_size, 1) * batch_size  # in whole batches
        return SampleDraws(self.config, self.records, self.classes, per_epoch=per_epoch)

    @property
    def unit(self) -> str:
        """What the samples are: crops or whole images."""
        if self.resize is not None:
            return f"whole images, resized to {self.resize} x {self.resize} pixels"
        side = self.config.data.crop
        return f"random crops of {side} x {side} pixels"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, Any]:
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

    def image_id(self, key: SampleKey) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        return self.draws.draw(key).record.image_id

    def describe(self) -> list[str]:
        """Return lines for the user; crops need none."""
        return []

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return (image, masks) of the first samples of the first epoch."""
        return [self.sample((1, index)) for index in range(count)]

    def sample(self, key: SampleKey) -> tuple[Image, Masks]:
        """Return image (S, S, C) and masks (K, S, S) uint8 of ``(epoch, index)``."""
        image, masks, _ = self.scoped_sample(key)
        return image, masks

    def scoped_sample(self, key: SampleKey) -> tuple[Image, Masks, Mask | None]:
        """Return image (S, S, C) and masks (K, S, S) uint8, and which pixels count, (S, S) bool.

        The last is None where all pixels of all images count. Crops that need no defect are taken
        around a pixel that counts.
        """
        rng = np.random.default_rng([self.config.seed, *key[:2]])
        draw = self.draws.draw(key)
        image, masks = self._read(draw.record)
        if self.resize is not None:
            size = (self.resize, self.resize)
            image = resize_image(image, size)
            masks = np.stack([resize_image(mask, size, cv2.INTER_NEAREST) for mask in masks])
        else:
            center = self._draw_center(draw, masks, rng)
            if draw.sources:
                image, masks, center = self._inject(draw.sources, image, masks, center, rng)
            corner = self._draw_corner(draw, masks.shape[1:], center, rng)
            image, masks = _cut(image, masks, self.config.data.crop, corner)
        image, masks = augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))
        if not self.scoped:
            return image, masks, None
        return image, masks[:-1], np.ascontiguousarray(masks[-1]) > 0

    def _read(self, record: ImageRecord) -> tuple[Image, Masks]:
        """Return the image, not to be written to, and its masks; scoped ones have a layer more."""
        masks = record.read_masks(self.classes)
        if self.scoped:  # It is changed as the others are.
            masks = np.concatenate([masks, _counted_layer(record)])
        return self.cache.read(record, self.channels), masks

    def _draw_center(self, draw: Draw, masks: Masks, rng: np.random.Generator) -> Int64Array | None:
        """Draw a pixel that the crop must contain, if any."""
        if draw.place is not None:
            return np.array(draw.place, np.int64)
        if draw.class_id is not None:
            own = mask_of_region(masks[self.classes.index(draw.class_id)], draw.region)
            x, y, *_ = draw.region.box_xywh
            return _draw_pixel(own, rng) + np.array([y, x], np.int64)
        return _draw_pixel(masks[-1], rng) if self.scoped else None

    def _draw_corner(
        self, draw: Draw, size: ImageSize, center: Int64Array | None, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Draw the first row and column of a crop.

        Crops may exceed the border by a quarter of their side. Otherwise the outermost pixels of an
        image little larger than the crop would hardly ever be seen, and in inspection every edge
        would look like a defect.
        """
        crop = self.config.data.crop
        beyond = crop // 4
        lengths = np.array(size)
        ends = np.sort([np.full(2, -beyond), lengths - crop + beyond], axis=0)
        if center is None:  # In one of as many cells as crops would cover the image.
            cells = -(-lengths // crop)
            cell = np.unravel_index(draw.turn(int(cells.prod())), cells)
            corner = ends[0] + (cell + rng.random(2)) / cells * (ends[1] - ends[0] + 1)
            return tuple(np.floor(corner).astype(int).tolist())
        low, high = np.clip([center - crop + 1, center], *ends)
        return tuple(rng.integers(low, high + 1).tolist())

    def _inject(
        self,
        sources: Sequence[Draw],
        image: Image,
        masks: Masks,
        center: Int64Array | None,
        rng: np.random.Generator,
    ) -> tuple[Image, Masks, Int64Array | None]:
        """Paste a defect of the first source that fits; return a pixel of it as the center."""
        classes = len(self.classes)
        free = (masks[:classes].max(axis=0) == 0) & (masks[classes:] == 1).all(axis=0)
        for source in sources:
            assert source.class_id is not None
            if max(source.region.box_xywh[2:]) > self.config.data.crop:
                continue
            theirs, layers = self._read(source.record)
            layer = self.classes.index(source.class_id)
            patch = cut_patch(theirs, layers[:classes], layers[classes:], layer, source.region)
            if patch is None:
                continue
            patch = turn_patch(patch, self.config.augment, rng)
            place = find_place(patch, image, free, rng)
            if place is not None:
                image, masks = paste(patch, image, masks, place)
                return image, masks, _draw_pixel(patch.masks[layer], rng) + np.array(place)
        return image, masks, center


def as_tensor(image: Image) -> torch.Tensor:
    """Copy (H, W, C) uint8 to a tensor (C, H, W)."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _draw_pixel(mask: npt.NDArray[np.generic], rng: np.random.Generator) -> Int64Array:
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows))
    return np.array([rows[chosen], columns[chosen]], np.int64)


def _counted_layer(record: ImageRecord) -> Masks:
    """Return which pixels of an image count, as one more layer of its masks, (1, H, W) uint8."""
    counted = record.read_scope().counted
    if counted is None:
        return np.ones((1, record.height, record.width), np.uint8)
    return counted.view(np.uint8)[None]


def _cut(image: Image, masks: Masks, size: int, corner: tuple[int, int]) -> tuple[Image, Masks]:
    """Cut a square of side ``size`` whose first pixel is ``corner``; beyond borders it reflects."""
    window, around = [], []
    for start, length in zip(corner, image.shape[:2], strict=True):
        first, end = max(start, 0), min(start + size, length)
        window.append(slice(first, end))
        around.append((first - start, start + size - end))
    rows, columns = window
    image, masks = image[rows, columns], masks[:, rows, columns]
    if any(map(any, around)):
        image = np.pad(image, (*around, (0, 0)), mode="symmetric")
        masks = np.pad(masks, ((0, 0), *around), mode="symmetric")
    return image, masks


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
