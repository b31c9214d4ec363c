"""torchvision's Mask R-CNN, after its tutorial on object detection and instance segmentation.

COCO weights would need a network: the backbone is the encoder that the others have, with the same
pretrained weights, its batch norms frozen, and a feature pyramid. The anchors are smaller, as
defects are, and the proposals fewer, since a clock on a CPU is short. The last epoch counts: the
cosine schedule ends with the clock. The image score is that of the best box.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import timm
import torch
from peers import Clock, Job, cosine, read_job, write_predictions
from script import ENCODER
from torch.utils.data import DataLoader
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.transforms.v2 import functional as F

from defectkit.arrays import Image, Mask, ScoreMap
from defectkit.data.dataset import ImageRecord
from defectkit.models.encoders import load_into_encoder
from defectkit.models.weights import pretrained_weights
from defectkit.regions import label_regions

SIDE = 512
"""Shorter side, in pixels, to which images are resized."""
BATCH_SIZE = 2
LEARNING_RATE = 1e-3
MASK_THRESHOLD = 0.5
"""Mask scores that reach it belong to a detection, as the network is trained."""
LEVELS = ("0", "1", "2", "3")

Target = dict[str, torch.Tensor]


class Defects(torch.utils.data.Dataset[tuple[torch.Tensor, Target]]):
    """Images with a box, a label and a mask for each region."""

    def __init__(self, records: Sequence[ImageRecord], classes: Sequence[str]) -> None:
        self.records, self.classes = records, classes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Return an image (3, H, W) in [0, 1] and its target, flipped at random."""
        record = self.records[index]
        image, layers = record.read_image(3), record.read_masks(self.classes)
        if torch.rand(()) < 0.5:
            image, layers = image[:, ::-1], layers[:, :, ::-1]
        masks, labels = [], []
        for label, layer in enumerate(layers, start=1):
            region_map, regions = label_regions(np.ascontiguousarray(layer))
            masks += [region_map == number for number in range(1, len(regions) + 1)]
            labels += [label] * len(regions)
        stacked = torch.from_numpy(np.array(masks, np.uint8).reshape(-1, *layers.shape[1:]))
        target = {
            "boxes": boxes_of(stacked),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": stacked,
        }
        return F.to_dtype(F.to_image(image.copy()), torch.float32, scale=True), target


def boxes_of(masks: torch.Tensor) -> torch.Tensor:
    """Return the boxes x, y, x, y around masks (N, H, W), half-open: (N, 4) float."""
    boxes = []
    for mask in masks:
        rows, columns = torch.where(mask)
        ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        boxes.append(torch.stack(ends))
    return torch.stack(boxes).float() if boxes else torch.zeros(0, 4)


class Backbone(torch.nn.Module):
    """The encoder's maps at 1/4, 1/8, 1/16 and 1/32 as a feature pyramid."""

    out_channels = 128

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model(ENCODER, features_only=True, out_indices=(1, 2, 3, 4))
        state = pretrained_weights(ENCODER, allow_download=False)
        if state is not None:
            load_into_encoder(self.body, state)
        # Without a norm the loss starts at 30: the encoder's maps are not normalized.
        norm = partial(torch.nn.GroupNorm, 16)
        channels = self.body.feature_info.channels()
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels, norm_layer=norm)

    def train(self, mode: bool = True) -> "Backbone":
        """Keep the statistics of the batch norms: a batch has two images."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """(B, 3, H, W) -> the maps by level."""
        return self.pyramid(OrderedDict(zip(LEVELS, self.body(images), strict=True)))


def build_model(classes: int) -> MaskRCNN:
    """Return Mask R-CNN for ``classes`` defect classes and the background."""
    sizes = ((16,), (32,), (64,), (128,))
    return MaskRCNN(
        Backbone(),
        num_classes=classes + 1,
        min_size=SIDE,
        max_size=2 * SIDE,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=300,
        box_batch_size_per_image=128,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.25, 0.5, 1.0, 2.0, 4.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=7, sampling_ratio=2),
        mask_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=14, sampling_ratio=2),
    )


def train(job: Job) -> tuple[MaskRCNN, int]:
    """Return the model when the time is over, and the number of epochs that were begun."""
    clock = Clock(job.seconds)
    model = build_model(len(job.dataset.classes)).train()
    loader = DataLoader(
        Defects(job.dataset.split("train"), job.dataset.classes),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=len(os.sched_getaffinity(0)) - 1,
        collate_fn=collate,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = cosine(optimizer, clock)
    epochs = 0
    while not epochs or clock.has_time_for(0.0):
        epochs += 1
        for images, targets in loader:
            loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if not clock.has_time_for(0.0):
                break
        print(f"epoch {epochs}: {clock.progress:.0%} of the time, loss {loss:.3f}", flush=True)
    return model.eval(), epochs


def collate(batch: Sequence[Any]) -> tuple[Any, ...]:
    """Return images and targets as tuples: images have sizes of their own."""
    return tuple(zip(*batch, strict=True))


def predict(
    model: MaskRCNN, image: Image, counted: Mask | None, *, classes: int
) -> tuple[ScoreMap, float]:
    """Return the probabilities (K, H, W), of each pixel's best detection, and the best score.

    Detections without a pixel that counts, in their masks, have no score.
    """
    with torch.inference_mode():
        found = model([F.to_dtype(F.to_image(image), torch.float32, scale=True)])[0]
    probabilities, best = np.zeros((classes, *image.shape[:2]), np.float32), 0.0
    for label, score, mask in zip(found["labels"], found["scores"], found["masks"], strict=True):
        pixels = mask[0].numpy()
        if counted is not None:
            pixels = np.where(counted, pixels, np.float32(0))
            if pixels.max() < MASK_THRESHOLD:
                continue
        layer = probabilities[int(label) - 1]
        np.maximum(layer, float(score) * pixels, out=layer)
        best = max(best, float(score))
    return probabilities, best


def main() -> None:
    """Train and write the predictions of the test images."""
    cv2.setNumThreads(1)
    job = read_job(__doc__)
    model, epochs = train(job)
    classes = len(job.dataset.classes)
    write_predictions(job, partial(predict, model, classes=classes), epochs=epochs)


if __name__ == "__main__":
    main()
