"""``box``: a detector gives each defect a box, a class and a score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from defectkit.approaches.box_findings import (
    detected_regions,
    make_box_finding,
    suppress_duplicates,
)
from defectkit.approaches.box_samples import BoxSamples, blank, resize_side
from defectkit.approaches.crop_samples import check_side
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.approaches.whole_images import batches_by_shape, fits_tile
from defectkit.arrays import Image, ImageBatch
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import pad_image, padded_side, resize_image
from defectkit.data.tiles import Tile, cover_with_tiles
from defectkit.devices import computing_in
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.models.detection.detector import Detections, Detector
from defectkit.models.network import Network
from defectkit.models.weights import encoder_weights
from defectkit.regions import Region


@dataclass(frozen=True)
class Box:
    """Boxes by the localizer, by our grid detector, or by one of torchvision's detectors."""

    config: Config
    classes: tuple[str, ...]
    channels: int
    tuning: Tuning = UNTUNED

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes, which it tells apart."""
        return self.classes

    def network(self, *, allow_download: bool = False) -> Detector:
        """Build the network, with pretrained weights as ``model.weights`` says.

        Raises:
            ModelError: the architecture, encoder, weights and size of samples do not fit each
                other.
        """
        network = self._build(allow_download=allow_download)
        check_side(self.config, divisor=network.size_divisor, resize=resize_side(self.config))
        return network

    def _build(self, *, allow_download: bool) -> Detector:
        model, box = self.config.model, self.config.box
        common: dict[str, Any] = {
            "encoder": model.encoder,
            "in_channels": self.channels,
            "n_classes": len(self.classes),
            "state": encoder_weights(model.weights, model.encoder, allow_download=allow_download),
        }
        suppression: dict[str, Any] = box.model_dump(
            include={"nms_iou", "score_threshold", "max_detections"}
        )
        match model.architecture:
            case "localizer":
                from defectkit.models.detection.localizer import build_localizer

                return build_localizer(**common, box_loss=box.loss, box_loss_weight=box.loss_weight)
            case "yolo_grid":
                from defectkit.models.detection.yolo_grid import build_yolo_grid

                return build_yolo_grid(
                    **common,
                    **suppression,
                    cell_size=box.grid_stride,
                    n_anchors=box.anchors,
                    box_loss=box.loss,
                    box_loss_weight=box.loss_weight,
                )
            case "fast_rcnn" | "rcnn":
                from defectkit.models.detection.rcnn.build import build_rcnn

                return build_rcnn(architecture=model.architecture, **common, **suppression)
            case architecture:
                from defectkit.models.detection.torchvision_detectors import build_detector

                return build_detector(
                    architecture=architecture,
                    **common,
                    **suppression,
                    anchor_sizes=box.anchor_sizes,
                )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> BoxSamples:
        """Crops of the records' images, or whole ones, with their boxes, augmented."""
        return BoxSamples(self.config, dataset, records)

    def loss(self, network: Network, inputs: torch.Tensor, targets: Any) -> dict[str, torch.Tensor]:
        """Named terms, already weighted, and ``loss``, their sum."""
        terms = network(inputs, targets)
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image, (H, W, C) uint8 of any size.

        Images of one size share a batch; the network is in evaluation mode. It sees what is outside
        of the region to inspect as it was trained: blank.
        """
        findings: dict[int, Finding] = {}
        if scopes:
            images = [blank(one, scope.roi) for one, scope in zip(images, scopes, strict=True)]
        for indices, batch in batches_by_shape(images, n_classes=len(self.classes)):
            for index, detections in zip(indices, self._detect(network, batch), strict=True):
                findings[index] = make_box_finding(
                    detections,
                    self.classes,
                    images[index].shape[:2],
                    tuning=self.tuning,
                    scope=scopes[index] if scopes else EVERYWHERE,
                )
        return [findings[index] for index in range(len(images))]

    def _detect(self, network: Network, batch: ImageBatch) -> list[list[Region]]:
        """(B, H, W, C) -> detections in each, by overlapping tiles if the images are large."""
        height, width = batch.shape[1:3]
        resize, whole = resize_side(self.config), Tile(0, 0, width, height)
        if resize is not None:
            small = np.stack([resize_image(image, (resize, resize)) for image in batch])
            found = self._run(network, small)
            return [
                [
                    region
                    for part in _enlarge_each(one, resize, height, width)
                    for region in detected_regions(part, self.classes, whole)
                ]
                for one in found
            ]
        padded = partial(padded_side, stride=network.size_divisor)
        if not fits_tile((height, width), self.config.infer.tile, padded):
            return self._detect_in_tiles(network, batch)
        found = self._run(network, batch)
        return [list(detected_regions(one, self.classes, whole)) for one in found]

    def _detect_in_tiles(self, network: Network, batch: ImageBatch) -> list[list[Region]]:
        infer, box = self.config.infer, self.config.box
        detections: list[list[Region]] = [[] for _ in batch]
        for tile in cover_with_tiles(*batch.shape[1:3], size=infer.tile, overlap=infer.overlap):
            rows, columns = tile.window
            found = self._run(network, batch[:, rows, columns])
            for own, one in zip(detections, found, strict=True):
                own.extend(detected_regions(one, self.classes, tile))
        return [
            suppress_duplicates(
                own, self.classes, nms_iou=box.nms_iou, max_detections=box.max_detections
            )
            for own in detections
        ]

    def _run(self, network: Network, batch: ImageBatch) -> list[Detections]:
        """(B, H, W, C) -> detections in each image, which is padded as the network needs it."""
        padded = np.stack([pad_image(image, network.size_divisor) for image in batch])
        device = next(network.parameters()).device
        images = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode(), computing_in(self.config.infer.amp, device):
            return cast(list[Detections], network(images))


def _enlarge_each(found: Detections, side: int, height: int, width: int) -> Iterator[Detections]:
    """Scale detections in an image of ``side`` x ``side`` to the image's own size, one by one.

    Their masks together would be many times as large as the image.
    """
    scale = found.boxes.new_tensor([width, height, width, height]) / side
    for index in range(len(found.boxes)):
        one = slice(index, index + 1)
        masks = None
        if found.masks is not None:
            masks = F.interpolate(found.masks[None, one], (height, width), mode="bilinear")[0]
        yield Detections(found.boxes[one] * scale, found.scores[one], found.labels[one], masks)
