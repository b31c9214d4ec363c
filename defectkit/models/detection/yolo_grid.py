"""A single-shot grid detector after YOLO (Redmon et al. 2016), with anchors as in YOLO9000.

The image is a grid of S x S cells. Each cell has A anchors (box shapes), and for each of these the
network predicts in 5 + K numbers whether a defect has its center there, how its box differs from
the anchor, and its class: S x S x A(5 + K) numbers in a single pass, for images of any size.

Shapes: B images, N true boxes in one, A anchors per cell, P = S * S * A anchors in an image, K
defect classes.
"""

import math
from functools import partial
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torchvision.ops import box_convert, box_iou, clip_boxes_to_image, sigmoid_focal_loss

from defectkit.models.detection.boxes import (
    BoxLoss,
    box_regression_loss,
    cluster_anchors,
    non_max_suppression,
    shape_iou,
)
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.top_down import TopDown
from defectkit.models.encoders import StateDict, build_features, normalization
from defectkit.models.network import Batches, require_finite
from defectkit.models.rank_sums import sum_over_ranks

MAX_ENCODER_STRIDE = 32
WIDTH = 128
BACKGROUND, IGNORED = -1, -2
MATCH_IOU = 0.5
"""IoU with a truth from which an anchor is not background."""
CENTER_REACH = 0.75
"""Distance in cells, along both axes, within which a cell's center takes a truth's center."""
PRIOR_OBJECTNESS = 0.01
"""Objectness at the start of training: nearly all anchors are background."""
MAX_LOG_RATIO = math.log(16.0)
"""Maximum of the logarithm of a box's side to its anchor's."""
ANCHOR_IMAGES = 256
"""Number of training images whose boxes the anchors are fitted to."""


class YoloGrid(Detector):
    """Objectness, box and classes for each anchor of a grid of cells of ``cell_size`` pixels.

    ``anchors`` (A, 2), widths and heights in pixels, are part of the state: they are fitted to the
    training boxes and saved with the weights.
    """

    size_divisor = MAX_ENCODER_STRIDE
    anchors: torch.Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: list[int],
        n_classes: int,
        cell_size: int,
        n_anchors: int,
        box_loss: BoxLoss,
        box_loss_weight: float,
        nms_iou: float,
        score_threshold: float,
        max_detections: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.cell_size, self.box_loss, self.box_loss_weight = cell_size, box_loss, box_loss_weight
        self.suppress = partial(
            non_max_suppression,
            nms_iou=nms_iou,
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        self.neck = TopDown(in_channels=channels, width=WIDTH)
        self.head = nn.Conv2d(WIDTH, n_anchors * (5 + n_classes), 1)
        nn.init.normal_(self.head.weight, std=0.01)
        bias = torch.zeros(n_anchors, 5 + n_classes)
        bias[:, 4] = -math.log(1 / PRIOR_OBJECTNESS - 1)
        self.head.bias = nn.Parameter(bias.flatten())
        sides = cell_size * 2.0 ** torch.arange(n_anchors)
        self.register_buffer("anchors", torch.stack([sides, sides], dim=1))

    def fit_before_training(self, samples: Batches) -> None:
        """Fit the anchors to the boxes of the first 256 images, if these have any."""
        targets = (one for _, batch in samples for one in batch)
        boxes = torch.cat([one["boxes"] for one in islice(targets, ANCHOR_IMAGES)])
        if len(boxes):
            self.set_anchors(boxes[:, 2:] - boxes[:, :2])

    def set_anchors(self, sizes: torch.Tensor) -> None:
        """Set the anchors to the typical shapes of training boxes, (N, 2) in pixels, N > 0."""
        self.anchors.copy_(cluster_anchors(sizes.to(self.anchors), len(self.anchors)))

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 32 -> loss terms, or detections."""
        raw = self.head(self.neck(self.features(self.normalize(images)))).float()
        *_, rows, columns = raw.shape
        raw = raw.unflatten(1, (len(self.anchors), -1))  # (B, A, 5 + K, rows, columns)
        raw = raw.permute(0, 3, 4, 1, 2).flatten(1, 3)  # (B, P, 5 + K)
        centers, sizes = self._grid(rows, columns)
        boxes = self.decode(raw[..., :4], centers, sizes)
        if targets is None:
            require_finite(raw)
            return [
                self._detections(*one, images.shape[2:]) for one in zip(raw, boxes, strict=True)
            ]
        matches = torch.stack([self.match(one["boxes"], centers, sizes) for one in targets])
        return self._losses(raw, boxes, matches, sizes, targets)

    def decode(
        self, coded: torch.Tensor, centers: torch.Tensor, sizes: torch.Tensor
    ) -> torch.Tensor:
        """Decode (..., P, 4) dx, dy, dw, dh at anchors of (P, 2) centers and sizes to xyxy boxes.

        The center stays near its cell: (dx, dy) goes through a sigmoid that reaches half a cell
        beyond each side (Bochkovskiy et al. 2020), since a sigmoid that ends at the side never
        reaches it. (dw, dh) is the logarithm of the box's size to the anchor's, so that a factor of
        two costs the same up and down and at any size.
        """
        box_centers = centers + self.cell_size * (2 * coded[..., :2].sigmoid() - 1)
        lengths = sizes * coded[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        boxes: torch.Tensor = box_convert(
            torch.cat([box_centers, lengths], dim=-1), "cxcywh", "xyxy"
        )
        return boxes

    def match(
        self, truths: torch.Tensor, centers: torch.Tensor, sizes: torch.Tensor
    ) -> torch.Tensor:
        """Return the index of the (N, 4) true box that each anchor must predict, (P,) int64.

        A truth belongs to the cells near its center: its own, and those whose boxes can reach the
        center. There it takes the anchor of the best shape, and all others that fit. Anchors
        elsewhere that overlap a truth well are neither right nor wrong: IGNORED. All the rest, by
        far the most, is BACKGROUND.
        """
        matches = torch.full((len(centers),), BACKGROUND, device=centers.device)
        if not len(truths):
            return matches
        x, y, width, height = box_convert(truths, "xyxy", "cxcywh").unbind(dim=1)
        distances = torch.stack([x, y], dim=1)[:, None] - centers  # (N, P, 2)
        near = distances.abs().amax(dim=2) < CENTER_REACH * self.cell_size
        similarity = shape_iou(torch.stack([width, height], dim=1), self.anchors)  # (N, A)
        fits = similarity >= similarity.amax(dim=1, keepdim=True).clamp(max=MATCH_IOU)
        responsible = near & fits.repeat(1, len(centers) // len(self.anchors))  # (N, P)
        anchor_boxes = box_convert(torch.cat([centers, sizes], dim=1), "cxcywh", "xyxy")
        overlaps = box_iou(truths, anchor_boxes)  # (N, P)
        matches = matches.masked_fill(overlaps.amax(dim=0) >= MATCH_IOU, IGNORED)
        # Where two truths claim an anchor, the one that overlaps it more gets it.
        claims, claimants = overlaps.masked_fill(~responsible, -1.0).max(dim=0)
        return torch.where(claims >= 0, claimants, matches)

    def _grid(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the center (x, y) of the cell and the size of each anchor, (P, 2) both."""
        axes = (torch.arange(count, device=self.anchors.device) for count in (rows, columns))
        y, x = torch.meshgrid(*axes, indexing="ij")
        centers = (torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5) * self.cell_size  # (S * S, 2)
        return (
            centers.repeat_interleave(len(self.anchors), dim=0),
            self.anchors.repeat(len(centers), 1),
        )

    def _losses(
        self,
        raw: torch.Tensor,
        boxes: torch.Tensor,
        matches: torch.Tensor,
        sizes: torch.Tensor,
        targets: Targets,
    ) -> dict[str, torch.Tensor]:
        """Return the three terms, each summed and divided by the number of anchors with a truth.

        Objectness is a focal loss (Lin et al. 2017): without it a thousand easy background anchors
        would outweigh the few that matter. Box and class count only where there is a truth. They
        are computed for all anchors: a GPU would have to say first where there is one.
        """
        positive = matches >= 0  # (B, P)
        counted = matches != IGNORED
        objectness = sigmoid_focal_loss(raw[..., 4], positive.float(), alpha=0.5)
        pairs = zip(targets, matches.clamp(min=0), strict=True)
        true, labels = (
            torch.stack(values)
            for values in zip(*(self._truth_of_each(*pair) for pair in pairs), strict=True)
        )  # (B, P, 4), (B, P)
        # In units of the anchor: a pixel is much for a small box and little for a large one.
        unit = sizes.prod(dim=1).sqrt()[:, None]  # (P, 1)
        box = box_regression_loss(
            (boxes / unit).where(positive[..., None], 0.0),
            (true / unit).where(positive[..., None], 0.0),
            kind=self.box_loss,
        )
        scores = raw[..., 5:]
        one_hot = labels[..., None] == torch.arange(scores.shape[2], device=scores.device)
        classes = F.binary_cross_entropy_with_logits(scores, one_hot.float(), reduction="none")
        total, boxed, classed, count = sum_over_ranks(
            objectness.where(counted, 0.0).sum(),
            box.where(positive, 0.0).sum(),
            classes.where(positive[..., None], 0.0).sum(),
            positive.sum(),
        )
        count = count.clamp(min=1)
        return {
            "objectness": total / count,
            "box": self.box_loss_weight * boxed / count,
            "class": classed / count,
        }

    def _truth_of_each(
        self, target: dict[str, torch.Tensor], match: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the true box (P, 4) and label (P,) at ``match`` (P,); any where there is none."""
        boxes, labels = target["boxes"], target["labels"]
        if len(boxes):
            return boxes[match], labels[match]
        return boxes.new_zeros(len(match), 4), torch.zeros_like(match)

    def _detections(self, raw: torch.Tensor, boxes: torch.Tensor, size: torch.Size) -> Detections:
        """Predictions (P, 5 + K) and their boxes (P, 4) -> the detections after suppression.

        A box's score is its objectness times the probability of its best class.
        """
        probabilities = raw[:, 4:].sigmoid()
        scores, labels = (probabilities[:, :1] * probabilities[:, 1:]).max(dim=1)
        kept = self.suppress(boxes, scores, labels)
        return Detections(clip_boxes_to_image(boxes[kept], size), scores[kept], labels[kept])


def build_yolo_grid(
    *,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: StateDict | None,
    cell_size: int,
    n_anchors: int,
    box_loss: BoxLoss,
    box_loss_weight: float,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> YoloGrid:
    """The grid detector on timm's ``encoder``, with cells of 8, 16 or 32 pixels.

    Raises:
        ModelError: timm does not know the encoder, or it has no map of these reductions.
    """
    reductions = tuple(
        reduction for reduction in (8, 16, MAX_ENCODER_STRIDE) if reduction >= cell_size
    )
    features = build_features(encoder, in_channels=in_channels, reductions=reductions, state=state)
    mean, std = normalization(encoder)
    return YoloGrid(
        features,
        channels=cast(FeatureInfo, features.feature_info).channels(),
        n_classes=n_classes,
        cell_size=cell_size,
        n_anchors=n_anchors,
        box_loss=box_loss,
        box_loss_weight=box_loss_weight,
        nms_iou=nms_iou,
        score_threshold=score_threshold,
        max_detections=max_detections,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
