import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import learn
from torchvision.ops import box_iou

from defectkit.models.detection.boxes import box_regression_loss
from defectkit.models.detection.localizer import (
    Localizer,
    _cell_centers,
    _center_weights,
    build_localizer,
)


def build(**changes: object) -> Localizer:
    torch.manual_seed(0)
    options: dict = {
        "encoder": "test_efficientnet", "in_channels": 1, "n_classes": 2, "state": None,
        "box_loss": "giou", "box_loss_weight": 2.0,
    }  # fmt: skip
    return build_localizer(**{**options, **changes})


def target(*boxes: tuple[float, ...], labels: list[int] | None = None) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
    }


def pictures(count: int, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = (count, channels, 64, 96)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("loss", ["giou", "l1", "l2", "smooth_l1"])
def test_images_without_a_defect_have_no_box_loss(loss):
    network = build(box_loss=loss).train()
    terms = network(pictures(2), [target(), target()])
    assert terms["box"].item() == terms["place"].item() == 0
    sum(terms.values()).backward()
    assert network.sides.weight.grad.abs().max() == network.sides.bias.grad.abs().max() == 0
    assert network.classes.weight.grad.abs().max() > 0


@pytest.mark.parametrize("loss", ["giou", "l1", "l2", "smooth_l1"])
def test_good_images_beside_a_defective_one_leave_its_box_loss_as_it_is(loss):
    network = build(box_loss=loss).eval()  # batch statistics would couple the images
    images, truth = pictures(3), target((10, 12, 40, 50))
    (alone,) = [network(images[:1], [truth])["box"]]
    together = network(images, [truth, target(), target()])["box"]
    torch.testing.assert_close(together, alone)
    assert alone > 0


def test_the_weight_counts_for_the_box_alone():
    truth = [target((10, 12, 40, 50)), target()]
    light, heavy = (
        build(box_loss_weight=weight).eval()(pictures(2), truth) for weight in (1.0, 3.0)
    )
    torch.testing.assert_close(heavy["box"], 3 * light["box"])
    torch.testing.assert_close(heavy["class"], light["class"])
    torch.testing.assert_close(heavy["place"], light["place"])


@given(st.integers(0, 94), st.integers(0, 62), st.integers(1, 96), st.integers(1, 64))
def test_the_cells_in_the_middle_of_a_box_share_it(x, y, width, height):
    box = torch.tensor([[x / 96, y / 64, min(x + width, 96) / 96, min(y + height, 64) / 64]])
    centers = _cell_centers(4, 6)
    (share,) = _center_weights(box, centers)
    assert share.sum() == pytest.approx(1)
    assert len(share[share > 0].unique()) == 1
    center, half = (box[0, :2] + box[0, 2:]) / 2, (box[0, 2:] - box[0, :2]) / 2
    for middle, part in zip(centers, share, strict=True):
        assert part > 0 or ((middle - center).abs() > half / 2).any()
        within_a_cell = ((middle - center).abs() <= torch.tensor([1 / 6, 1 / 4]) / 2 + 1e-4).all()
        assert part == 0 or within_a_cell or ((middle - center).abs() <= half / 2 + 1e-6).all()


@pytest.mark.parametrize("loss", ["giou", "l1", "l2", "smooth_l1"])
def test_losses_written_out(loss):
    network = build(box_loss=loss, box_loss_weight=3.0)
    torch.manual_seed(2)
    attention = torch.randn(2, 4).log_softmax(dim=1)
    proposals = torch.rand(2, 4, 2).repeat(1, 1, 2) + torch.tensor([0, 0, 0.3, 0.2])
    logits = torch.randn(2, 3)
    # The left two of 2 x 2 cells share this box.
    true = torch.tensor([0.1, 0.0, 0.5, 1.0])
    truth = [(torch.tensor(2), true), (torch.tensor(0), torch.zeros(4))]
    terms = network._losses(logits, attention, proposals, _cell_centers(2, 2), truth)
    costs = [box_regression_loss(proposals[0, cell], true, kind=loss) for cell in (0, 2)]
    torch.testing.assert_close(terms["box"], 3 * sum(costs) / 2)
    torch.testing.assert_close(terms["place"], -(attention[0, 0] + attention[0, 2]) / 2)
    expected = -logits.log_softmax(dim=1)[[0, 1], [2, 0]].mean()
    torch.testing.assert_close(terms["class"], expected)


def test_of_several_defects_the_largest_is_the_truth():
    network = build().eval()
    boxes = ((0, 0, 10, 10), (20, 30, 60, 50), (50, 0, 70, 20))
    several = network(pictures(1), [target(*boxes, labels=[0, 1, 0])])
    largest = network(pictures(1), [target(boxes[1], labels=[1])])
    torch.testing.assert_close(several, largest)
    other = network(pictures(1), [target(boxes[0], labels=[0])])
    assert other["box"] != largest["box"]
    assert other["class"] != largest["class"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 4])
def test_each_image_has_one_box_inside_of_it(classes, channels):
    network = build(n_classes=classes, in_channels=channels).eval()
    with torch.inference_mode():
        found = network(pictures(3, channels))
    assert len(found) == 3
    for one in found:
        assert (one.boxes.shape, one.scores.shape, one.labels.shape) == ((1, 4), (1,), (1,))
        x0, y0, x1, y1 = one.boxes[0]
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 64
        assert 0 <= one.scores[0] <= 1
        assert 0 <= one.labels[0] < classes


def test_the_score_is_what_is_left_of_the_background():
    network = build().eval()
    with torch.no_grad():
        network.classes.weight.zero_()
        network.classes.bias.copy_(torch.tensor([2.0, 0.0, 1.0]))
        (found,) = network(pictures(1))
    expected = 1 - torch.tensor([2.0, 0.0, 1.0]).softmax(dim=0)[0]
    torch.testing.assert_close(found.scores[0], expected)
    assert found.labels.tolist() == [1]


def test_one_batch_is_learned_by_heart():
    images = torch.full((4, 1, 96, 96), 100.0)
    images[0, :, 20:44, 8:40] = 220
    images[1, :, 50:70, 30:54] = 20
    images[2, :, 60:90, 56:94] = 220
    targets = [
        target((8, 20, 40, 44)),
        target((30, 50, 54, 70), labels=[1]),
        target((56, 60, 94, 90)),
        target(),
    ]
    network = build().train()

    def loss():
        return sum(network(images, targets).values())

    for module in network.modules():  # so few images have no statistics of their own
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0

    def learned():
        with torch.inference_mode():
            network.train()(images, targets)
            *found, nothing = network.eval()(images)
        return nothing.scores[0] < 0.2 and all(map(finds_its_box, found, targets[:3]))

    learn(network, loss, lr=5e-3, below=0.2, max_steps=400, learned=learned)


def finds_its_box(found, truth) -> bool:
    return (
        found.scores[0] > 0.8
        and torch.equal(found.labels, truth["labels"])
        and box_iou(found.boxes, truth["boxes"]).item() > 0.6
    )


def test_the_encoder_is_known_only_where_it_has_pretrained_weights():
    network = build()
    assert network.encoder is None
    state = {k.removeprefix("features."): v for k, v in network.state_dict().items()
             if k.startswith("features.")}  # fmt: skip
    taken = build(state=state, in_channels=1)
    assert taken.encoder is taken.features
    torch.testing.assert_close(taken.features.state_dict(), network.features.state_dict())


def test_boxes_scores_and_losses_are_in_32_bits_in_reduced_precision():
    network, images = build(), torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train()(images, [target((4, 4, 20, 30)), target()])
        with torch.inference_mode():
            found = network.eval()(images)
    values = [*losses.values(), *(part for one in found for part in (one.boxes, one.scores))]
    assert {one.dtype for one in values} == {torch.float32}
