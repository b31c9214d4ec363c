"""torchvision's detectors with small heads on any timm encoder, for images of any size.

faster_rcnn: a region proposal network, then a classification of each region (Ren et al. 2015);
mask_rcnn: with a mask for each region (He et al. 2017); ssd: anchors on several maps of the encoder
(Liu et al. 2016); retinanet: anchors on a feature pyramid, focal loss (Lin et al. 2017); fcos: no
anchors, each point knows the distances to the sides of its box (Tian et al. 2019).

In all of them an anchor (or point) that fits a truth learns its class and its box, coded as the
difference from the anchor; the others learn that they are background. Of overlapping boxes of a
class only the best is kept (non-maximum suppression).
"""

from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign

from defectkit.errors import ModelError
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.pyramids import MAX_ENCODER_STRIDE, ConvPyramid, Pyramid
from defectkit.models.detection.torchvision_adapters import (
    RATIOS,
    Anchors,
    NoTransform,
    SSDWithGoodImages,
    from_torchvision_detections,
    from_torchvision_losses,
    keep_boxes_exact,
    require_finite_scores,
    to_torchvision_targets,
)
from defectkit.models.encoders import StateDict, build_features, normalization
from defectkit.models.rank_sums import mean_of_shares

MAX_LEVELS = 6
WIDTH = 64
"""Channels of the feature pyramids."""
HIDDEN = 256
"""Features of a region in the second stage."""


class TorchvisionDetector(Detector):
    """A detector of torchvision; ``first_label`` is the one that it has for the first class."""

    size_divisor = MAX_ENCODER_STRIDE

    def __init__(
        self,
        body: nn.Module,
        features: nn.Module,
        *,
        first_label: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.detector = body
        self.detector.transform = NoTransform()
        keep_boxes_exact(self.detector)
        require_finite_scores(self.detector)
        self.first_label = first_label

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 32 -> loss terms in training, else detections."""
        assert self.training == (targets is not None), "targets are for training, and needed there"
        first_label = self.first_label
        pixels = self.normalize(images)
        if targets is None:
            found = self.detector(pixels)
            return [from_torchvision_detections(one, first_label=first_label) for one in found]
        truth = to_torchvision_targets(targets, first_label=first_label)
        return mean_of_shares(from_torchvision_losses(self.detector(pixels, truth)), len(images))


def build_detector(
    *,
    architecture: str,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: StateDict | None,
    anchor_sizes: tuple[float, ...],
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> Detector:
    """``faster_rcnn``, ``mask_rcnn``, ``ssd``, ``retinanet`` or ``fcos`` on timm's ``encoder``.

    ``anchor_sizes`` are sides in pixels, one for each level of the pyramid from the finest; fcos
    has no anchors and uses only their number. Boxes below ``score_threshold`` are dropped; of
    those of a class that overlap by ``nms_iou`` the best is kept, at most ``max_detections`` in an
    image.

    Raises:
        ModelError: timm does not know the encoder, it lacks a level, or there are none or too many
            anchor sizes.
    """
    if not 1 <= len(anchor_sizes) <= MAX_LEVELS:
        raise ModelError(
            f"box.anchor_sizes has {len(anchor_sizes)} entries; give 1 to {MAX_LEVELS}, one for "
            "each level of the pyramid."
        )
    # One-stage detectors run their heads on every anchor: a finer level would be too slow.
    finest = 8 if architecture in ("ssd", "retinanet") else 4
    strides = tuple(finest * 2**level for level in range(len(anchor_sizes)))
    features = build_features(
        encoder,
        in_channels=in_channels,
        reductions=tuple(stride for stride in strides if stride <= MAX_ENCODER_STRIDE),
        state=state,
    )
    suppression = {
        "score_thresh": score_threshold,
        "nms_thresh": nms_iou,
        "detections_per_img": max_detections,
    }
    body = _build_body(architecture, features, strides, anchor_sizes, n_classes, suppression)
    mean, std = normalization(encoder)
    return TorchvisionDetector(
        body,
        features,
        first_label=0 if architecture in ("retinanet", "fcos") else 1,  # 0 is background
        mean=mean,
        std=std,
        pretrained=state is not None,
    )


def _build_body(
    architecture: str,
    features: nn.Module,
    strides: tuple[int, ...],
    sizes: tuple[float, ...],
    n_classes: int,
    suppression: dict[str, Any],
) -> nn.Module:
    match architecture:
        case "faster_rcnn":
            body = FasterRCNN(
                **_two_stage_options(features, strides, sizes, n_classes, suppression)
            )
        case "mask_rcnn":
            options = _two_stage_options(features, strides, sizes, n_classes, suppression)
            body = MaskRCNN(**options, **_mask_options(options["backbone"], n_classes))
        case "ssd":
            backbone = ConvPyramid(features, levels=len(strides))
            anchors = Anchors(strides, [(size, size * 2 ** (1 / 2)) for size in sizes])
            body = SSDWithGoodImages(backbone, anchors, (1, 1), n_classes + 1, **suppression)
            for convolution in body.head.modules():
                if isinstance(convolution, nn.Conv2d):
                    nn.init.normal_(
                        convolution.weight, std=0.01
                    )  # at first all scores are the same
        case "retinanet":
            pyramid = Pyramid(features, levels=len(strides), width=WIDTH)
            thirds = [(size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)) for size in sizes]
            anchors = Anchors(strides, thirds)
            norm = partial(nn.GroupNorm, 16)  # without it the head starts to learn late
            head = RetinaNetHead(WIDTH, len(RATIOS) * 3, n_classes, norm_layer=norm)
            body = RetinaNet(pyramid, n_classes, anchor_generator=anchors, head=head, **suppression)
        case "fcos":
            # A point's anchor is as large as its stride: the unit of its distances.
            pyramid = Pyramid(features, levels=len(strides), width=WIDTH)
            anchors = Anchors(strides, [(stride,) for stride in strides], ratios=(1.0,))
            head = FCOSHead(pyramid.out_channels, 1, n_classes, num_convs=2)
            body = FCOS(pyramid, n_classes, anchor_generator=anchors, head=head, **suppression)
        case _:
            raise AssertionError(architecture)
    return cast(nn.Module, body)


def _two_stage_options(
    features: nn.Module,
    strides: tuple[int, ...],
    sizes: tuple[float, ...],
    n_classes: int,
    suppression: dict[str, Any],
) -> dict[str, Any]:
    """Options of Faster R-CNN: few proposals and a small head, since an image has few defects."""
    pyramid = Pyramid(features, levels=len(strides), width=WIDTH)
    pool = _region_pool(pyramid, output_size=7)
    return {
        "backbone": pyramid,
        "rpn_anchor_generator": Anchors(strides, [(size,) for size in sizes]),
        "rpn_pre_nms_top_n_train": 256,
        "rpn_pre_nms_top_n_test": 256,
        "rpn_post_nms_top_n_train": 128,
        "rpn_post_nms_top_n_test": 128,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 64,
        "box_roi_pool": pool,
        "box_head": TwoMLPHead(pyramid.out_channels * 7**2, HIDDEN),
        "box_predictor": FastRCNNPredictor(HIDDEN, n_classes + 1),
        **{f"box_{name}": value for name, value in suppression.items()},
    }


def _mask_options(pyramid: Pyramid, n_classes: int) -> dict[str, nn.Module]:
    width = pyramid.out_channels
    return {
        "mask_roi_pool": _region_pool(pyramid, output_size=14),
        "mask_head": MaskRCNNHeads(width, (width, width), 1),
        "mask_predictor": MaskRCNNPredictor(width, width, n_classes + 1),
    }


def _region_pool(pyramid: Pyramid, *, output_size: int) -> nn.Module:
    """Pool a region from the level where it is 12 to 24 cells wide, at the finest if smaller."""
    pool = MultiScaleRoIAlign(
        [str(level) for level in range(pyramid.own_levels)],
        output_size=output_size,
        sampling_ratio=2,
        canonical_scale=192,
        canonical_level=4,
    )
    return cast(nn.Module, pool)
