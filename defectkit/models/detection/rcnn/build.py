"""The two detectors on regions proposed from the pixels, by name."""

from typing import Literal

from defectkit.models.detection.detector import Detector
from defectkit.models.detection.rcnn.fast_rcnn import FastRCNN
from defectkit.models.detection.rcnn.rcnn import RCNN
from defectkit.models.encoders import StateDict, build_features, normalization


def build_rcnn(
    *,
    architecture: Literal["fast_rcnn", "rcnn"],
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: StateDict | None,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> Detector:
    """``fast_rcnn`` or ``rcnn`` on timm's ``encoder``.

    Boxes below ``score_threshold`` are dropped; of those of a class that overlap by more than
    ``nms_iou`` the best is kept; an image has at most ``max_detections``.

    Raises:
        ModelError: timm does not know the encoder, or it has no map at 1/16 (1/32 for ``rcnn``).
    """
    network, reduction = (FastRCNN, 16) if architecture == "fast_rcnn" else (RCNN, 32)
    features = build_features(
        encoder, in_channels=in_channels, reductions=(reduction,), state=state
    )
    mean, std = normalization(encoder)
    return network(
        features,
        n_classes=n_classes,
        nms_iou=nms_iou,
        score_threshold=score_threshold,
        max_detections=max_detections,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
