from itertools import chain

import pytest
import torch
from scenes import scenes
from torchvision.models.detection import _utils
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from defectkit.models.detection.rcnn.build import build_rcnn
from defectkit.models.detection.torchvision_adapters import (
    HARD_NEGATIVES,
    Anchors,
    from_torchvision_detections,
    to_torchvision_targets,
)
from defectkit.models.detection.torchvision_detectors import build_detector


def test_labels_move_up_and_down_and_flat_boxes_go():
    boxes = torch.tensor([[1.0, 2, 5, 9], [3, 3, 3, 8], [0, 4, 6, 4], [2, 2, 4, 4]])
    target = {"boxes": boxes, "labels": torch.arange(4), "masks": torch.arange(4)[:, None, None]}
    (one,) = to_torchvision_targets([target], first_label=1)
    assert one["labels"].tolist() == [1, 4]
    assert one["masks"].flatten().tolist() == [0, 3]
    assert target["labels"].tolist() == [0, 1, 2, 3]  # the caller's own stay as they are
    found = from_torchvision_detections(
        {**target, "scores": torch.tensor([0.9, 0.8, 0.7, 0.6])}, first_label=0
    )
    assert found.labels.tolist() == [0, 3]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert torch.equal(found.boxes, boxes[[0, 3]])


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 32)])
def test_anchors_lie_at_the_true_strides(size):
    strides = (8, 16, 32, 64)
    anchors = Anchors(strides, [(10.0,), (20.0,), (40.0,), (80.0,)], ratios=(1.0,))
    maps = [torch.zeros(1, 1, -(-size[0] // s), -(-size[1] // s)) for s in strides]
    (boxes,) = anchors(ImageList(torch.zeros(1, 1, *size), [size]), maps)
    expected = [
        [x * s - side / 2, y * s - side / 2, x * s + side / 2, y * s + side / 2]
        for s, side, one in zip(strides, (10, 20, 40, 80), maps, strict=True)
        for y in range(one.shape[2])
        for x in range(one.shape[3])
    ]
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))


def test_anchors_of_one_size_have_one_area_and_three_shapes():
    anchors = Anchors((8,), [(32.0,)])
    (boxes,) = anchors(ImageList(torch.zeros(1, 1, 8, 8), [(8, 8)]), [torch.zeros(1, 1, 1, 1)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    torch.testing.assert_close(width * height, torch.full((3,), 1024.0), rtol=0.05, atol=0)
    torch.testing.assert_close(height / width, torch.tensor([0.5, 1, 2]), rtol=0.05, atol=0)


def ssd():
    torch.manual_seed(0)
    return build_detector(
        architecture="ssd", encoder="resnet18", in_channels=1, n_classes=2, state=None,
        anchor_sizes=(16.0, 32.0), nms_iou=0.4, score_threshold=0.05, max_detections=10,
    ).detector  # fmt: skip


def test_ssd_learns_from_the_hardest_anchors_of_good_images():
    body = ssd()
    logits = torch.randn(2, 50, 3)
    outputs = {"cls_logits": logits, "bbox_regression": torch.zeros(2, 50, 4)}
    anchors = [torch.tensor([[0.0, 0, 8, 8]]).repeat(50, 1)] * 2
    true = {"boxes": torch.tensor([[0.0, 0, 8, 8]]), "labels": torch.tensor([1])}
    good = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    found, missed = torch.full((50,), -1), torch.full((50,), -1)
    found[:2] = 0

    def term(targets, matched):
        return body.compute_loss(targets, outputs, anchors, matched)["classification"]

    both = term([true, good], [found, missed])
    one = term([true, true], [found, missed])  # torchvision's own: no place of the second counts
    costs = -logits[1].softmax(dim=1)[:, 0].log()
    expected = costs.sort(descending=True).values[:HARD_NEGATIVES].sum() / 2
    torch.testing.assert_close(both - one, expected)


# --- in reduced precision -----------------------------------------------------------------------

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


def detector(architecture):
    torch.manual_seed(0)
    options = {
        "architecture": architecture, "encoder": "resnet18", "in_channels": 1, "n_classes": 2,
        "state": None, "nms_iou": 0.4, "score_threshold": 0.0, "max_detections": 10,
    }  # fmt: skip
    if architecture in ("fast_rcnn", "rcnn"):
        return build_rcnn(**options)
    return build_detector(**options, anchor_sizes=(12.0, 24.0))


@pytest.fixture
def decoded(monkeypatch):
    """Give the boxes (N, 4) that the coders of torchvision decode, as a list that grows."""
    boxes = []
    for coder, name in ((_utils.BoxCoder, "decode_single"), (_utils.BoxLinearCoder, "decode")):
        decode = getattr(coder, name)

        def watched(*args, decode=decode, **kwargs):
            found = decode(*args, **kwargs)
            boxes.append(found.detach().reshape(-1, 4))
            return found

        monkeypatch.setattr(coder, name, watched)
    return boxes


def test_anchors_are_exact_for_maps_in_bfloat16():
    anchors = Anchors((4,), [(12.0,)], ratios=(1.0,))
    images, maps = ImageList(torch.zeros(1, 1, 8, 1024), [(8, 1024)]), torch.zeros(1, 1, 2, 256)
    (exact,), (reduced,) = anchors(images, [maps]), anchors(images, [maps.bfloat16()])
    assert torch.equal(exact, reduced)
    # What the protection is for: along one axis alone, boxes of 12 pixels lose a third.
    assert box_iou(exact, exact.bfloat16().float()).diagonal().min() < 0.67


def test_a_perfect_proposal_is_perfect_in_reduced_precision(decoded):
    network = detector("faster_rcnn").eval()
    last = network.detector.rpn.head.bbox_pred
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)  # every proposal is its anchor
    images = torch.full((1, 1, 32, 1024), 128, dtype=torch.uint8)
    with torch.inference_mode():
        network(images)
        exact = decoded[0]
        decoded.clear()
        with torch.autocast(**BF16):
            network(images)
    inside = (exact[:, 0] > 490) & (exact[:, 2] < 520)
    assert inside.sum() > 10
    assert box_iou(decoded[0][inside], exact[inside]).diagonal().min() > 0.999


@pytest.mark.parametrize(
    "architecture", ["faster_rcnn", "mask_rcnn", "ssd", "retinanet", "fcos", "fast_rcnn", "rcnn"]
)
def test_boxes_scores_and_losses_are_in_32_bits_in_reduced_precision(architecture, decoded):
    network, (images, targets) = detector(architecture), scenes(1, (1, 2))
    features = []
    network.features.register_forward_hook(lambda _, __, maps: features.extend(maps))
    with torch.autocast(**BF16):
        losses = network.train()(images, targets)
        with torch.inference_mode():
            found = network.eval()(images)
    assert {one.dtype for one in features} == {torch.bfloat16}  # the encoder is where time goes
    parts = chain.from_iterable((one.boxes, one.scores) for one in found)
    assert {one.dtype for one in chain(decoded, parts, losses.values())} == {torch.float32}
    assert decoded
