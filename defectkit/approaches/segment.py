"""``segment``: a network scores every pixel of the image for every defect class."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from defectkit.approaches.maps import make_finding
from defectkit.config import Config
from defectkit.data.augment import augment, build_augmentation
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.tiles import blend_weight, cover
from defectkit.errors import ModelError
from defectkit.findings import Finding
from defectkit.labels.regions import label_regions
from defectkit.models.encoders import State, encoder_state, pretrained_state
from defectkit.models.losses import class_probabilities, segmentation_losses
from defectkit.models.segmenters import Segmenter, build_fcn, build_segnet, build_smp

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Segment:
    """Per-pixel scores by a U-Net, SegNet, FCN or another of their kin."""

    config: Config
    classes: tuple[str, ...]
    channels: int
    pixel_threshold: float = 0.5

    @property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other (softmax) or may overlap (sigmoid)."""
        return self.config.loss.cross_entropy > 0

    def network(self, *, allow_download: bool = False) -> Segmenter:
        """Build the network, with pretrained weights as ``model.weights`` says.

        Raises:
            ModelError: the architecture, encoder, weights and size of samples do not fit each
                other.
        """
        network = self._build(allow_download=allow_download)
        data, stride = self.config.data, network.stride
        key, size = ("crop", data.crop) if data.resize is None else ("resize", data.resize)
        if size % stride:
            below = max(size // stride, 1) * stride
            raise ModelError(
                f"data.{key}={size} cannot be divided by {stride}, as "
                f"{self.config.model.architecture} needs. Take {below} or {below + stride}."
            )
        return network

    def _build(self, *, allow_download: bool) -> Segmenter:
        model = self.config.model
        out_channels = len(self.classes) + self.exclusive
        if model.architecture == "segnet":
            return build_segnet(in_channels=self.channels, out_channels=out_channels)
        state: State | None
        match model.weights:
            case "none":
                state = None
            case "auto":
                state = pretrained_state(model.encoder, allow_download=allow_download)
            case path:
                state = encoder_state(path)
        if model.architecture == "fcn":
            return build_fcn(
                encoder=model.encoder,
                in_channels=self.channels,
                out_channels=out_channels,
                state=state,
            )
        return build_smp(
            architecture=model.architecture,
            encoder=model.encoder,
            in_channels=self.channels,
            out_channels=out_channels,
            decoder_channels=model.decoder_channels,
            state=state,
        )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> "CropSamples":
        """Crops of the records' images with their masks, augmented."""
        return CropSamples(self.config, dataset, records)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Named terms and ``loss``, their weighted sum."""
        return segmentation_losses(outputs, targets, **self.config.loss.model_dump())

    def find(self, network: nn.Module, images: Sequence[Pixels]) -> list[Finding]:
        """Look at images (H, W, C) uint8 of any size; images of one size share a batch."""
        by_shape = defaultdict(list)
        for index, image in enumerate(images):
            by_shape[image.shape].append(index)
        findings: dict[int, Finding] = {}
        for indices in by_shape.values():
            batch = np.stack([images[index] for index in indices])
            for index, scores in zip(indices, self._score(network, batch), strict=True):
                findings[index] = make_finding(
                    np.ascontiguousarray(scores),
                    self.classes,
                    pixel_threshold=self.pixel_threshold,
                    minimum_area=self.config.infer.minimum_area,
                )
        return [findings[index] for index in range(len(images))]

    def _score(self, network: nn.Module, batch: Pixels) -> npt.NDArray[np.float32]:
        """(B, H, W, C) -> (B, K, H, W): at once, or in blended tiles if the images are large."""
        height, width = batch.shape[1:3]
        infer, resize = self.config.infer, self.config.data.resize
        if resize is not None:
            small = np.stack([_resize(image, (resize, resize)) for image in batch])
            scores = self._probabilities(network, small)
            enlarged = [_resize(one.transpose(1, 2, 0), (width, height)) for one in scores]
            return np.stack(enlarged).transpose(0, 3, 1, 2)
        if height * width <= infer.tile**2:
            return self._probabilities(network, batch)
        shape = (len(batch), len(self.classes), height, width)
        total, weights = np.zeros(shape, np.float32), np.zeros((height, width), np.float32)
        for tile in cover(height, width, size=infer.tile, overlap=infer.overlap):
            weight = blend_weight(tile, infer.overlap)
            rows, columns = tile.window
            part = self._probabilities(network, batch[:, rows, columns])
            total[:, :, rows, columns] += part * weight
            weights[rows, columns] += weight
        blended: npt.NDArray[np.float32] = np.clip(total / weights, 0.0, 1.0)
        return blended

    def _probabilities(self, network: nn.Module, batch: Pixels) -> npt.NDArray[np.float32]:
        height, width = batch.shape[1:3]
        padded = np.stack([_pad(image, cast(int, network.stride)) for image in batch])
        device = next(network.parameters()).device
        images = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            logits = network(images)[:, :, :height, :width]
            scores = class_probabilities(logits, exclusive=self.exclusive)
        result: npt.NDArray[np.float32] = scores.cpu().numpy()
        return result


class CropSamples:
    """Crops with masks: part of them centered near a defect, the rest anywhere in any image."""

    def __init__(self, config: Config, dataset: Dataset, records: Sequence[ImageRecord]) -> None:
        self.config = config
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
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.from_numpy(np.ascontiguousarray(masks)),
        )

    def image_id(self, key: tuple[int, int]) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        return self._choose(np.random.default_rng([self.config.seed, *key]))[0].image_id

    def preview(self, count: int) -> list[tuple[Pixels, Pixels]]:
        """Return (image, masks) of the first samples of the first epoch."""
        return [self.sample((1, index)) for index in range(count)]

    def _choose(self, rng: np.random.Generator) -> tuple[ImageRecord, bool]:
        """Return a record, and whether the sample shall hold one of its defects."""
        if self.defective and rng.random() < self.config.data.defect_fraction:
            return self.defective[rng.choice(len(self.defective), p=self._weights)], True
        return self.records[rng.integers(len(self.records))], False

    def sample(self, key: tuple[int, int]) -> tuple[Pixels, Pixels]:
        """Return image (S, S, C) and masks (K, S, S) uint8 of ``(epoch, index)``."""
        rng = np.random.default_rng([self.config.seed, *key])
        data = self.config.data
        record, near_defect = self._choose(rng)
        image, masks = record.read_image(self.channels), record.read_masks(self.classes)
        if data.resize is not None:
            image = _resize(image, (data.resize, data.resize))
            masks = np.stack([_resize(mask, image.shape[:2], cv2.INTER_NEAREST) for mask in masks])
        else:
            center = _defect_pixel(masks, rng) if near_defect else None
            image, masks = _crop(image, masks, data.crop, center, rng)
        return augment(self._pipeline, image, masks, seed=int(rng.integers(2**32)))


def _defect_pixel(masks: Pixels, rng: np.random.Generator) -> tuple[int, int]:
    """A random pixel of a random region: small defects are met as often as large ones."""
    labels, parts = label_regions(masks.max(axis=0))
    rows, columns = np.nonzero(labels == rng.integers(len(parts)) + 1)
    chosen = rng.integers(len(rows))
    return int(rows[chosen]), int(columns[chosen])


def _crop(
    image: Pixels,
    masks: Pixels,
    size: int,
    center: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels]:
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


def _pad(image: Pixels, stride: int) -> Pixels:
    bottom, right = -image.shape[0] % stride, -image.shape[1] % stride
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="symmetric")


def _resize(
    image: npt.NDArray[Any], size: tuple[int, int], how: int = cv2.INTER_LINEAR
) -> npt.NDArray[Any]:
    """Resize (H, W) or (H, W, C) to ``size`` (width, height); cv2 drops a single channel."""
    resized = np.asarray(cv2.resize(image, size, interpolation=how))
    return resized if resized.ndim == image.ndim else resized[..., None]
