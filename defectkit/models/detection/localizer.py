"""The localizer: class scores and one box from the same features, learned together.

Shapes: B images, K defect classes, h x w cells of the feature map, M = h * w.
"""

from typing import cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torchvision.ops import box_area

from defectkit.models.detection.boxes import BoxLoss, box_regression_loss
from defectkit.models.detection.detector import Detections, Detector, Targets
from defectkit.models.detection.top_down import TopDown
from defectkit.models.encoders import StateDict, build_features, normalization
from defectkit.models.network import require_finite
from defectkit.models.rank_sums import mean_of_shares, sum_over_ranks

REDUCTIONS = (16, 32)
WIDTH = 128


class Localizer(Detector):
    """Class scores by softmax over background and K classes, and one box.

    Each cell of the feature map proposes a box by its distances to the four sides, and an attention
    over the cells, which sums to 1, selects one of the proposals. A fully connected layer would
    have to learn at each position again what a defect looks like; this learns it once.
    """

    size_divisor = REDUCTIONS[-1]

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: list[int],
        n_classes: int,
        box_loss: BoxLoss,
        box_loss_weight: float,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.box_loss, self.box_loss_weight = box_loss, box_loss_weight
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
        """(B, C, H, W), H and W divisible by 32 -> loss terms, or one box per image."""
        features = self.neck(self.features(self.normalize(images))).float()  # (B, WIDTH, h, w)
        attention = self.attention(features).float().flatten(1).log_softmax(dim=1)  # (B, M)
        centers = _cell_centers(*features.shape[2:], device=features.device)  # (M, 2)
        proposals = self._proposals(features, centers)  # (B, M, 4)
        flat = features.flatten(2)  # (B, WIDTH, M)
        attended = (flat * attention.exp()[:, None]).sum(dim=2)  # (B, WIDTH)
        logits = self.classes(torch.cat([attended, flat.mean(dim=2)], dim=1)).float()
        if targets is not None:
            truth = [_largest(one, images.shape) for one in targets]
            return self._losses(logits, attention, proposals, centers, truth)
        require_finite(logits, proposals)
        best = attention.argmax(dim=1)
        boxes = proposals[torch.arange(len(best), device=best.device), best]  # (B, 4)
        return self._detections(logits, boxes, images.shape)

    def _proposals(self, features: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """Return each cell's box, (B, M, 4) xyxy, in units of the image's width and height."""
        sides = self.sides(features).float().clamp(max=1.0).exp().flatten(2).mT  # (B, M, 4)
        before, after = sides.split(2, dim=2)
        return torch.cat([centers - before, centers + after], dim=2)

    def _losses(
        self,
        logits: torch.Tensor,
        attention: torch.Tensor,
        proposals: torch.Tensor,
        centers: torch.Tensor,
        truth: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, torch.Tensor]:
        """Return the loss terms; images without a defect count in the class term alone.

        The cells in the middle of the true box are to have the attention, in equal shares:
        ``place`` is the cross-entropy to these shares, ``box`` the mean loss of these cells'
        proposals. From the loss of an averaged box alone attention would hardly learn its place:
        far from the truth all boxes are equally wrong.
        """
        label, true = (torch.stack(values) for values in zip(*truth, strict=True))  # (B,), (B, 4)
        defective = label > 0  # None is selected: a GPU would have to say first how many they are.
        share = _center_weights(true, centers) * defective[:, None]  # (B, M)
        target = true[:, None].expand_as(proposals)
        loss = box_regression_loss(proposals, target, kind=self.box_loss)  # (B, M)
        place, box, count = sum_over_ranks(
            -(share * attention).sum(), (share * loss).sum(), defective.sum()
        )
        count = count.clamp(min=1)
        return {
            **mean_of_shares({"class": F.cross_entropy(logits, label)}, len(label)),
            "place": place / count,
            "box": self.box_loss_weight * box / count,
        }

    def _detections(
        self, logits: torch.Tensor, boxes: torch.Tensor, shape: torch.Size
    ) -> list[Detections]:
        """Always one box per image: of the likeliest defect class, with score 1 - P(background).

        There is no threshold: a doubtful box has a low score, and scores rank images.
        """
        probabilities = logits.softmax(dim=1)  # (B, 1 + K)
        boxes = boxes.clamp(0.0, 1.0) * _image_size_xyxy(boxes, shape)
        scores, labels = 1 - probabilities[:, :1], probabilities[:, 1:].argmax(dim=1, keepdim=True)
        return [Detections(*one) for one in zip(boxes[:, None], scores, labels, strict=True)]


def _cell_centers(rows: int, columns: int, *, device: torch.device | None = None) -> torch.Tensor:
    """Return the centers (x, y) of a grid's cells, (M, 2) row by row, in units of the image."""
    axes = ((torch.arange(count, device=device) + 0.5) / count for count in (rows, columns))
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def _center_weights(true: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Return equal shares, (B, M) with sum 1, for the cells in the middle of each box (B, 4).

    These are the cells within a quarter of the box's size from its center, and the nearest one.
    """
    box_centers, sizes = (true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]
    distances = (centers - box_centers[:, None]).abs()  # (B, M, 2)
    near = (distances <= sizes[:, None] / 4).all(dim=2)
    nearest = distances.sum(dim=2).argmin(dim=1)  # (B,)
    near = near.scatter(1, nearest[:, None], value=True)
    return near / near.sum(dim=1, keepdim=True)


def _image_size_xyxy(boxes: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    *_, height, width = shape
    size = boxes.new_full((4,), float(width))
    size[1::2].fill_(float(height))  # No list of numbers: a GPU would get it by a copy that waits.
    return size


def _largest(
    target: dict[str, torch.Tensor], shape: torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 1 + label and the box, in units of the image, of the largest defect.

    Without a defect that is 0 and the whole image.
    """
    boxes, labels = target["boxes"], target["labels"]
    if not len(boxes):
        return labels.new_zeros(()), F.pad(boxes.new_zeros(2), (0, 2), value=1.0)
    largest = box_area(boxes).argmax(dim=0, keepdim=True)  # (1,)
    return labels[largest][0] + 1, boxes[largest][0] / _image_size_xyxy(boxes, shape)


def build_localizer(
    *,
    encoder: str,
    in_channels: int,
    n_classes: int,
    state: StateDict | None,
    box_loss: BoxLoss,
    box_loss_weight: float,
) -> Localizer:
    """The localizer on timm's ``encoder``.

    Raises:
        ModelError: timm does not know the encoder, or it has no maps at 1/16 and 1/32.
    """
    features = build_features(encoder, in_channels=in_channels, reductions=REDUCTIONS, state=state)
    mean, std = normalization(encoder)
    return Localizer(
        features,
        channels=cast(FeatureInfo, features.feature_info).channels(),
        n_classes=n_classes,
        box_loss=box_loss,
        box_loss_weight=box_loss_weight,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )
