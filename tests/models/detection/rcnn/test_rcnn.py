import math
from itertools import count

import pytest
import torch
from scenes import scenes
from torchvision.ops import box_iou

from defectkit.models.detection.rcnn.build import build_rcnn
from defectkit.models.detection.rcnn.proposals import propose_boxes_torch
from defectkit.models.detection.rcnn.rcnn import CONTEXT, FITTED_IMAGES, WARPED_SIDE


def build(**options):
    torch.manual_seed(0)
    options = {
        "nms_iou": 0.4,
        "score_threshold": 0.05,
        "max_detections": 20,
        "n_classes": 2,
        **options,
    }
    return build_rcnn(architecture="rcnn", encoder="resnet18", in_channels=1, state=None, **options)


def detect(network, images):
    with torch.inference_mode():
        return network.eval()(images)


@pytest.fixture(scope="module")
def fitted():
    """R-CNN with random features, fitted to scenes of both classes."""
    network = build()
    network.fit_after_epoch(scenes(seed, (1, 1, 2, 0)) for seed in range(8))
    return network


def test_nothing_is_found_before_the_machines_are_fitted():
    images, _ = scenes(0, (2, 1))
    assert [len(one.boxes) for one in detect(build(), images)] == [0, 0]


def test_the_machines_tell_classes_even_on_random_features(fitted):
    images, targets = scenes(50, (1, 1, 1, 1, 0, 0))
    found = detect(fitted, images)
    for one, target in zip(found[:4], targets, strict=False):
        assert one.scores[0] > 0.5
        assert one.labels[0] == target["labels"][0]
        assert box_iou(one.boxes[:1], target["boxes"]) > 0.5
    assert all((one.scores < 0.5).all() for one in found[4:])


def test_a_fit_depends_on_its_samples_alone(fitted):
    again = build()
    again.fit_after_epoch([scenes(20, (1, 1, 0))])  # forgotten by the next
    again.fit_after_epoch(scenes(seed, (1, 1, 2, 0)) for seed in range(8))
    torch.testing.assert_close(again.machines, fitted.machines)
    torch.testing.assert_close(again.movers, fitted.movers)


def test_a_class_that_does_not_occur_is_not_found():
    network = build(n_classes=3, score_threshold=0.0, nms_iou=1.0, max_detections=10_000)
    batches = [scenes(seed, (1, 1)) for seed in range(2)]
    network.fit_after_epoch(batches)
    (one,) = detect(network, batches[0][0][:1])
    assert one.scores[one.labels == 2].max() < 1e-6
    network.fit_after_epoch([scenes(0, (0, 0))])
    assert detect(network, batches[0][0])[0].scores.max() < 1e-6
    network.fit_after_epoch([])
    assert detect(network, batches[0][0])[0].scores.max() < 1e-6


def test_a_fit_takes_a_bounded_number_of_images():
    network, seen = build(), []
    image = torch.full((16, 1, 40, 40), 100, dtype=torch.uint8)
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}

    def forever():
        for place in count():
            seen.append(place)
            yield image, [none] * 16

    network.fit_after_epoch(forever())
    assert len(seen) == FITTED_IMAGES // 16 + (FITTED_IMAGES % 16 > 0)


def test_examples_are_the_truth_against_what_is_far_from_it():
    images, targets = scenes(4, (2,))
    truth = {name: targets[0][name] for name in ("boxes", "labels")}
    truth["labels"] = torch.tensor([0, 1])
    with torch.no_grad():
        pooled, signs, deltas, labels = build().eval()._examples(images[0], truth)
    assert len(pooled) == len(signs) == len(deltas) == len(labels) > 3
    assert signs[:2].tolist() == [[1, -1], [-1, 1]]
    assert ((signs[2:] == 0) | (signs[2:] == -1)).all()
    assert (labels[:2] == -1).all()
    assert (signs == 0).any()
    near = labels >= 0
    assert near.any()
    # No proposal near a defect of a class is an example against the class.
    assert (signs[near, labels[near]] == 0).all()
    # A proposal moved by its deltas is the truth (Girshick et al. 2014, appendix C).
    proposals = torch.cat([truth["boxes"], propose_boxes_torch(images[0])])
    best = box_iou(proposals, truth["boxes"]).max(dim=1).values
    for delta, label in zip(deltas[near], labels[near], strict=True):
        moved = [move(box, delta) for box in proposals[best >= 0.6]]
        assert any(torch.allclose(box, truth["boxes"][label], atol=1e-3) for box in moved)


def move(box, delta):
    center, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    center, size = center + size * delta[:2], size * delta[2:].exp()
    return torch.cat([center - size / 2, center + size / 2])


def test_the_box_regressor_moves_the_proposals():
    network = build(nms_iou=1.0, max_detections=10_000)
    delta = torch.tensor([0.1, -0.05, math.log(0.8), math.log(0.9)])
    network.machines[1, -1], network.movers[1, :, -1] = 2.0, delta
    images, _ = scenes(5, (1,))
    (one,) = detect(network, images)
    moved = torch.stack([move(box, delta) for box in propose_boxes_torch(images[0])]).clamp(0, 64)
    assert set(one.labels.tolist()) == {1}
    torch.testing.assert_close(one.scores, torch.full_like(one.scores, 0.880797))
    assert len(one.boxes) == len(moved)
    apart = (moved[:, None] - one.boxes).abs().amax(dim=2)
    assert (apart.min(dim=1).values < 1e-3).all()


def test_a_region_is_warped_with_a_little_around_it():
    network, seen = build().eval(), []
    network.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.zeros(1, 1, 80, 100, dtype=torch.uint8)
    image[:, :, 20:48, 30:86] = 255
    boxes = torch.tensor([[30.0, 20, 86, 48], [0, 0, 100, 80]])
    with torch.no_grad():
        network._pooled_features(image, [boxes])
    region, whole = seen[0][:, 0]
    assert region.shape == (WARPED_SIDE, WARPED_SIDE)
    bright, dark = network.normalize(torch.tensor([255, 0]))
    inner = region[CONTEXT + 1 : -CONTEXT - 1, CONTEXT + 1 : -CONTEXT - 1]
    torch.testing.assert_close(inner, bright.expand_as(inner))
    for side in (region, region.T, region.flip(0), region.T.flip(0)):
        torch.testing.assert_close(side[: CONTEXT - 1], dark.expand_as(side[: CONTEXT - 1]))
    # Beyond the image there is only the mean.
    assert (whole[: CONTEXT - 2] == 0).all()
    row = whole[CONTEXT + 1, CONTEXT + 1 : -CONTEXT - 1]
    torch.testing.assert_close(row, dark.expand_as(row))


def test_images_of_any_size():
    network = build(score_threshold=0.0)
    for height, width in ((17, 90), (1, 1), (60, 33)):
        image = torch.randint(0, 256, (1, 1, height, width), dtype=torch.uint8)
        (one,) = detect(network, image)
        assert len(one.boxes)
        assert (one.boxes <= torch.tensor([width, height] * 2)).all()


def test_a_training_step_sees_one_defect_in_four_regions():
    network = build().train()
    images, targets = scenes(6, (1,), side=96)
    target = {**targets[0], "labels": targets[0]["labels"] + 1}
    for _ in range(5):
        boxes, labels = network._sample(images[0], target)
        assert len(boxes) == len(labels) <= 16
        defects = labels > 0
        assert 1 <= defects.sum() <= 4
        iou = box_iou(boxes, target["boxes"])[:, 0]
        assert (iou[defects] >= 0.5).all()
        assert (iou[~defects] < 0.5).all()
