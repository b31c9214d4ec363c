"""Models with random weights, as if they had been trained."""

import warnings
from typing import Any

import torch

from defectkit.approaches.build import build_approach
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config
from defectkit.deployment.approach_entries import describe_approach
from defectkit.deployment.bundle import TrainedModel
from defectkit.evaluation.thresholds import Thresholds
from defectkit.seals import add_seal

THRESHOLDS = Thresholds(low=0.45, high=0.55, rule="default")
TUNING = Tuning(pixel_threshold=0.35, region_threshold=0.1, image_mix=ImageMix(map_weight=0.6))
CLASSES = ("a", "b c")
PIXELS: dict[str, Any] = {"window": [100.0, 3000.0], "pages": "first", "shown": None}


def untrained_model(*settings: str, channels: int = 3, factor: float = 1.0) -> TrainedModel:
    """Return a model of two classes.

    Args:
        settings: those of ``--set``; without them it is a ``unet``.
        channels: those of its images.
        factor: what all weights are multiplied by; above 1, scores are more extreme.
    """
    torch.manual_seed(0)
    config = load_config(None, ["model.weights=none", *settings])
    approach = build_approach(config, classes=CLASSES, channels=channels, tuning=TUNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of libraries about their own parts
        network = approach.network().eval()
    with torch.no_grad():
        for one in network.parameters():
            one.mul_(factor)
        for name, one in network.named_buffers():
            if name == "bank":
                one.normal_()
            elif name == "far":
                one.fill_(float(network.bank.shape[1]) ** 0.5)
    info = {
        "classes": list(CLASSES),
        "channels": channels,
        "thresholds": THRESHOLDS.to_dict(),
        "pixels": PIXELS,
        "epoch": 1,
        "run": "segment-1",
        "dataset": "0123",
        "roi": None,
        "sha256": "of the weights",
        **describe_approach(approach, TUNING),
    }
    return TrainedModel(approach, network, THRESHOLDS, add_seal(info))
