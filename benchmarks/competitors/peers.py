"""What the scripts of other libraries share: options, the clock, thresholds and predictions."""

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from predictions import ImagePrediction, Writer

from defectkit.arrays import Image, Mask, ScoreMap
from defectkit.data.dataset import Dataset
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.pixel_metrics import PixelMetrics

Predict = Callable[[Image, Mask | None], tuple[ScoreMap, float]]
"""From an RGB image (H, W, 3) uint8 to probabilities (K, H, W) and the image's defect score.

The mask, (H, W) bool, has the pixels that count; None where all do. Others have the probability 0.
"""


@dataclass(frozen=True)
class Job:
    """What a competitor is asked for: data to train on, time, seed, and where to write."""

    dataset: Dataset
    out: Path
    seconds: float
    seed: int


def read_job(description: str) -> Job:
    """Read the command line and set all seeds."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("data", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, help="folder for the predictions")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    # As defectkit does: with numbers near 0 a step on a CPU may take several times as long.
    torch.set_flush_denormal(True)
    return Job(Dataset.load(options.data), options.out, options.seconds, options.seed)


class Clock:
    """The time of a training, validation included."""

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self.seconds = seconds
        self.start = time.monotonic()

    @property
    def progress(self) -> float:
        """Fraction of the time that is over, at most 1."""
        return min((time.monotonic() - self.start) / self.seconds, 1.0)

    def has_time_for(self, seconds: float) -> bool:
        """Whether ``seconds`` are left."""
        return self.start + self.seconds - time.monotonic() >= seconds


def cosine(optimizer: torch.optim.Optimizer, clock: Clock) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a cosine schedule that is fitted to the clock."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda _: 0.5 * (1 + float(np.cos(np.pi * clock.progress)))
    )


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.monotonic()
    function()
    return time.monotonic() - start


def write_predictions(job: Job, predict: Predict, **facts: Any) -> None:
    """Choose the thresholds on the validation split, and predict the test split.

    The pixel threshold is chosen as defectkit chooses its own, the verdict's has the best F1. This
    is not counted as time of training.
    """
    classes = job.dataset.classes
    pixels, scores = PixelMetrics(classes=classes, threshold=None), []
    validation = job.dataset.split("val")
    for record in validation:
        truth = LabeledTruth(record.read_masks(classes), classes, record.read_scope())
        probabilities, score = predict(record.read_image(3), truth.scope.counted)
        pixels.update(probabilities, truth)
        scores.append(score)
    pixel_threshold, _ = pixels.best_threshold() or (0.5, 0.0)
    thresholds, _ = choose_thresholds(scores, [record.defective for record in validation])
    writer, seconds = Writer(job.out), []
    for record in job.dataset.split("test"):
        image, counted = record.read_image(3), record.read_scope().counted
        start = time.monotonic()
        probabilities, score = predict(image, counted)
        seconds.append(time.monotonic() - start)
        mask = probabilities.max(axis=0) >= pixel_threshold
        writer.add(
            record.image_id, ImagePrediction(probabilities=probabilities, mask=mask, score=score)
        )
    writer.finish(
        classes=classes,
        pixel_threshold=pixel_threshold,
        thresholds=(thresholds.low, thresholds.high),
        ms_per_image=1000 * float(np.median(seconds)),
        **facts,
    )
