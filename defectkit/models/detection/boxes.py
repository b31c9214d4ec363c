"""Box geometry that torchvision.ops lacks: what a wrong box costs, anchors, thinning out.

Boxes are (N, 4) float32 of x0, y0, x1, y1, half-open.
"""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms, generalized_box_iou_loss

BoxLoss = Literal["smooth_l1", "l1", "l2", "giou"]

MOST_ROUNDS = 100
"""k-means ends here at the latest; a few hundred boxes settle in about ten rounds."""
MOST_SHAPES = 1024
"""Of more boxes every second, third ... by area shows the shapes just as well."""
MOST_CANDIDATES = 1000
"""So many of the best boxes go into suppression, whose work grows with their square."""


def box_loss(predicted: torch.Tensor, true: torch.Tensor, *, kind: BoxLoss) -> torch.Tensor:
    """Return what each predicted box costs, (...) for boxes (..., 4) of any equal unit.

    ``l1``, ``l2`` (squared) and ``smooth_l1`` (Girshick 2015) are summed over the four coordinates
    and grow with the unit, so it should be about the size of an image or a box. ``giou``
    (Rezatofighi et al. 2019) lies in [0, 2] whatever the unit: 1 - IoU, and more where the boxes
    lie apart.
    """
    match kind:
        case "l1":
            return (predicted - true).abs().sum(dim=-1)
        case "l2":
            return (predicted - true).square().sum(dim=-1)
        case "smooth_l1":
            return F.smooth_l1_loss(predicted, true, reduction="none").sum(dim=-1)
        case "giou":
            loss: torch.Tensor = generalized_box_iou_loss(predicted, true)
            return loss
        case unknown:
            assert_never(unknown)


def shape_iou(sizes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the IoU of (N, 2) and (M, 2) widths and heights on the same center, (N, M)."""
    shared = torch.minimum(sizes[:, None], others).prod(dim=-1)  # (N, M)
    return shared / (sizes.prod(dim=-1)[:, None] + others.prod(dim=-1) - shared)


def anchor_shapes(sizes: torch.Tensor, count: int) -> torch.Tensor:
    """Return ``count`` typical shapes of (N, 2) widths and heights, N > 0, by area: (count, 2).

    Anchors are the shapes from which a detector starts: it says only how a box differs from one.
    They are found as in YOLO9000 (Redmon and Farhadi 2017), by k-means whose distance is 1 - IoU
    of the shapes: with plain distances large boxes would count for more than small ones. It starts
    from the boxes that are most like all others, chosen one after the other and not at random, so
    the same boxes always give the same anchors.
    """
    ranked = sizes[sizes.prod(dim=-1).argsort(stable=True)]
    ranked = ranked[:: -(-len(ranked) // MOST_SHAPES)]
    likeness = shape_iou(ranked, ranked)  # (N, N)
    anchors, best = sizes.new_zeros(count, 2), sizes.new_zeros(len(ranked), 1)
    for anchor in anchors:
        start = torch.maximum(likeness, best).sum(dim=0).argmax()
        anchor[:] = ranked[start]
        best = torch.maximum(best, likeness[:, start, None])
    for _ in range(MOST_ROUNDS):
        nearest = shape_iou(ranked, anchors).argmax(dim=1)  # (N,)
        means = anchors.clone()
        for place in set(nearest.tolist()):  # an anchor without boxes stays as it is
            means[place] = ranked[nearest == place].mean(dim=0)
        if torch.equal(means, anchors):
            break
        anchors = means
    return anchors[anchors.prod(dim=-1).argsort(stable=True)]


def keep_best(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    *,
    nms_iou: float,
    score_threshold: float,
    max_detections: int,
) -> torch.Tensor:
    """Return the indices of the boxes worth keeping, the best first, at most ``max_detections``.

    A detector marks each defect many times. Non-maximum suppression keeps the most confident box
    and drops those of the same class that overlap it by more than ``nms_iou``, then goes on with
    the most confident of the rest. Boxes below ``score_threshold`` are left out before.
    """
    (good,) = torch.nonzero(scores >= score_threshold, as_tuple=True)
    good = good[scores[good].argsort(descending=True, stable=True)[:MOST_CANDIDATES]]
    kept = batched_nms(boxes[good], scores[good], labels[good], nms_iou)
    chosen: torch.Tensor = good[kept[:max_detections]]
    return chosen
