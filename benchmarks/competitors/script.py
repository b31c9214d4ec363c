"""The script that a good engineer writes with segmentation_models_pytorch, after its tutorials.

Whole images at 512x512, a U-Net on the encoder and the pretrained weights that defectkit has too,
Dice and binary cross-entropy for each class, flips, rotation and brightness, AdamW with a cosine
schedule, the best epoch by the IoU on validation. The image score is the maximum of the smoothed
probabilities.
"""

import copy
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from peers import Clock, Job, cosine, read_job, timed, write_predictions
from torch.utils.data import DataLoader

from defectkit.arrays import Image, Mask, ScoreMap
from defectkit.data.dataset import ImageRecord
from defectkit.models.encoders import load_into_encoder
from defectkit.models.weights import pretrained_weights

ENCODER = "tf_efficientnet_lite0"
SIDE = 512
BATCH_SIZE = 8
LEARNING_RATE = 1e-3
SMOOTHING = 2.0
"""Standard deviation in pixels."""

PredictMap = Callable[[torch.nn.Module, Image], ScoreMap]
Transform = Callable[..., dict[str, Any]]

AUGMENTATIONS = (
    A.HorizontalFlip(p=0.5),
    A.VerticalFlip(p=0.5),
    A.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
    A.RandomBrightnessContrast(p=0.5),
)
NORMALIZE = (A.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3), A.ToTensorV2(transpose_mask=True))
"""As the encoder was trained."""


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images with their masks, transformed."""

    def __init__(
        self, records: Sequence[ImageRecord], classes: Sequence[str], transform: Transform
    ) -> None:
        self.records, self.classes, self.transform = records, classes, transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an image (3, H, W) and its masks (K, H, W), both float."""
        record = self.records[index]
        masks = record.read_masks(self.classes).transpose(1, 2, 0)
        changed = self.transform(image=record.read_image(3), mask=masks)
        return changed["image"], changed["mask"].float()


def build_model(classes: int) -> torch.nn.Module:
    """Return the U-Net."""
    model = smp.Unet(f"tu-{ENCODER}", encoder_weights=None, classes=classes)
    state = pretrained_weights(ENCODER, allow_download=False)
    if state is not None:
        load_into_encoder(model.encoder.model, state)
    return model


def train(job: Job, transform: Transform, predict: PredictMap) -> tuple[torch.nn.Module, int]:
    """Return the model of the best epoch, and the number of epochs that were begun."""
    clock = Clock(job.seconds)
    classes, validation = job.dataset.classes, job.dataset.split("val")
    model = build_model(len(classes))
    loader = DataLoader(
        Images(job.dataset.split("train"), classes, transform),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=len(os.sched_getaffinity(0)) - 1,
    )
    dice = smp.losses.DiceLoss(mode="multilabel", from_logits=True)
    bce = smp.losses.SoftBCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = cosine(optimizer, clock)
    image = validation[0].read_image(3)
    predict(model.eval(), image)  # The first call also pays for what is set up once.
    validation_seconds = len(validation) * timed(lambda: predict(model, image))
    best, best_iou, epochs = copy.deepcopy(model.state_dict()), -1.0, 0
    while not epochs or clock.has_time_for(validation_seconds):
        model.train()
        epochs += 1
        for images, masks in loader:
            logits = model(images)
            loss = dice(logits, masks) + bce(logits, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if not clock.has_time_for(validation_seconds):
                break
        start = time.monotonic()
        iou = validate(partial(predict, model.eval()), validation, classes)
        validation_seconds = time.monotonic() - start
        print(f"epoch {epochs}: {clock.progress:.0%} of the time, IoU {iou:.3f}", flush=True)
        if iou >= best_iou:
            best, best_iou = copy.deepcopy(model.state_dict()), iou
    model.load_state_dict(best)
    return model.eval(), epochs


def validate(
    predict: Callable[[Image], ScoreMap], records: Sequence[ImageRecord], classes: Sequence[str]
) -> float:
    """Return the IoU over all images and classes at a threshold of 0.5."""
    counts = [
        smp.metrics.get_stats(
            torch.from_numpy(predict(record.read_image(3)))[None],
            torch.from_numpy(record.read_masks(classes))[None].long(),
            mode="multilabel",
            threshold=0.5,
        )
        for record in records
    ]
    pooled = [torch.cat(parts) for parts in zip(*counts, strict=True)]
    return float(smp.metrics.iou_score(*pooled, reduction="micro"))


def probabilities_of(model: torch.nn.Module, images: Sequence[Image]) -> ScoreMap:
    """Return the probabilities (B, K, H, W) of images of one size (H, W, 3)."""
    normalize = A.Compose(NORMALIZE)
    batch = torch.stack([normalize(image=image)["image"] for image in images])
    with torch.inference_mode():
        probabilities: ScoreMap = model(batch).sigmoid().numpy()
    return probabilities


def predict_resized(model: torch.nn.Module, image: Image) -> ScoreMap:
    """Return the probabilities (K, H, W) of an image of any size, computed at 512x512."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    size = (image.shape[1], image.shape[0])
    layers = probabilities_of(model, [small])[0]
    return np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in layers])


def run(description: str, transforms: Sequence[A.BasicTransform], predict: PredictMap) -> None:
    """Train and write the predictions of the test images."""
    job = read_job(description)
    transform = A.Compose([*transforms, *AUGMENTATIONS, *NORMALIZE], seed=job.seed)
    model, epochs = train(job, transform, predict)

    write_predictions(job, partial(predict_image, partial(predict, model)), epochs=epochs)


def predict_image(
    predict: Callable[[Image], ScoreMap], image: Image, counted: Mask | None
) -> tuple[ScoreMap, float]:
    """Return the probabilities (K, H, W) of the pixels that count, and the image's score."""
    probabilities = predict(image)
    if counted is not None:
        probabilities = np.where(counted, probabilities, np.float32(0))
    smooth = cv2.GaussianBlur(probabilities.max(axis=0), (0, 0), SMOOTHING)
    return probabilities, float(np.clip(smooth.max(), 0.0, 1.0))


if __name__ == "__main__":
    run(__doc__, [A.Resize(SIDE, SIDE)], predict_resized)
