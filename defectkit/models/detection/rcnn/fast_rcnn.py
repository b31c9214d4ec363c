"""Fast R-CNN, and the choice between it and R-CNN: the historical pair, on proposed regions.

Shapes: B images, R regions of one, K defect classes.
"""

from typing import Any, cast

import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.rcnn.proposals import propose_in
from defectkit.models.detection.rcnn.rcnn import RCNN
from defectkit.models.detection.torchvision_adapters import as_detections, named, usable
from defectkit.models.encoders import State, build_features, normalization

HIDDEN = 256
"""Features of a region, behind the last but one layer."""


class FastRCNN(Detector):
    """Fast R-CNN (Girshick 2015): regions are cut out of one feature map, and classified.

    A region gets a class, by softmax over background and K classes, and for each class a box. Its
    proposals come from the pixels (``proposals``), not from the network, which makes it slow: they
    are computed on the processor, for each image anew.
    """

    stride = 16

    def __init__(
        self,
        features: nn.Module,
        *,
        n_classes: int,
        nms_iou: float,
        score_threshold: float,
        max_detections: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        (channels,) = cast(Any, features).feature_info.channels()
        self.norm = nn.BatchNorm2d(channels)
        self.regions = RoIHeads(
            box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
            box_head=TwoMLPHead(channels * 7**2, HIDDEN),
            box_predictor=FastRCNNPredictor(HIDDEN, n_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=64,
            positive_fraction=0.25,
            bbox_reg_weights=None,  # torchvision's own
            score_thresh=score_threshold,
            nms_thresh=nms_iou,
            detections_per_img=max_detections,
        )

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 16: terms of the loss in training, else detections."""
        assert self.training == (targets is not None), "the truth is for training, and needed there"
        proposals = [propose_in(one) for one in images]
        maps = {"0": self.norm(self.features(self.normalize(images))[0])}
        sizes = [tuple(images.shape[2:])] * len(images)
        truth = None if targets is None else usable(targets, background=1)
        found, terms = self.regions(maps, proposals, sizes, truth)
        return named(terms) if targets is not None else [as_detections(one, 1) for one in found]


def build_region_cnn(
    *,
    architecture: str,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: State | None,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> Detector:
    """``fast_rcnn`` or ``rcnn`` on timm's ``encoder``.

    Boxes below ``score_threshold`` are forgotten, of those of a class that overlap by more than
    ``nms_iou`` the best is kept, and at most ``max_detections`` in an image.

    Raises:
        ModelError: timm does not know the encoder, or it has no map of a 16th or 32nd.
    """
    kind, reduction = (FastRCNN, 16) if architecture == "fast_rcnn" else (RCNN, 32)
    features = build_features(
        encoder, in_channels=in_channels, reductions=(reduction,), state=state
    )
    mean, std = normalization(encoder)
    return kind(
        features,
        n_classes=n_classes,
        nms_iou=nms_iou,
        score_threshold=score_threshold,
        max_detections=max_detections,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
