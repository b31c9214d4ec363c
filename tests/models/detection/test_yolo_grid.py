import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import learn
from torchvision.ops import box_iou

from defectkit.models.detection.yolo_grid import (
    BACKGROUND,
    CENTER_REACH,
    IGNORED,
    YoloGrid,
    build_yolo_grid,
)


def build(**changes: object) -> YoloGrid:
    torch.manual_seed(0)
    options: dict = {
        "encoder": "test_efficientnet", "in_channels": 1, "n_classes": 2, "state": None,
        "cell_size": 16, "n_anchors": 3, "box_loss": "giou", "box_loss_weight": 2.0, "nms_iou": 0.4,
        "score_threshold": 0.05, "max_detections": 100,
    }  # fmt: skip
    return build_yolo_grid(**{**options, **changes})


NETWORK = build().eval()
NETWORK.set_anchors(torch.tensor([[12.0, 12.0], [40.0, 16.0], [60.0, 70.0]]))


def target(*boxes: tuple[float, ...], labels: list[int] | None = None) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
    }


@st.composite
def true_boxes(draw, side: int = 128) -> torch.Tensor:
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        x0, y0 = draw(st.integers(0, side - 2)), draw(st.integers(0, side - 2))
        x1, y1 = draw(st.integers(x0 + 1, side)), draw(st.integers(y0 + 1, side))
        boxes.append([x0, y0, x1, y1])
    return torch.tensor(boxes, dtype=torch.float32)


# --- places, coding, matching -------------------------------------------------------------------


def test_places_are_the_cells_row_by_row_with_all_anchors_each():
    centers, sizes = NETWORK._grid(2, 3)
    assert centers[::3].tolist() == [[8, 8], [24, 8], [40, 8], [8, 24], [24, 24], [40, 24]]
    assert (centers.reshape(6, 3, 2) == centers.reshape(6, 3, 2)[:, :1]).all()
    assert sizes.reshape(6, 3, 2).tolist() == [NETWORK.anchors.tolist()] * 6


def test_zeros_decode_to_the_anchor_in_the_middle_of_its_cell():
    centers, sizes = NETWORK._grid(4, 4)
    boxes = NETWORK.decode(torch.zeros(1, len(centers), 4), centers, sizes)[0]
    torch.testing.assert_close((boxes[:, :2] + boxes[:, 2:]) / 2, centers)
    torch.testing.assert_close(boxes[:, 2:] - boxes[:, :2], sizes)


@given(true_boxes())
def test_every_place_can_say_the_truth_that_it_is_given(boxes):
    centers, sizes = NETWORK._grid(8, 8)
    matches = NETWORK.match(boxes, centers, sizes)
    here = matches >= 0
    true = boxes[matches[here]]
    # The code by its definition, solved for the numbers of the network.
    offsets = ((true[:, :2] + true[:, 2:]) / 2 - centers[here]) / NETWORK.cell_size
    assert (offsets.abs() < CENTER_REACH).all()
    ratios = ((true[:, 2:] - true[:, :2]) / sizes[here]).log()
    coded = torch.zeros(len(centers), 4)
    coded[here] = torch.cat([torch.logit((offsets + 1) / 2), ratios], dim=1)
    decoded = NETWORK.decode(coded, centers, sizes)[here]
    in_range = (ratios.abs() < 2.7).all(dim=1)
    torch.testing.assert_close(decoded[in_range], true[in_range], atol=1e-2, rtol=1e-3)


@settings(max_examples=20)
@given(true_boxes())
def test_matching_against_its_rules_written_out(boxes):
    centers, sizes = NETWORK._grid(8, 8)
    matches = NETWORK.match(boxes, centers, sizes).tolist()
    anchored = torch.cat([centers - sizes / 2, centers + sizes / 2], dim=1)
    overlaps = box_iou(boxes, anchored)
    shapes = NETWORK.anchors
    for place, match in enumerate(matches):
        claims = {}
        for index, box in enumerate(boxes):
            center, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            near = (center - centers[place]).abs().max() < 0.75 * 16
            centered = box_iou(torch.cat([-size, size])[None], torch.cat([-shapes, shapes], dim=1))[
                0
            ]
            likeness = centered[place % len(shapes)]
            if near and (likeness >= 0.5 or likeness == centered.max()):
                claims[index] = overlaps[index, place]
        if claims:
            assert overlaps[match, place] == max(claims.values())
            assert match in claims
        else:
            expected = IGNORED if overlaps[:, place].max() >= 0.5 else BACKGROUND
            assert match == expected


@given(true_boxes().filter(lambda boxes: len(boxes) == 1))
def test_a_lone_truth_is_found_in_the_cell_of_its_center_at_least(boxes):
    centers, sizes = NETWORK._grid(8, 8)
    matches = NETWORK.match(boxes, centers, sizes).reshape(8, 8, 3)
    x, y = ((boxes[0, :2] + boxes[0, 2:]) / 2 / 16).long().tolist()
    assert (matches[y, x] == 0).any()


def test_without_truth_all_is_background():
    assert (NETWORK.match(torch.zeros(0, 4), *NETWORK._grid(2, 2)) == BACKGROUND).all()


# --- loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["giou", "l1", "l2", "smooth_l1"])
def test_images_without_a_defect_teach_objectness_alone(loss):
    network = build(box_loss=loss).train()
    images = torch.randint(0, 256, (2, 1, 64, 96), dtype=torch.uint8)
    terms = network(images, [target(), target()])
    assert terms["box"].item() == terms["class"].item() == 0
    sum(terms.values()).backward()
    gradient = network.head.weight.grad.reshape(3, 7, -1)
    assert gradient[:, 4].abs().sum() > 0
    assert gradient[:, :4].abs().sum() == gradient[:, 5:].abs().sum() == 0


def test_the_weight_counts_for_the_box_alone():
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    light, heavy = (
        build(box_loss_weight=weight).train()(images, [target((10, 12, 30, 40))])
        for weight in (1.0, 3.0)
    )
    assert heavy["box"].item() == pytest.approx(3 * light["box"].item(), rel=1e-5)
    assert heavy["objectness"].item() == pytest.approx(light["objectness"].item(), rel=1e-5)
    assert heavy["class"].item() == pytest.approx(light["class"].item(), rel=1e-5)


def test_ignored_places_have_no_loss():
    network = build().train()
    network.set_anchors(torch.tensor([[120.0, 120.0]] * 3))
    truth = target((4, 4, 124, 124))
    raw = torch.zeros(1, 8 * 8 * 3, 7, requires_grad=True)
    centers, sizes = network._grid(8, 8)
    matches = network.match(truth["boxes"], centers, sizes)[None]
    assert (matches == IGNORED).any()
    boxes = network.decode(raw[..., :4], centers, sizes)
    sum(network._losses(raw, boxes, matches, sizes, [truth]).values()).backward()
    assert (raw.grad[matches == IGNORED] == 0).all()
    assert (raw.grad[matches == BACKGROUND][:, 4] > 0).all()
    assert (raw.grad[matches >= 0][:, 4] < 0).all()


def scene() -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    images = torch.full((2, 1, 96, 96), 100.0)
    images[0, :, 20:44, 8:40] = 220
    images[0, :, 60:80, 60:84] = 20
    images[1, :, 50:70, 30:54] = 20
    return images, [
        target((8, 20, 40, 44), (60, 60, 84, 80), labels=[0, 1]),
        target((30, 50, 54, 70), labels=[1]),
    ]


@pytest.mark.parametrize("cell", [8, 16, 32])
def test_one_batch_is_learned_by_heart(cell):
    images, targets = scene()
    network = build(cell_size=cell).train()
    sizes = torch.cat([one["boxes"][:, 2:] - one["boxes"][:, :2] for one in targets])
    network.set_anchors(sizes)

    def loss():
        return sum(network(images, targets).values())

    for batch_norm in network.modules():  # two images are too few for statistics of their own
        if isinstance(batch_norm, torch.nn.BatchNorm2d):
            batch_norm.momentum = 1.0

    def learned():
        with torch.inference_mode():
            network(images)
            found = network.eval()(images)
        return all(map(finds_its_boxes, found, targets))

    learn(network, loss, lr=5e-3, below=0.2, max_steps=400, learned=learned)


def finds_its_boxes(found, truth) -> bool:
    sure = found.scores > 0.5
    if sure.sum() != len(truth["boxes"]):
        return False
    overlaps = box_iou(truth["boxes"], found.boxes[sure])
    labels = found.labels[sure][overlaps.argmax(dim=1)]
    return bool((overlaps.max(dim=1).values > 0.7).all()) and torch.equal(labels, truth["labels"])


# --- forward, state -----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("cell", [8, 16, 32])
def test_detections_of_images_of_any_size_lie_inside(cell, classes, channels):
    network = build(
        cell_size=cell,
        n_classes=classes,
        in_channels=channels,
        score_threshold=0.0,
        max_detections=7,
    )
    with torch.inference_mode():
        found = network.eval()(torch.randint(0, 256, (2, channels, 64, 160), dtype=torch.uint8))
    assert len(found) == 2
    for one in found:
        assert one.boxes.shape == (7, 4)
        assert one.boxes.min() >= 0
        assert one.boxes[:, 2].max() <= 160
        assert one.boxes[:, 3].max() <= 64
        assert (one.scores.diff() <= 0).all()
        assert one.scores.max() < 0.05  # nothing is held to be a defect before training
        assert one.labels.max() < classes


def test_nothing_is_found_before_training():
    with torch.inference_mode():
        (found,) = NETWORK(torch.zeros(1, 1, 64, 64))
    assert found.boxes.shape == (0, 4)


def test_the_anchors_travel_with_the_weights():
    network = build()
    assert not torch.equal(network.anchors, NETWORK.anchors)
    network.load_state_dict(NETWORK.state_dict())
    assert torch.equal(network.anchors, NETWORK.anchors)
    assert {"anchors", "mean", "std"} <= set(network.state_dict())


def test_the_encoder_is_known_only_where_it_has_pretrained_weights():
    assert NETWORK.encoder is None
    state = {k.removeprefix("features."): v for k, v in NETWORK.state_dict().items()
             if k.startswith("features.")}  # fmt: skip
    network = build(state=state)
    assert network.encoder is network.features
    assert 0 < len(network.lowest_stages(2)) < len(list(network.features.modules()))
    assert not [key for key in network.state_dict() if key.startswith("_encoder")]
    torch.testing.assert_close(network.features.conv_stem.weight, NETWORK.features.conv_stem.weight)


def test_boxes_scores_and_losses_are_in_32_bits_in_reduced_precision():
    network, images = build(), torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train()(images, [target((4, 4, 20, 30)), target()])
        with torch.inference_mode():
            found = network.eval()(images)
    values = [*losses.values(), *(part for one in found for part in (one.boxes, one.scores))]
    assert {one.dtype for one in values} == {torch.float32}
