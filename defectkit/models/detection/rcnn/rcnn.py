"""R-CNN (Girshick et al. 2014): the pixels of each proposed region, warped, go through the network.

The proposals come from the pixels (``proposals``), not from the network. It is slow, as the
original was: the network runs for each of some hundred regions of an image.

Shapes: B images, R regions of one, K defect classes, F features.
"""

from functools import partial
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.ops import box_iou, clip_boxes_to_image, roi_align

from defectkit.models.detection.boxes import non_max_suppression
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.rcnn.proposals import propose_boxes_torch
from defectkit.models.detection.torchvision_adapters import (
    from_torchvision_detections,
    to_torchvision_targets,
)
from defectkit.models.network import Batches, require_finite
from defectkit.models.rank_sums import mean_of_shares

Examples = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]

HIDDEN = 256
"""Features of a region before the last layer."""
WARPED_SIDE = 64
"""Side in pixels to which a region is warped."""
CONTEXT = 4
"""Pixels of a warped region, on each side, that show the surroundings of the box."""
TRAINED_REGIONS = 16
"""Regions of an image in a training step; a quarter of them defects, if there are any."""
POSITIVE_IOU = 0.5
"""IoU with a defect from which a region shows it, in training."""
FITTED_IMAGES = 96
"""Images whose regions the support vector machines are fitted to."""
FITTED_REGIONS = 24
"""Proposals of an image among them."""
NEGATIVE_IOU = 0.3
"""IoU with all defects of a class below which a region is a negative example of it."""
REGRESSION_IOU = 0.6
"""IoU with a defect from which the box regressor learns from a proposal."""
UNFITTED_BIAS = -30.0
"""Bias of a class before it is fitted: its score is 0, so nothing is found."""


class RCNN(Detector):
    """Each region on its own: features by a network, then linear models fitted to them.

    The network learns by gradients to tell K + 1 classes of regions. ``fit_after_epoch`` then gives
    each class a support vector machine and a box regressor. These alone decide in evaluation;
    before they are fitted nothing is found. They are part of the state: ``machines`` (K, HIDDEN +
    1) are the support vector machines on the hidden features, ``movers`` (K, 4, F + 1) the box
    regressors on the pooled features, each with its bias last. (Saved models know these names.)
    """

    machines: torch.Tensor
    movers: torch.Tensor

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
        self.suppress = partial(
            non_max_suppression,
            nms_iou=nms_iou,
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        (channels,) = cast(FeatureInfo, features.feature_info).channels()
        pooled = channels * (WARPED_SIDE // 32) ** 2
        self.hidden = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, HIDDEN), nn.ReLU())
        self.classifier = nn.Linear(HIDDEN, n_classes + 1)
        self.sampler = BalancedPositiveNegativeSampler(TRAINED_REGIONS, positive_fraction=0.25)
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.register_buffer("machines", torch.zeros(n_classes, HIDDEN + 1))
        self.register_buffer("movers", torch.zeros(n_classes, 4, pooled + 1))
        self._reset()

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W) of any size -> the loss term in training, else detections."""
        assert self.training == (targets is not None), "targets are for training, and needed there"
        if targets is None:
            return [self._detect(image) for image in images]
        chosen = [
            self._sample(image, target)
            for image, target in zip(
                images, to_torchvision_targets(targets, first_label=1), strict=True
            )
        ]
        boxes, labels = zip(*chosen, strict=True)
        logits = self.classifier(self.hidden(self._pooled_features(images, list(boxes))))
        loss = F.cross_entropy(logits.float(), torch.cat(labels))
        return mean_of_shares({"class": loss}, len(logits))

    def fit_after_epoch(self, samples: Batches) -> None:
        """Fit the linear models to regions of the first 96 images of ``samples``.

        A class that does not occur in them will not be found.
        """
        self.eval()
        pairs = (
            (image, target)
            for images, targets in samples
            for image, target in zip(
                images, to_torchvision_targets(targets, first_label=0), strict=True
            )
        )
        with torch.no_grad():
            examples = [self._examples(*pair) for pair in islice(pairs, FITTED_IMAGES)]
        self._reset()
        if examples:
            pooled, signs, deltas, labels = (
                torch.cat(parts) for parts in zip(*examples, strict=True)
            )
            self._fit_linear_models(pooled, signs, deltas, labels)

    def _reset(self) -> None:
        self.machines.zero_()
        self.machines[:, -1] = UNFITTED_BIAS
        self.movers.zero_()

    def _pooled_features(self, images: torch.Tensor, boxes: list[torch.Tensor]) -> torch.Tensor:
        """(B, C, H, W) and (R, 4) of each -> features of all regions (sum of R, F), in order.

        The part of a region that lies beyond the image is filled with the mean, 0.
        """
        reach = 0.5 * WARPED_SIDE / (WARPED_SIDE - 2 * CONTEXT)
        wider = [_enlarge(one, reach) for one in boxes]
        warped = roi_align(
            self.normalize(images), wider, WARPED_SIDE, aligned=True
        )  # (R, C, 64, 64)
        return cast(torch.Tensor, self.features(warped)[0].flatten(1))

    def _sample(
        self, image: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes and labels, 0 background, of a few regions: the truth and proposals."""
        boxes = torch.cat([target["boxes"], propose_boxes_torch(image)])
        iou, nearest = _nearest_truth(boxes, target["boxes"])
        labels = torch.zeros_like(nearest)
        positives = iou >= POSITIVE_IOU
        labels[positives] = target["labels"][nearest[positives]]
        positive, negative = self.sampler([labels])
        chosen = (positive[0] | negative[0]).bool()
        return boxes[chosen], labels[chosen]

    def _detect(self, image: torch.Tensor) -> Detections:
        proposals = propose_boxes_torch(image)
        pooled = self._pooled_features(image[None], [proposals])  # (R, F)
        logits = _linear(self.hidden(pooled), self.machines)  # (R, K)
        deltas = _linear(pooled, self.movers.flatten(0, 1))  # (R, 4K)
        require_finite(logits, deltas)
        scores = logits.sigmoid()
        boxes = self.coder.decode(deltas, [proposals])  # (R, K, 4)
        boxes = clip_boxes_to_image(boxes, tuple(image.shape[1:])).flatten(0, 1)
        labels = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
        kept = self.suppress(boxes, scores.flatten(), labels)
        found = {"boxes": boxes[kept], "scores": scores.flatten()[kept], "labels": labels[kept]}
        return from_torchvision_detections(found, first_label=0)

    def _examples(self, image: torch.Tensor, target: dict[str, torch.Tensor]) -> Examples:
        """Return what the linear models learn from an image, for R regions of it.

        Features (R, F); for each class 1 where the region is a truth itself, -1 where the IoU with
        all truths of the class is below ``NEGATIVE_IOU``, else 0, (R, K); the coded difference to
        the nearest truth (R, 4); and the class of that truth where a proposal's IoU with it is at
        least ``REGRESSION_IOU``, else -1, (R,).
        """
        truth, true_labels = target["boxes"], target["labels"]
        boxes = _choose_proposals(propose_boxes_torch(image), truth)
        regions = torch.cat([truth, boxes])
        signs = torch.full((len(regions), len(self.machines)), -1, device=image.device)
        for label, true in zip(true_labels, truth, strict=True):
            near = box_iou(regions, true[None])[:, 0] >= NEGATIVE_IOU
            signs[near, label] = 0
        signs[torch.arange(len(truth)), true_labels] = 1
        iou, nearest = _nearest_truth(regions, truth)
        labels = torch.full_like(nearest, -1)
        deltas = torch.zeros_like(regions)
        near = iou >= REGRESSION_IOU
        near[: len(truth)] = False
        labels[near] = true_labels[nearest[near]]
        deltas[near] = self.coder.encode_single(truth[nearest[near]], regions[near])
        return self._pooled_features(image[None], [regions]), signs, deltas, labels

    def _fit_linear_models(
        self, pooled: torch.Tensor, signs: torch.Tensor, deltas: torch.Tensor, labels: torch.Tensor
    ) -> None:
        from defectkit.models.detection.rcnn.region_svm import (  # takes a second to import
            fit_boxes,
            fit_svm,
        )

        with torch.no_grad():
            learned = self.hidden(pooled)
        require_finite(pooled, learned)
        hidden, features = learned.cpu().numpy(), pooled.cpu().numpy()
        differences = deltas.cpu().numpy()
        for label, sign in enumerate(signs.T.cpu().numpy()):
            if (sign > 0).any() and (sign < 0).any():
                used = sign != 0
                machine = fit_svm(hidden[used], sign[used] > 0)
                self.machines[label] = torch.from_numpy(machine)
            near = (labels == label).cpu().numpy()
            if near.any():
                self.movers[label] = torch.from_numpy(fit_boxes(features[near], differences[near]))


def _nearest_truth(boxes: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest IoU of each of ``boxes`` (R, 4) with a truth, and its index, (R,) both."""
    if not len(truth):
        return boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.int64)
    iou, nearest = box_iou(boxes, truth).max(dim=1)
    return iou, nearest


def _choose_proposals(boxes: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Choose up to 24 boxes: half of them near the truth, if there are any, the rest evenly."""
    near = _nearest_truth(boxes, truth)[0] >= REGRESSION_IOU
    close = boxes[near][: FITTED_REGIONS // 2]
    rest = boxes[~near]
    count = min(FITTED_REGIONS - len(close), len(rest))
    places = torch.linspace(0, max(len(rest) - 1, 0), count, device=boxes.device).long()
    return torch.cat([close, rest[places]])


def _enlarge(boxes: torch.Tensor, reach: float) -> torch.Tensor:
    """Return boxes (R, 4) on the same centers that reach ``reach`` times their sides each way."""
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return torch.cat([centers - reach * sides, centers + reach * sides], dim=1)


def _linear(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(R, F) and (M, F + 1), the bias last -> (R, M) float32, also in ``torch.autocast``.

    Boxes are decoded in the dtype of what comes out here.
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.linear(features.float(), weights[:, :-1], weights[:, -1])
