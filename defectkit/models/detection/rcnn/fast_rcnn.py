"""Fast R-CNN (Girshick 2015): proposed regions are cut out of one feature map and classified.

Shapes: B images, K defect classes.
"""

from typing import cast

import torch
from timm.models import FeatureInfo
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.rcnn.proposals import propose_boxes_torch
from defectkit.models.detection.torchvision_adapters import (
    from_torchvision_detections,
    from_torchvision_losses,
    keep_boxes_exact,
    require_finite_scores,
    to_torchvision_targets,
)
from defectkit.models.rank_sums import mean_of_shares

HIDDEN = 256
"""Features of a region before the last layer."""


class FastRCNN(Detector):
    """A class for each region, by softmax over background and K classes, and a box for each class.

    The proposals come from the pixels (``proposals``), not from the network. That makes it slow:
    they are computed on the processor, for each image again.
    """

    size_divisor = 16

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
        (channels,) = cast(FeatureInfo, features.feature_info).channels()
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
        keep_boxes_exact(self.regions)
        require_finite_scores(self.regions)

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 16 -> loss terms in training, else detections."""
        assert self.training == (targets is not None), "targets are for training, and needed there"
        proposals = [propose_boxes_torch(image) for image in images]
        maps = {"0": self.norm(self.features(self.normalize(images))[0])}
        sizes = [tuple(images.shape[2:])] * len(images)
        truth = None if targets is None else to_torchvision_targets(targets, first_label=1)
        found, losses = self.regions(maps, proposals, sizes, truth)
        if targets is not None:
            return mean_of_shares(from_torchvision_losses(losses), len(images))
        return [from_torchvision_detections(one, first_label=1) for one in found]
