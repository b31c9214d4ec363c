import copy

import pytest
import torch
from safetensors.torch import save_file
from scenes import scenes
from torchvision.ops import box_iou

from defectkit.errors import ModelError
from defectkit.models.detection.rcnn.build import build_rcnn
from defectkit.models.detection.torchvision_detectors import build_detector
from defectkit.models.encoders import build_features, normalization
from defectkit.models.weights import read_weights

ALL = ["faster_rcnn", "mask_rcnn", "ssd", "retinanet", "fcos", "fast_rcnn", "rcnn"]
SOME = ["faster_rcnn", "ssd", "fast_rcnn", "rcnn"]  # one of each way they are built
TERMS = {
    "faster_rcnn": {"class", "box", "objectness", "proposals"},
    "mask_rcnn": {"class", "box", "mask", "objectness", "proposals"},
    "ssd": {"class", "box"},
    "retinanet": {"class", "box"},
    "fcos": {"class", "box", "center"},
    "fast_rcnn": {"class", "box"},
    "rcnn": {"class"},
}


def build(architecture, **options):
    torch.manual_seed(0)
    options = {
        "encoder": "resnet18", "in_channels": 1, "n_classes": 2, "state": None,
        "nms_iou": 0.4, "score_threshold": 0.0, "max_detections": 20, **options,
    }  # fmt: skip
    if architecture in ("fast_rcnn", "rcnn"):
        return build_rcnn(architecture=architecture, **options)
    options = {"anchor_sizes": (12.0, 24.0, 48.0), **options}
    return build_detector(architecture=architecture, **options)


def step(network, optimizer, batch):
    terms = network(*batch)
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def train(network, batch, steps, lr=1e-3):
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    return [step(network, optimizer, batch) for _ in range(steps)]


def detect(network, images):
    with torch.inference_mode():
        return network.eval()(images)


@pytest.mark.parametrize("architecture", ALL)
def test_every_batch_teaches_something(architecture):
    network = build(architecture).train()
    for rectangles in ((1, 2), (0, 0), (3, 0)):
        network.zero_grad()
        terms = network(*scenes(1, rectangles))
        assert set(terms) == TERMS[architecture]
        loss = torch.stack(list(terms.values())).sum()
        assert torch.isfinite(loss)
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert all(torch.isfinite(one).all() for one in gradients)
        assert max(one.abs().max() for one in gradients) > 0
        assert network.features.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("architecture", ALL)
def test_boxes_without_area_are_passed_over(architecture):
    images, targets = scenes(2, (1, 1))
    for target in targets:
        line = target["boxes"].clone()
        line[:, 2] = line[:, 0]
        target["boxes"] = torch.cat([line, target["boxes"]])
        target["labels"] = target["labels"].repeat(2)
        target["masks"] = target["masks"].repeat(2, 1, 1)
    targets[1] = {name: values[:1] for name, values in targets[1].items()}
    terms = build(architecture).train()(images, targets)
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ALL)
def test_a_batch_can_be_learned_by_heart(architecture):
    network, batch = build(architecture), scenes(3, (1, 2, 0))
    losses = train(network, batch, steps=8)
    while sum(losses[-3:]) >= 0.8 * sum(
        losses[:3]
    ):  # How many depends on the processor's rounding.
        assert len(losses) < 40, losses
        losses += train(network, batch, steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["ssd", "fcos"])  # with and without a background label
def test_classes_and_boxes_are_learned_as_they_are_given(architecture):
    batch = scenes(4, (1, 1, 1, 1))
    for target in batch[1]:
        target["labels"] = 2 - target["labels"]  # 2 dark, 1 bright; 0 never occurs
    network = build(architecture, n_classes=3, score_threshold=0.1, max_detections=5)
    for _ in range(4):  # How many steps it takes depends on the processor's rounding.
        train(network, batch, steps=40, lr=2e-3)
        found = list(zip(detect(network, batch[0]), batch[1], strict=True))
        learned = [
            len(one.labels) > 0
            and one.labels[0] == target["labels"][0]
            and box_iou(one.boxes[:1], target["boxes"]) > 0.5
            for one, target in found
        ]
        if all(learned):
            break
    assert all(learned)


@pytest.mark.parametrize("architecture", SOME)
def test_its_encoder_starts_another_network(architecture, tmp_path):
    network = build(architecture)
    save_file(network.state_dict(), tmp_path / "one.safetensors")
    state = read_weights(str(tmp_path / "one.safetensors"))
    reductions = tuple(network.features.feature_info.reduction())
    fresh = build_features("resnet18", in_channels=1, reductions=reductions, state=state)
    torch.testing.assert_close(fresh.conv1.weight, network.features.conv1.weight)
    again = build(architecture, state=state)
    assert again.encoder is again.features
    assert again.lowest_stages(2)
    assert network.encoder is None


@pytest.mark.parametrize("architecture", SOME)
def test_a_copy_shares_nothing_with_its_model(architecture):
    images, _ = scenes(6, (1,))
    network = build(architecture)
    twin = copy.deepcopy(network)  # as the moving average of weights is made
    before = detect(twin, images)[0].scores
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(detect(twin, images)[0].scores, before)


@pytest.mark.parametrize("architecture", ALL)
def test_pixels_are_normalized_inside_and_nothing_is_resized(architecture):
    network = build(architecture)
    mean, std = normalization("resnet18")
    assert (network.mean.item(), network.std.item()) == pytest.approx((mean, std))
    images, targets = scenes(7, (1, 1))
    seen = []
    network.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.train()(images, targets)
    detect(network, images)
    if architecture != "rcnn":  # it sees regions
        for pixels in seen:
            torch.testing.assert_close(pixels, (images.float() - mean) / std)
    assert all(pixels.abs().max() < 4 for pixels in seen)


@pytest.mark.parametrize("architecture", ALL)
def test_least_score_and_most_limit_what_is_found(architecture):
    images, _ = scenes(8, (2,))
    everything = detect(build(architecture, max_detections=30), images)[0].scores
    few = detect(build(architecture, max_detections=3), images)[0].scores
    assert 0 < len(few) <= 3  # fewer where some have no area
    torch.testing.assert_close(few, everything[: len(few)])
    middle = everything[len(everything) // 2].item()
    some = detect(build(architecture, max_detections=30, score_threshold=middle), images)[0].scores
    assert 0 < len(some) <= len(everything)
    assert (some >= middle).all()


@pytest.mark.parametrize("architecture", SOME)
def test_the_truth_belongs_to_training(architecture):
    images, targets = scenes(9, (1,))
    network = build(architecture)
    with pytest.raises(AssertionError, match="targets are for training"):
        network.eval()(images, targets)
    with pytest.raises(AssertionError, match="needed there"):
        network.train()(images)


@pytest.mark.slow
def test_masks_lie_in_their_boxes_and_are_learned():
    batch = scenes(10, (1, 1))
    network = build("mask_rcnn", score_threshold=0.3)
    truth = batch[1][0]["masks"][0].bool()
    for _ in range(6):  # How many steps it takes depends on the processor's rounding.
        train(network, batch, steps=30, lr=2e-3)
        (one, _) = detect(network, batch[0])
        mask = (one.masks[:1] > 0.5).any(dim=0)
        overlap = (mask & truth).sum() / (mask | truth).sum()
        if overlap > 0.5:
            break
    assert overlap > 0.5
    x0, y0, x1, y1 = one.boxes[0].round().int().tolist()
    outside = one.masks[0].clone()
    outside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = 0
    assert outside.max() == 0


@pytest.mark.parametrize("count", [0, 7])
def test_too_many_or_no_anchor_sizes_are_refused(count):
    with pytest.raises(ModelError, match=rf"box.anchor_sizes has {count} entries; give 1 to 6"):
        build("faster_rcnn", anchor_sizes=(8.0,) * count)


@pytest.mark.parametrize(
    ("architecture", "levels"),
    [("mask_rcnn", 1), ("mask_rcnn", 6), ("ssd", 1), ("ssd", 6), ("retinanet", 6), ("fcos", 1)],
)
def test_any_number_of_levels(architecture, levels):
    sizes = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)[:levels]
    network = build(architecture, anchor_sizes=sizes)
    batch = scenes(11, (1, 0))
    assert all(torch.isfinite(term) for term in network.train()(*batch).values())
    assert len(detect(network, batch[0])) == 2
