"""Boxes: regression losses, anchors and non-maximum suppression.

Boxes are (N, 4) float32 of x0, y0, x1, y1, half-open.
"""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms

BoxLoss = Literal["smooth_l1", "l1", "l2", "giou"]

SMALLEST_AREA = 1e-7
"""Added to areas before a division, since boxes may have none."""
MAX_ROUNDS = 100
"""Maximum of k-means' rounds; a few hundred boxes converge in about ten."""
MAX_SHAPES = 1024
"""Of more boxes every second, third ... by area is clustered, with about the same result."""
MAX_CANDIDATES = 1000
"""Number of the best boxes that go into suppression, whose cost is quadratic in them."""


def box_regression_loss(
    predicted: torch.Tensor, true: torch.Tensor, *, kind: BoxLoss
) -> torch.Tensor:
    """Return the loss of each predicted box, (...) for boxes (..., 4) in any common unit.

    ``l1``, ``l2`` (squared) and ``smooth_l1`` (Girshick 2015) are summed over the four coordinates.
    They scale with the unit, so it should be about the size of an image or a box. ``giou``
    (Rezatofighi et al. 2019) is in [0, 2] in any unit: 1 - IoU, and more where the boxes are
    disjoint.
    """
    match kind:
        case "l1":
            return (predicted - true).abs().sum(dim=-1)
        case "l2":
            return (predicted - true).square().sum(dim=-1)
        case "smooth_l1":
            return F.smooth_l1_loss(predicted, true, reduction="none").sum(dim=-1)
        case "giou":
            return _giou_loss(predicted, true)
        case unknown:
            assert_never(unknown)


def _giou_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return 1 - GIoU of boxes (..., 4), as torchvision does, but without selecting any.

    To select the boxes that overlap, a GPU would have to say first how many they are.
    """
    starts, ends = (predicted[..., :2], true[..., :2]), (predicted[..., 2:], true[..., 2:])
    shared = _area(torch.minimum(*ends) - torch.maximum(*starts))
    around = _area(torch.maximum(*ends) - torch.minimum(*starts))
    union = _area(ends[0] - starts[0]) + _area(ends[1] - starts[1]) - shared
    return 1 - (shared / (union + SMALLEST_AREA) - (around - union) / (around + SMALLEST_AREA))


def _area(sides: torch.Tensor) -> torch.Tensor:
    """Return the areas (...) of widths and heights (..., 2), 0 where one is negative.

    The gradient of ``prod`` would have to ask a GPU whether there are zeros.
    """
    width, height = sides.clamp(min=0).unbind(dim=-1)
    return width * height


def shape_iou(sizes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the IoU of (N, 2) and (M, 2) widths and heights on the same center, (N, M)."""
    shared = torch.minimum(sizes[:, None], others).prod(dim=-1)  # (N, M)
    return shared / (sizes.prod(dim=-1)[:, None] + others.prod(dim=-1) - shared)


def cluster_anchors(sizes: torch.Tensor, count: int) -> torch.Tensor:
    """Return ``count`` typical shapes of (N, 2) widths and heights, N > 0, by area: (count, 2).

    Anchors are the shapes from which a detector starts: it predicts how a box differs from one.
    They are found as in YOLO9000 (Redmon and Farhadi 2017), by k-means with 1 - IoU of the shapes
    as the distance: in Euclidean distance large boxes would count for more than small ones. It
    starts from the boxes that are most similar to all others, chosen one after the other and not
    at random, so the same boxes in the same order always give the same anchors. The order matters
    only for different shapes of equal area.
    """
    ranked = sizes[sizes.prod(dim=-1).argsort(stable=True)]
    ranked = ranked[:: -(-len(ranked) // MAX_SHAPES)]
    similarity = shape_iou(ranked, ranked)  # (N, N)
    anchors, best = sizes.new_zeros(count, 2), sizes.new_zeros(len(ranked), 1)
    for anchor in anchors:
        start = torch.maximum(similarity, best).sum(dim=0).argmax()
        anchor[:] = ranked[start]
        best = torch.maximum(best, similarity[:, start, None])
    for _ in range(MAX_ROUNDS):
        nearest = shape_iou(ranked, anchors).argmax(dim=1)  # (N,)
        means = anchors.clone()
        for place in set(nearest.tolist()):  # an anchor without boxes stays as it is
            means[place] = ranked[nearest == place].mean(dim=0)
        if torch.equal(means, anchors):
            break
        anchors = means
    return anchors[anchors.prod(dim=-1).argsort(stable=True)]


def non_max_suppression(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    *,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> torch.Tensor:
    """Return the indices of the boxes to keep, the best first, at most ``max_detections``.

    A detector finds each defect many times. Non-maximum suppression keeps the box of the highest
    score and drops those of the same class that overlap it by more than ``nms_iou``, then continues
    with the best of the rest. Boxes below ``score_threshold`` are dropped first.
    """
    (candidates,) = torch.nonzero(scores >= score_threshold, as_tuple=True)
    order = scores[candidates].argsort(descending=True, stable=True)
    candidates = candidates[order[:MAX_CANDIDATES]]
    kept = batched_nms(boxes[candidates], scores[candidates], labels[candidates], nms_iou)
    chosen: torch.Tensor = candidates[kept[:max_detections]]
    return chosen
