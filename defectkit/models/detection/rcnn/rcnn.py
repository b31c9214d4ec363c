"""R-CNN (Girshick et al. 2014): the pixels of each proposed region, warped, go through the network.

Its proposals come from the pixels (``proposals``), not from the network. It is slow, as it was: the
network runs for each of some hundred regions of an image.

Shapes: B images, R regions of one, K defect classes, F features.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.ops import box_iou, clip_boxes_to_image, roi_align

from defectkit.models.detection.boxes import keep_best
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.rcnn.proposals import propose_in
from defectkit.models.detection.torchvision_adapters import as_detections, usable

Examples = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]

HIDDEN = 256
"""Features of a region, behind the last but one layer."""
WARPED = 64
"""Side in pixels to which R-CNN warps a region."""
CONTEXT = 4
"""Pixels of a warped region, at each side, that show what is around the box."""
SAMPLED = 16
"""Regions of an image in a training step of R-CNN, a quarter of them defects if there are any."""
FITTED_IMAGES = 96
"""Images whose regions the support vector machines are fitted to."""
FITTED_REGIONS = 24
"""Proposals of an image among them."""
CERTAIN_MISS = -30.0
"""The bias of a class before anything is fitted: nothing is found."""


class RCNN(Detector):
    """Each region on its own: features by a network, then linear machines fitted to them.

    In training the network learns to tell K + 1 classes of regions. ``fit`` then gives each class a
    support vector machine and a box regressor, which alone decide in evaluation; before it nothing
    is found. They are part of the state: ``machines`` (K, HIDDEN + 1) on the hidden features,
    ``movers`` (K, 4, F + 1) on the pooled ones, each with its bias last.
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
        self.thinning = {"nms_iou": nms_iou, "score_threshold": score_threshold}
        self.max_detections = max_detections
        pooled = cast(Any, features).feature_info.channels()[0] * (WARPED // 32) ** 2
        self.hidden = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, HIDDEN), nn.ReLU())
        self.classifier = nn.Linear(HIDDEN, n_classes + 1)
        self.sampler = BalancedPositiveNegativeSampler(SAMPLED, positive_fraction=0.25)
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.register_buffer("machines", torch.zeros(n_classes, HIDDEN + 1))
        self.register_buffer("movers", torch.zeros(n_classes, 4, pooled + 1))
        self._forget()

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W) of any size: the term of the loss in training, else detections."""
        assert self.training == (targets is not None), "the truth is for training, and needed there"
        if targets is None:
            return [self._detect(image) for image in images]
        chosen = [
            self._sample(image, target)
            for image, target in zip(images, usable(targets, background=1), strict=True)
        ]
        boxes, labels = zip(*chosen, strict=True)
        logits = self.classifier(self.hidden(self._pooled(images, list(boxes))))
        return {"class": F.cross_entropy(logits, torch.cat(labels))}

    def fit(self, samples: Iterable[tuple[torch.Tensor, Targets]]) -> None:
        """Fit the machines to regions of the first 96 images of ``samples``.

        ``samples`` yields batches as ``forward`` takes them in training. A class that does not
        occur in them will not be found.
        """
        self.eval()
        pairs = (
            (image, target)
            for images, targets in samples
            for image, target in zip(images, usable(targets, background=0), strict=True)
        )
        with torch.no_grad():
            examples = [self._examples(*pair) for pair in islice(pairs, FITTED_IMAGES)]
        self._forget()
        if examples:
            pooled, signs, deltas, labels = (
                torch.cat(parts) for parts in zip(*examples, strict=True)
            )
            self._fit(pooled, signs, deltas, labels)

    def _forget(self) -> None:
        self.machines.zero_()
        self.machines[:, -1] = CERTAIN_MISS
        self.movers.zero_()

    def _pooled(self, images: torch.Tensor, boxes: list[torch.Tensor]) -> torch.Tensor:
        """(B, C, H, W) and (R, 4) of each -> features of all regions (sum of R, F), in order.

        The part of a region that lies beyond the image is filled with the mean, 0.
        """
        grow = 0.5 * WARPED / (WARPED - 2 * CONTEXT)
        wider = [_around(one, grow) for one in boxes]
        warped = roi_align(self.normalize(images), wider, WARPED, aligned=True)  # (R, C, 64, 64)
        return cast(torch.Tensor, self.features(warped)[0].flatten(1))

    def _sample(
        self, image: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes and labels, 0 background, of a few regions: the truth and proposals.

        A region shows a defect when its IoU with it is at least a half.
        """
        boxes = torch.cat([target["boxes"], propose_in(image)])
        best, which = _best(boxes, target["boxes"])
        labels = torch.zeros_like(which)
        labels[best >= 0.5] = target["labels"][which[best >= 0.5]]
        positive, negative = self.sampler([labels])
        chosen = (positive[0] | negative[0]).bool()
        return boxes[chosen], labels[chosen]

    def _detect(self, image: torch.Tensor) -> Detections:
        proposals = propose_in(image)
        pooled = self._pooled(image[None], [proposals])  # (R, F)
        scores = _linear(self.hidden(pooled), self.machines).sigmoid()  # (R, K)
        deltas = _linear(pooled, self.movers.flatten(0, 1))  # (R, 4K)
        boxes = self.coder.decode(deltas, [proposals])  # (R, K, 4)
        boxes = clip_boxes_to_image(boxes, tuple(image.shape[1:])).flatten(0, 1)
        labels = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
        kept = keep_best(
            boxes, scores.flatten(), labels, **self.thinning, max_detections=self.max_detections
        )
        found = {"boxes": boxes[kept], "scores": scores.flatten()[kept], "labels": labels[kept]}
        return as_detections(found, 0)

    def _examples(self, image: torch.Tensor, target: dict[str, torch.Tensor]) -> Examples:
        """Return what the machines learn from an image, for R regions of it.

        Features (R, F); for each class 1 where it is the truth itself, -1 where the IoU with all
        truths of the class is below 0.3, else 0, (R, K); the way to the nearest truth (R, 4); and
        the class of that truth where a proposal's IoU with it is at least 0.6, else -1, (R,).
        """
        truth, true_labels = target["boxes"], target["labels"]
        boxes = _spread(propose_in(image), truth)
        regions = torch.cat([truth, boxes])
        signs = torch.full((len(regions), len(self.machines)), -1, device=image.device)
        for label, true in zip(true_labels, truth, strict=True):
            near = box_iou(regions, true[None])[:, 0] >= 0.3
            signs[near, label] = 0
        signs[torch.arange(len(truth)), true_labels] = 1
        best, which = _best(regions, truth)
        labels = torch.full_like(which, -1)
        deltas = torch.zeros_like(regions)
        near = best >= 0.6
        near[: len(truth)] = False
        labels[near] = true_labels[which[near]]
        deltas[near] = self.coder.encode_single(truth[which[near]], regions[near])
        return self._pooled(image[None], [regions]), signs, deltas, labels

    def _fit(
        self, pooled: torch.Tensor, signs: torch.Tensor, deltas: torch.Tensor, labels: torch.Tensor
    ) -> None:
        from defectkit.models.detection.rcnn.region_svm import (  # takes a second to import
            fit_boxes,
            fit_svm,
        )

        with torch.no_grad():
            hidden = self.hidden(pooled).cpu().numpy()
        known, ways = pooled.cpu().numpy(), deltas.cpu().numpy()
        for label, sign in enumerate(signs.T.cpu().numpy()):
            if (sign > 0).any() and (sign < 0).any():
                used = sign != 0
                machine = fit_svm(hidden[used], sign[used] > 0)
                self.machines[label] = torch.from_numpy(machine)
            near = (labels == label).cpu().numpy()
            if near.any():
                self.movers[label] = torch.from_numpy(fit_boxes(known[near], ways[near]))


def _best(boxes: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest IoU of each of ``boxes`` (R, 4) with one of ``truth``, and which, (R,) each."""
    if not len(truth):
        return boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.int64)
    best, which = box_iou(boxes, truth).max(dim=1)
    return best, which


def _spread(boxes: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Choose up to 24 boxes: half of them near the truth, if there are any, the rest evenly."""
    near = _best(boxes, truth)[0] >= 0.6
    close = boxes[near][: FITTED_REGIONS // 2]
    rest = boxes[~near]
    count = min(FITTED_REGIONS - len(close), len(rest))
    places = torch.linspace(0, max(len(rest) - 1, 0), count, device=boxes.device).long()
    return torch.cat([close, rest[places]])


def _around(boxes: torch.Tensor, grow: float) -> torch.Tensor:
    """Return boxes (R, 4) on the same centers that reach ``grow`` times their sides each way."""
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return torch.cat([centers - grow * sides, centers + grow * sides], dim=1)


def _linear(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(R, F) and (M, F + 1), the bias last -> (R, M)."""
    return F.linear(features.float(), weights[:, :-1], weights[:, -1])
