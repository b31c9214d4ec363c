"""A single-shot grid detector after YOLO (Redmon et al. 2016), with anchors as in YOLO9000.

The image is a grid of S x S cells. Each cell holds A anchors (box shapes), and each of these says
in 5 + K numbers whether a defect has its center there, how its box differs from the anchor, and its
class: S x S x A(5 + K) numbers in a single pass, for images of any size.

Shapes: B images, N true boxes in one, A anchors a cell, P = S * S * A places, K defect classes.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torchvision.ops import box_convert, box_iou, clip_boxes_to_image, sigmoid_focal_loss

from defectkit.models.detection.boxes import BoxLoss, anchor_shapes, box_loss, keep_best, shape_iou
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.top_down import TopDown
from defectkit.models.encoders import State, build_features, normalization

DEEPEST = 32
WIDTH = 128
BACKGROUND, IGNORED = -1, -2
FITS = 0.5
"""An anchor whose IoU with a truth reaches it is not background."""
REACH = 0.75
"""Cells whose middle is nearer than this part of a cell to a truth's center, along both axes."""
PRIOR = 0.01
"""The objectness at the start of training: nearly all places are background."""
LARGEST_RATIO = math.log(16.0)


class YoloGrid(Detector):
    """Objectness, box and classes at each place of a grid of cells of ``cell`` pixels.

    ``anchors`` (A, 2), widths and heights in pixels, are part of the state: they come from the
    training boxes and travel with the weights.
    """

    stride = DEEPEST
    anchors: torch.Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: list[int],
        n_classes: int,
        cell: int,
        n_anchors: int,
        loss: BoxLoss,
        weight: float,
        nms_iou: float,
        score_threshold: float,
        max_detections: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.cell, self.kind, self.weight = cell, loss, weight
        self.thinning: dict[str, Any] = {
            "nms_iou": nms_iou,
            "score_threshold": score_threshold,
            "max_detections": max_detections,
        }
        self.neck = TopDown(in_channels=channels, width=WIDTH)
        self.head = nn.Conv2d(WIDTH, n_anchors * (5 + n_classes), 1)
        nn.init.normal_(self.head.weight, std=0.01)
        bias = torch.zeros(n_anchors, 5 + n_classes)
        bias[:, 4] = -math.log(1 / PRIOR - 1)
        self.head.bias = nn.Parameter(bias.flatten())
        sides = cell * 2.0 ** torch.arange(n_anchors)
        self.register_buffer("anchors", torch.stack([sides, sides], dim=1))

    def set_anchors(self, sizes: torch.Tensor) -> None:
        """Take as anchors the typical shapes of training boxes, (N, 2) in pixels, N > 0."""
        self.anchors.copy_(anchor_shapes(sizes.to(self.anchors), len(self.anchors)))

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 32 -> terms of the loss, or detections."""
        raw = self.head(self.neck(self.features(self.normalize(images)))).float()
        *_, rows, columns = raw.shape
        raw = raw.unflatten(1, (len(self.anchors), -1))  # (B, A, 5 + K, rows, columns)
        raw = raw.permute(0, 3, 4, 1, 2).flatten(1, 3)  # (B, P, 5 + K)
        middles, sizes = self._places(rows, columns)
        boxes = self.decode(raw[..., :4], middles, sizes)
        if targets is None:
            return [
                self._detections(*one, images.shape[2:]) for one in zip(raw, boxes, strict=True)
            ]
        owners = torch.stack([self.match(one["boxes"], middles, sizes) for one in targets])
        return self._losses(raw, boxes, owners, sizes, targets)

    def decode(
        self, coded: torch.Tensor, middles: torch.Tensor, sizes: torch.Tensor
    ) -> torch.Tensor:
        """Coded (..., P, 4) dx, dy, dw, dh at places of (P, 2) middles and sizes -> xyxy boxes.

        The center stays near its cell: (dx, dy) goes through a sigmoid that reaches half a cell
        beyond each side (Bochkovskiy et al. 2020), for a sigmoid that ends at the side gets there
        never. (dw, dh) is the logarithm of the box's size to the anchor's, so that a factor of two
        costs the same up and down and at any size.
        """
        centers = middles + self.cell * (2 * coded[..., :2].sigmoid() - 1)
        lengths = sizes * coded[..., 2:].clamp(-LARGEST_RATIO, LARGEST_RATIO).exp()
        boxes: torch.Tensor = box_convert(torch.cat([centers, lengths], dim=-1), "cxcywh", "xyxy")
        return boxes

    def match(
        self, truths: torch.Tensor, middles: torch.Tensor, sizes: torch.Tensor
    ) -> torch.Tensor:
        """Say which of the (N, 4) true boxes each place shall predict: (P,) int64 of indices.

        A truth belongs to the cells next to its center: its own, and those whose boxes reach the
        center with ease. There it takes the anchor of the best shape, and all others that fit.
        Places elsewhere whose anchor overlaps a truth well are neither right nor wrong: IGNORED.
        All the rest, the most by far, is BACKGROUND.
        """
        owners = torch.full((len(middles),), BACKGROUND, device=middles.device)
        if not len(truths):
            return owners
        x, y, width, height = box_convert(truths, "xyxy", "cxcywh").unbind(dim=1)
        distances = torch.stack([x, y], dim=1)[:, None] - middles  # (N, P, 2)
        near = distances.abs().amax(dim=2) < REACH * self.cell
        likeness = shape_iou(torch.stack([width, height], dim=1), self.anchors)  # (N, A)
        fits = likeness >= torch.minimum(
            likeness.amax(dim=1, keepdim=True), likeness.new_tensor(FITS)
        )
        responsible = near & fits.repeat(1, len(middles) // len(self.anchors))  # (N, P)
        anchored = box_convert(torch.cat([middles, sizes], dim=1), "cxcywh", "xyxy")
        overlaps = box_iou(truths, anchored)  # (N, P)
        owners[overlaps.amax(dim=0) >= FITS] = IGNORED
        # Where two truths claim a place, the one that overlaps its anchor more gets it.
        claims, claimants = overlaps.masked_fill(~responsible, -1.0).max(dim=0)
        return torch.where(claims >= 0, claimants, owners)

    def _places(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cell's middle (x, y) and the anchor's size of each place, (P, 2) both."""
        axes = (torch.arange(count, device=self.anchors.device) for count in (rows, columns))
        y, x = torch.meshgrid(*axes, indexing="ij")
        middles = (torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5) * self.cell  # (S * S, 2)
        return (
            middles.repeat_interleave(len(self.anchors), dim=0),
            self.anchors.repeat(len(middles), 1),
        )

    def _losses(
        self,
        raw: torch.Tensor,
        boxes: torch.Tensor,
        owners: torch.Tensor,
        sizes: torch.Tensor,
        targets: Targets,
    ) -> dict[str, torch.Tensor]:
        """Return the three terms, each summed and divided by the number of places with a truth.

        Objectness is a focal loss (Lin et al. 2017): without it a thousand easy background places
        would drown the few that matter. Box and classes count only where there is a truth.
        """
        positive = owners >= 0  # (B, P)
        asked = owners != IGNORED
        count = positive.sum().clamp(min=1)
        objectness = sigmoid_focal_loss(raw[..., 4][asked], positive[asked].float(), alpha=0.5)
        pairs = list(zip(targets, owners, positive, strict=True))
        true = torch.cat([one["boxes"][owner[here]] for one, owner, here in pairs])
        labels = torch.cat([one["labels"][owner[here]] for one, owner, here in pairs])
        # In units of the anchor: a pixel is much for a small box and little for a large one.
        unit = sizes.prod(dim=1).sqrt().expand(len(raw), -1)[positive][:, None]
        box = box_loss(boxes[positive] / unit, true / unit, kind=self.kind)
        scores = raw[..., 5:][positive]
        classes = F.binary_cross_entropy_with_logits(
            scores, F.one_hot(labels, scores.shape[1]).float(), reduction="sum"
        )
        return {
            "objectness": objectness.sum() / count,
            "box": self.weight * box.sum() / count,
            "class": classes / count,
        }

    def _detections(self, raw: torch.Tensor, boxes: torch.Tensor, size: torch.Size) -> Detections:
        """Places (P, 5 + K) and their boxes (P, 4) -> what is left of them after suppression.

        A box's score is its objectness times the probability of its best class.
        """
        probabilities = raw[:, 4:].sigmoid()
        scores, labels = (probabilities[:, :1] * probabilities[:, 1:]).max(dim=1)
        kept = keep_best(boxes, scores, labels, **self.thinning)
        return Detections(clip_boxes_to_image(boxes[kept], size), scores[kept], labels[kept])


def build_yolo_grid(
    *,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: State | None,
    cell: int,
    n_anchors: int,
    loss: BoxLoss,
    weight: float,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> YoloGrid:
    """The grid detector on timm's ``encoder``, with cells of 8, 16 or 32 pixels.

    Raises:
        ModelError: timm does not know the encoder, or it has no map of these reductions.
    """
    reductions = tuple(reduction for reduction in (8, 16, DEEPEST) if reduction >= cell)
    features = build_features(encoder, in_channels=in_channels, reductions=reductions, state=state)
    mean, std = normalization(encoder)
    return YoloGrid(
        features,
        channels=cast(FeatureInfo, features.feature_info).channels(),
        n_classes=n_classes,
        cell=cell,
        n_anchors=n_anchors,
        loss=loss,
        weight=weight,
        nms_iou=nms_iou,
        score_threshold=score_threshold,
        max_detections=max_detections,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
