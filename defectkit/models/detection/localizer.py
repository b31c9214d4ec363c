"""The localizer: class scores and one box on the same features, learned together.

Shapes: B images, K defect classes, h x w cells of the feature map, M = h * w.
"""

from typing import cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torchvision.ops import box_area

from defectkit.models.detection.boxes import BoxLoss, box_loss
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.top_down import TopDown
from defectkit.models.encoders import State, build_features, normalization

REDUCTIONS = (16, 32)
WIDTH = 128


class Localizer(Detector):
    """Class scores by softmax over background and K classes, and one box.

    Each cell of the feature map proposes a box by its distances to the four sides, and an attention
    over the cells, which sums to 1, says whose proposal to believe. A fully connected layer would
    have to learn for each place anew what a defect looks like; this needs to learn it but once.
    """

    stride = REDUCTIONS[-1]

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: list[int],
        n_classes: int,
        loss: BoxLoss,
        weight: float,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.kind, self.weight = loss, weight
        self.neck = TopDown(in_channels=channels, width=WIDTH)
        self.attention = nn.Conv2d(WIDTH, 1, 1)
        self.sides = nn.Conv2d(WIDTH, 4, 1)
        self.classes = nn.Linear(2 * WIDTH, 1 + n_classes)
        nn.init.zeros_(self.attention.weight)
        nn.init.normal_(self.sides.weight, std=0.01)
        # exp(-2.5) to each side: at first every box is a sixth of the image wide.
        self.sides.bias = nn.Parameter(torch.full((4,), -2.5))

    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W), H and W divisible by 32 -> terms of the loss, or one box an image."""
        features = self.neck(self.features(self.normalize(images))).float()  # (B, WIDTH, h, w)
        attention = self.attention(features).float().flatten(1).log_softmax(dim=1)  # (B, M)
        middles = _middles(*features.shape[2:]).to(features)  # (M, 2)
        proposals = self._proposals(features, middles)  # (B, M, 4)
        flat = features.flatten(2)  # (B, WIDTH, M)
        attended = (flat * attention.exp()[:, None]).sum(dim=2)  # (B, WIDTH)
        logits = self.classes(torch.cat([attended, flat.mean(dim=2)], dim=1)).float()
        if targets is not None:
            here = [_largest(one, images.shape) for one in targets]
            return self._losses(logits, attention, proposals, middles, here)
        best = attention.argmax(dim=1)
        boxes = proposals[torch.arange(len(best), device=best.device), best]  # (B, 4)
        return self._detections(logits, boxes, images.shape)

    def _proposals(self, features: torch.Tensor, middles: torch.Tensor) -> torch.Tensor:
        """Return each cell's box, (B, M, 4) xyxy, as parts of the image's width and height."""
        sides = self.sides(features).float().clamp(max=1.0).exp().flatten(2).mT  # (B, M, 4)
        boxes: torch.Tensor = middles.repeat(1, 2) + sides * sides.new_tensor(
            [-1.0, -1.0, 1.0, 1.0]
        )
        return boxes

    def _losses(
        self,
        logits: torch.Tensor,
        attention: torch.Tensor,
        proposals: torch.Tensor,
        middles: torch.Tensor,
        truth: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, torch.Tensor]:
        """Return the terms; images without a defect take part in that of the class alone.

        The cells in the middle of the true box share it: ``place`` is the cross-entropy that draws
        attention to them, ``box`` the mean cost of their proposals. Through the cost of a blended
        box alone attention would hardly find its place: far from it all boxes are equally wrong.
        """
        label, true = (torch.stack(values) for values in zip(*truth, strict=True))  # (B,), (B, 4)
        here = label > 0  # D defective images
        share = _shares(true[here], middles)  # (D, M)
        proposed = proposals[here]  # (D, M, 4)
        cost = box_loss(proposed, true[here, None].expand_as(proposed), kind=self.kind)  # (D, M)
        count = here.sum().clamp(min=1)
        return {
            "class": F.cross_entropy(logits, label),
            "place": -(share * attention[here]).sum() / count,
            "box": self.weight * (share * cost).sum() / count,
        }

    def _detections(
        self, logits: torch.Tensor, boxes: torch.Tensor, shape: torch.Size
    ) -> list[Detections]:
        """Always one box an image: of the likeliest defect class, its score 1 - P(background).

        A doubtful box has a low score, but it has one: scores rank images.
        """
        probabilities = logits.softmax(dim=1)  # (B, 1 + K)
        boxes = boxes.clamp(0.0, 1.0) * _unit(boxes, shape)
        scores, labels = 1 - probabilities[:, :1], probabilities[:, 1:].argmax(dim=1, keepdim=True)
        return [Detections(*one) for one in zip(boxes[:, None], scores, labels, strict=True)]


def _middles(rows: int, columns: int) -> torch.Tensor:
    """Return the middles (x, y) of a grid's cells as parts of the image, (M, 2) row by row."""
    axes = ((torch.arange(count) + 0.5) / count for count in (rows, columns))
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def _shares(true: torch.Tensor, middles: torch.Tensor) -> torch.Tensor:
    """Return the equal shares, (D, M) of sum 1, of the cells in the middle of each box (D, 4).

    These are the cells within a quarter of the box's size of its center, and the one next to it.
    """
    centers, sizes = (true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]
    distances = (middles - centers[:, None]).abs()  # (D, M, 2)
    near = (distances <= sizes[:, None] / 4).all(dim=2)
    nearest = distances.sum(dim=2).argmin(dim=1)  # (D,)
    near[torch.arange(len(true), device=true.device), nearest] = True
    return near / near.sum(dim=1, keepdim=True)


def _unit(boxes: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    *_, height, width = shape
    return boxes.new_tensor([width, height, width, height])


def _largest(
    target: dict[str, torch.Tensor], shape: torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 1 + label and the box, as parts of the image, of the largest defect; 0 without one."""
    boxes, labels = target["boxes"], target["labels"]
    if not len(boxes):
        return labels.new_tensor(0), boxes.new_zeros(4)
    largest = box_area(boxes).argmax()
    return labels[largest] + 1, boxes[largest] / _unit(boxes, shape)


def build_localizer(
    *,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: State | None,
    loss: BoxLoss,
    weight: float,
) -> Localizer:
    """The localizer on timm's ``encoder``.

    Raises:
        ModelError: timm does not know the encoder, or it has no map of a 16th and a 32nd.
    """
    features = build_features(encoder, in_channels=in_channels, reductions=REDUCTIONS, state=state)
    mean, std = normalization(encoder)
    return Localizer(
        features,
        channels=cast(FeatureInfo, features.feature_info).channels(),
        n_classes=n_classes,
        loss=loss,
        weight=weight,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
