import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from defectkit.models.detection.boxes import (
    box_regression_loss,
    cluster_anchors,
    non_max_suppression,
    shape_iou,
)

sides = st.floats(1.0, 300.0, width=32)
shapes = st.lists(st.tuples(sides, sides), min_size=1, max_size=12).map(torch.tensor)


@given(shapes, shapes)
def test_shape_iou_is_the_iou_of_boxes_on_one_center(sizes, others):
    one, two = (torch.cat([-half / 2, half / 2], dim=1) for half in (sizes, others))
    torch.testing.assert_close(shape_iou(sizes, others), box_iou(one, two), rtol=1e-4, atol=1e-5)


@given(shapes, st.integers(1, 6))
def test_anchors_do_not_depend_on_the_order_of_the_boxes_and_ascend(sizes, count):
    # Of different shapes with one area the first comes first: there the order counts.
    assume(len(set(sizes.prod(dim=1).tolist())) == len(set(map(tuple, sizes.tolist()))))
    anchors = cluster_anchors(sizes, count)
    assert anchors.shape == (count, 2)
    torch.testing.assert_close(cluster_anchors(sizes.flip(0), count).sort(dim=0).values,
                               anchors.sort(dim=0).values, rtol=1e-3, atol=1e-3)  # fmt: skip
    areas = anchors.prod(dim=1)
    assert (areas.diff() >= -1e-3 * areas[1:]).all()
    assert (anchors.amin(dim=0) >= sizes.amin(dim=0) - 1e-3).all()
    assert (anchors.amax(dim=0) <= sizes.amax(dim=0) + 1e-3).all()


def test_anchors_are_the_shapes_that_boxes_cluster_in():
    rng = np.random.default_rng(3)
    kinds = torch.tensor([[8.0, 8.0], [10.0, 60.0], [60.0, 10.0], [120.0, 100.0]])
    sizes = kinds.repeat(50, 1) * torch.from_numpy(rng.uniform(0.9, 1.1, (200, 2))).float()
    anchors = cluster_anchors(sizes, 4)
    best = shape_iou(kinds, anchors).max(dim=1)
    assert best.values.min() > 0.95
    assert best.indices.unique().tolist() == [0, 1, 2, 3]


def test_small_boxes_count_as_much_as_large_ones():
    """With plain distances the few pixels between 4 and 8 would vanish beside 200 and 260."""
    sizes = torch.tensor([[4.0, 4.0], [8.0, 8.0], [200.0, 200.0], [230.0, 230.0], [260.0, 260.0]])
    anchors = cluster_anchors(sizes, 3)
    torch.testing.assert_close(anchors, torch.tensor([[4.0, 4], [8, 8], [230, 230]]))


def test_more_anchors_than_boxes():
    anchors = cluster_anchors(torch.tensor([[5.0, 7.0]]), 3)
    assert anchors.tolist() == [[5.0, 7.0]] * 3


def random_boxes(*shape: int) -> torch.Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(len(shape)))
    low, high = corners.amin(dim=-2), corners.amax(dim=-2)
    return torch.cat([low, high + 0.05], dim=-1)


def test_box_losses_by_hand():
    predicted, true = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0.5, 4, 7]])
    assert box_regression_loss(predicted, true, kind="l1").tolist() == [3.5]
    assert box_regression_loss(predicted, true, kind="l2").tolist() == [9.25]
    assert box_regression_loss(predicted, true, kind="smooth_l1").tolist() == [0.125 + 2.5]
    predicted, true = random_boxes(5), random_boxes(5).flip(0)
    expected = 1 - generalized_box_iou(predicted, true).diagonal()
    torch.testing.assert_close(box_regression_loss(predicted, true, kind="giou"), expected)


@pytest.mark.parametrize("kind", ["l1", "l2", "smooth_l1", "giou"])
def test_a_right_box_costs_nothing_and_batches_keep_their_shape(kind):
    boxes = random_boxes(2, 3)
    loss = box_regression_loss(boxes, boxes, kind=kind)
    torch.testing.assert_close(loss, torch.zeros(2, 3), atol=1e-5, rtol=0)
    assert (box_regression_loss(boxes, boxes.flip(1), kind=kind)[:, [0, 2]] > 0).all()
    assert box_regression_loss(boxes[:, :0], boxes[:, :0], kind=kind).shape == (2, 0)


def suppress_by_hand(boxes, scores, labels, nms_iou, score_threshold, most) -> list[int]:
    """The textbook's rule, one box after the other; no two boxes overlap by ``nms_iou`` exactly."""
    waiting = sorted(
        (i for i in range(len(boxes)) if scores[i] >= score_threshold), key=lambda i: -scores[i]
    )
    overlaps = box_iou(boxes, boxes)
    kept: list[int] = []
    for index in waiting:
        if all(labels[k] != labels[index] or overlaps[k, index] <= nms_iou for k in kept):
            kept.append(index)
    return kept[:most]


@given(st.integers(0, 30), st.integers(0, 2**16), st.sampled_from([0.2037, 0.4963, 1.0]),
       st.sampled_from([0.0, 0.4]), st.sampled_from([1, 5, 100]))  # fmt: skip
def test_suppression_against_the_textbook(count, seed, nms_iou, score_threshold, most):
    rng = np.random.default_rng(seed)
    corners = torch.from_numpy(rng.integers(0, 12, (count, 2))).float()
    boxes = torch.cat([corners, corners + torch.from_numpy(rng.integers(3, 9, (count, 2)))], dim=1)
    scores = torch.from_numpy(rng.permutation(count) / max(count, 1)).float()
    labels = torch.from_numpy(rng.integers(0, 2, count))
    kept = non_max_suppression(
        boxes, scores, labels, nms_iou=nms_iou, score_threshold=score_threshold, max_detections=most
    ).tolist()
    assert kept == suppress_by_hand(boxes, scores, labels, nms_iou, score_threshold, most)
    assert all(scores[a] >= scores[b] for a, b in itertools.pairwise(kept))
