"""Training samples that are square crops of images with their masks, many around a defect."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from defectkit.approaches.sample_draws import Draw, SampleDraws
from defectkit.arrays import Image, Int64Array, Mask, Masks
from defectkit.config import Config
from defectkit.data.augmentation import augment, build_augmentation
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.image_cache import ImageCache
from defectkit.data.images import resize_image
from defectkit.errors import ModelError
from defectkit.regions import Region, label_regions


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
        return self.draws.draw(key).record.image_id

    def describe(self) -> list[str]:
        """Return lines for the user; crops need none."""
        return []

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return (image, masks) of the first samples of the first epoch."""
        return [self.sample((1, index)) for index in range(count)]

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
        draw = self.draws.draw(key)
        record = draw.record
        image, masks = self.cache.read(record, self.channels), record.read_masks(self.classes)
        if self.scoped:  # One more layer, so that it is changed as the others are.
            masks = np.concatenate([masks, _counted_layer(record)])
        if self.resize is not None:
            size = (self.resize, self.resize)
            image = resize_image(image, size)
            masks = np.stack([resize_image(mask, size, cv2.INTER_NEAREST) for mask in masks])
        else:
            corner = self._draw_corner(draw, masks, rng)
            image, masks = _cut(image, masks, self.config.data.crop, corner)
        image, masks = augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))
        if not self.scoped:
            return image, masks, None
        return image, masks[:-1], np.ascontiguousarray(masks[-1]) > 0

    def _draw_corner(self, draw: Draw, masks: Masks, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the first row and column of a crop.

        Crops may exceed the border by a quarter of their side. Otherwise the outermost pixels of an
        image little larger than the crop would hardly ever be seen, and in inspection every edge
        would look like a defect.
        """
        crop = self.config.data.crop
        beyond = crop // 4
        lengths = np.array(masks.shape[1:])
        ends = np.sort([np.full(2, -beyond), lengths - crop + beyond], axis=0)
        if draw.class_id is not None:
            mask = masks[self.classes.index(draw.class_id)]
            center = _draw_defect_pixel(mask, draw.region, rng)
        elif self.scoped:
            center = _draw_pixel(masks[-1], rng)
        else:  # One of as many cells as crops would cover the image.
            cells = -(-lengths // crop)
            cell = np.unravel_index(draw.place(int(cells.prod())), cells)
            corner = ends[0] + (cell + rng.random(2)) / cells * (ends[1] - ends[0] + 1)
            return tuple(np.floor(corner).astype(int).tolist())
        low, high = np.clip([center - crop + 1, center], *ends)
        return tuple(rng.integers(low, high + 1).tolist())


def as_tensor(image: Image) -> torch.Tensor:
    """Copy (H, W, C) uint8 to a tensor (C, H, W)."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _draw_defect_pixel(
    mask: npt.NDArray[np.uint8], region: Region, rng: np.random.Generator
) -> Int64Array:
    """Draw a pixel, its row and column, of one of the regions of a mask, (H, W)."""
    rows, columns = region.window
    labels, parts = label_regions(mask[rows, columns])
    # Of others only parts lie in its box, none of which fills it.
    number = [part.box_xywh[2:] for part in parts].index(region.box_xywh[2:])
    row, column = _draw_pixel(labels == number + 1, rng)
    return np.array([rows.start + row, columns.start + column])


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
