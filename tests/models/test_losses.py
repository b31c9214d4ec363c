import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import learn
from sklearn.metrics import log_loss
from torchvision.ops import sigmoid_focal_loss

from defectkit.config import load_config
from defectkit.errors import NotFiniteError
from defectkit.models.losses import (
    choose_layout,
    class_probabilities,
    count_outputs,
    defect_probability,
    segmentation_losses,
)
from defectkit.models.segmentation.segmenter import build_segnet, build_smp

ZERO = {
    "bce": 0.0, "classes": 0.0, "dice": 0.0, "focal": 0.0, "focal_gamma": 2.0, "cross_entropy": 0.0,
    "image": 0.0,
}  # fmt: skip
# With it logits have the layout "apart", and as good as nothing is added to the loss.
APART = {**ZERO, "classes": 1e-9}


def batch(classes: int = 2, seed: int = 0, extra: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, classes + extra, 8, 10, generator=generator)
    masks = (torch.rand(3, classes, 8, 10, generator=generator) < 0.3).to(torch.uint8)
    return logits, masks


def soft_dice(probabilities: torch.Tensor, masks: torch.Tensor) -> float:
    losses = []
    for p, m in zip(probabilities.unbind(1), masks.double().unbind(1), strict=True):
        overlap = 1 - 2 * (p * m).sum() / (p.sum() + m.sum())
        losses += [float(overlap)] if m.any() else []
    return float(np.mean(losses)) if losses else 0.0


def with_any_defect(logits: torch.Tensor, masks: torch.Tensor):
    """Classes that may overlap, and "any defect" as one more."""
    highest, _ = logits.max(dim=1, keepdim=True)
    anywhere = masks.any(dim=1, keepdim=True).to(masks.dtype)
    return torch.cat([logits, highest], dim=1), torch.cat([masks, anywhere], dim=1)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_bce_is_that_of_scikit_learn(classes):
    logits, masks = batch(classes)
    terms = segmentation_losses(logits, masks, **{**ZERO, "bce": 1})
    if classes > 1:
        logits, masks = with_any_defect(logits, masks)
    expected = log_loss(masks.flatten().numpy(), logits.double().sigmoid().flatten().numpy())
    assert terms["bce"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["loss"].item() == terms["bce"].item()
    assert set(terms) == {"bce", "loss"}


@pytest.mark.parametrize("classes", [1, 2])
def test_dice_is_pooled_over_the_batch_for_each_class(classes):
    logits, masks = batch(classes)
    masks[0] = 0  # an image without defects changes the pooled overlap only through its scores
    terms = segmentation_losses(logits, masks, **{**ZERO, "dice": 1})
    if classes > 1:
        logits, masks = with_any_defect(logits, masks)
    expected = soft_dice(logits.double().sigmoid(), masks)
    assert terms["dice"].item() == pytest.approx(expected, rel=1e-5)


def test_dice_leaves_out_a_class_that_the_batch_lacks():
    logits, masks = batch()
    masks[:, 1] = 0
    terms = segmentation_losses(logits, masks, **{**ZERO, "dice": 1})
    logits, masks = with_any_defect(logits, masks)
    expected = soft_dice(logits.double().sigmoid(), masks)
    assert terms["dice"].item() == pytest.approx(expected, rel=1e-5)


def test_dice_of_a_batch_without_defects_is_0():
    logits, masks = batch()
    terms = segmentation_losses(logits, 0 * masks, **{**ZERO, "dice": 1})
    assert terms["loss"].item() == 0


@pytest.mark.parametrize("classes", [1, 3])
def test_dice_goes_from_0_to_1(classes):
    _, masks = batch(classes)
    masks[:, 1:] = 0
    masks = masks.flip(1)
    only_dice = {**ZERO, "dice": 1}
    for sign, expected in ((1, 0), (-1, 1)):
        logits = sign * 40.0 * (2 * masks[:, -1:].float() - 1).expand_as(masks).clone()
        if sign > 0:
            logits[:, :-1] = -40.0
        loss = segmentation_losses(logits, masks, **only_dice)["loss"].item()
        assert loss == pytest.approx(expected, abs=1e-5)


@given(gamma=st.floats(0, 5), seed=st.integers(0, 100), classes=st.integers(1, 3))
def test_focal_is_that_of_torchvision_without_alpha(gamma, seed, classes):
    logits, masks = batch(classes, seed)
    terms = segmentation_losses(logits, masks, **{**ZERO, "focal": 1, "focal_gamma": gamma})
    if classes > 1:
        logits, masks = with_any_defect(logits, masks)
    expected = sigmoid_focal_loss(logits, masks.float(), alpha=-1, gamma=gamma, reduction="mean")
    assert terms["focal"].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-7)


def test_focal_with_gamma_0_is_bce():
    logits, masks = batch()
    terms = segmentation_losses(logits, masks, **{**ZERO, "bce": 1, "focal": 1, "focal_gamma": 0})
    assert terms["focal"].item() == pytest.approx(terms["bce"].item(), rel=1e-6)


def test_cross_entropy_is_that_of_scikit_learn_over_background_and_classes():
    logits, masks = batch(extra=1)
    masks[:, 1] *= 1 - masks[:, 0]  # no overlap yet
    target = (masks[:, 0] + 2 * masks[:, 1]).flatten().numpy()
    probabilities = logits.double().softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    terms = segmentation_losses(logits, masks, **{**ZERO, "cross_entropy": 1})
    assert set(terms) == {"cross_entropy", "loss"}
    expected = log_loss(target, probabilities, labels=[0, 1, 2])
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_where_exclusive_classes_overlap_the_later_one_counts():
    logits, masks = batch(extra=1)
    masks[:] = 1
    later = masks.clone()
    later[:, 0] = 0
    options = {**ZERO, "cross_entropy": 1}
    both, alone = (segmentation_losses(logits, m, **options)["loss"] for m in (masks, later))
    assert both.item() == alone.item()


def test_dice_beside_cross_entropy_leaves_the_background_out():
    logits, masks = batch(extra=1)
    masks[:, 1] *= 1 - masks[:, 0]
    terms = segmentation_losses(logits, masks, **{**ZERO, "dice": 1, "cross_entropy": 1})
    expected = soft_dice(logits.double().softmax(dim=1)[:, 1:], masks)
    assert terms["dice"].item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_the_unweighted_terms():
    logits, masks = batch()
    weights = {"bce": 0.7, "dice": 2.0, "focal": 5.0}
    terms = segmentation_losses(logits, masks, **{**ZERO, **weights})
    alone = {
        name: segmentation_losses(logits, masks, **{**ZERO, name: 1})[name] for name in weights
    }
    for name in weights:
        assert terms[name].item() == alone[name].item()
    expected = sum(weight * alone[name].item() for name, weight in weights.items())
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", ["bce", "cross_entropy", "dice", "focal"])
def test_half_precision_logits_are_judged_in_full_precision(loss):
    logits, masks = batch(extra=loss == "cross_entropy")
    half = (5 * logits).half()
    options = {**ZERO, loss: 1}
    terms = segmentation_losses(half, masks, **options)
    expected = segmentation_losses(half.float(), masks, **options)["loss"]
    assert terms["loss"].dtype == torch.float32
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_extreme_logits_stay_finite():
    _, masks = batch()
    logits = torch.full(masks.shape, 1e4).requires_grad_()
    terms = segmentation_losses(logits, masks, **{**ZERO, "bce": 1, "dice": 1, "focal": 1})
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])
    assert torch.isfinite(logits.grad).all()


def test_class_probabilities():
    logits, _ = batch(classes=3)
    apart = class_probabilities(logits, "overlapping")
    torch.testing.assert_close(apart, 1 / (1 + torch.exp(-logits)))
    exclusive = class_probabilities(logits, "exclusive")
    assert exclusive.shape == (3, 2, 8, 10)
    torch.testing.assert_close(exclusive, (logits.exp() / logits.exp().sum(1, keepdim=True))[:, 1:])


# --- whether apart from which ------------------------------------------------------------------


def apart(classes: int = 2, seed: int = 0):
    logits, masks = batch(classes, seed, extra=classes > 1)
    return logits, masks


def shares_of(logits: torch.Tensor, masks: torch.Tensor):
    """The probability of any defect, and with several classes its shares; and their truths."""
    anywhere = masks.any(dim=1, keepdim=True).to(masks.dtype)
    whether = logits[:, :1].double().sigmoid()
    if masks.shape[1] == 1:
        return whether, anywhere
    which = logits[:, 1:].double().softmax(dim=1)
    return torch.cat([whether, whether * which], dim=1), torch.cat([anywhere, masks], dim=1)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_bce_of_any_defect_is_that_of_scikit_learn(classes):
    logits, masks = apart(classes)
    terms = segmentation_losses(logits, masks, **{**APART, "bce": 1})
    truth = masks.any(dim=1).flatten().numpy()
    expected = log_loss(truth, logits[:, 0].double().sigmoid().flatten().numpy())
    assert terms["bce"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(terms["bce"].item(), rel=1e-6)
    assert set(terms) == {"bce", "loss"} | ({"classes"} if classes > 1 else set())


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_dice_is_pooled_over_the_batch_for_any_defect_and_each_class(classes):
    logits, masks = apart(classes)
    masks[0] = 0  # an image without defects changes the pooled overlap only through its scores
    terms = segmentation_losses(logits, masks, **{**APART, "dice": 1})
    assert terms["dice"].item() == pytest.approx(soft_dice(*shares_of(logits, masks)), rel=1e-5)


def test_which_class_is_asked_at_defect_pixels_alone_and_of_each_image_alike():
    logits, masks = apart(3)
    masks = torch.zeros_like(masks)
    masks[0, 1, 2:7, 1:9] = 1  # a large defect
    masks[1, 2, 4, 4] = 1  # and a small one; the third image has none
    terms = segmentation_losses(logits, masks, **{**ZERO, "bce": 1, "classes": 1})
    wrong = -logits[:, 1:].double().log_softmax(dim=1)
    expected = (wrong[0, 1, 2:7, 1:9].mean() + wrong[1, 2, 4, 4]) / 2
    assert terms["classes"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((terms["bce"] + terms["classes"]).item())


def test_which_class_of_overlapping_ones_is_half_right_with_each():
    logits, masks = apart(2)
    masks[:] = 1
    terms = segmentation_losses(logits, masks, **{**ZERO, "bce": 1, "classes": 1})
    expected = -logits[:, 1:].double().log_softmax(dim=1).mean()
    assert terms["classes"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_which_class_has_no_say_without_defects_or_with_one_class():
    logits, masks = apart(2)
    terms = segmentation_losses(logits, 0 * masks, **{**ZERO, "bce": 1, "classes": 1})
    assert terms["classes"].item() == 0
    assert "classes" not in segmentation_losses(*apart(1), **{**ZERO, "bce": 1, "classes": 1})


def test_doubt_between_classes_changes_nothing_of_whether():
    logits, masks = apart(3)
    doubtful = logits.clone()
    doubtful[:, 1:] = 0
    one, other = (
        segmentation_losses(each, masks, **{**APART, "bce": 1, "focal": 1})["loss"]
        for each in (logits, doubtful)
    )
    assert one.item() == other.item()
    highest = class_probabilities(doubtful, "apart").amax(dim=1)
    torch.testing.assert_close(highest, logits[:, 0].sigmoid())


def test_class_probabilities_apart():
    logits = apart(classes=3)[0].double()
    scores = class_probabilities(logits, "apart").double()
    assert scores.shape == (3, 3, 8, 10)
    # The largest is the probability of any defect, the others stand to it as the classes do.
    torch.testing.assert_close(scores.amax(dim=1), logits[:, 0].sigmoid(), rtol=1e-5, atol=0)
    which = logits[:, 1:].softmax(dim=1)
    torch.testing.assert_close(
        scores / scores.amax(dim=1, keepdim=True),
        which / which.amax(dim=1, keepdim=True),
        rtol=1e-4,
        atol=1e-9,
    )
    single, _ = apart(classes=1)
    torch.testing.assert_close(class_probabilities(single, "apart"), single.sigmoid())


@pytest.mark.parametrize("kind", ["unet", pytest.param("segnet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", ["bce + dice", "apart", "cross-entropy"])
def test_networks_learn_one_batch_by_heart(kind, loss):
    torch.manual_seed(0)
    changes = ["loss.bce=0", "loss.dice=0", "loss.cross_entropy=1"] if loss[0] == "c" else []
    changes += ["loss.classes=1"] if loss == "apart" else []
    weights = load_config(None, changes).loss.model_dump()
    layout = choose_layout(cross_entropy=weights["cross_entropy"], classes=weights["classes"])
    out_channels = count_outputs(2, layout)
    if kind == "segnet":
        network = build_segnet(in_channels=1, out_channels=out_channels)
    else:
        network = build_smp(
            architecture="unet", encoder="tf_efficientnet_lite0", in_channels=1,
            out_channels=out_channels, decoder_channels=(32, 24, 16), state=None,
            class_head=layout == "apart", image_window=32,
        )  # fmt: skip
    images = torch.full((2, 1, 32, 32), 60, dtype=torch.uint8)
    masks = torch.zeros(2, 2, 32, 32, dtype=torch.uint8)
    images[0, :, 4:20, 4:30], masks[0, 0, 4:20, 4:30] = 220, 1
    images[1, :, 12:30, 8:24], masks[1, 1, 12:30, 8:24] = 140, 1

    def loss():
        pixels, of_images = network(images)
        return segmentation_losses(pixels, masks, image_logits=of_images, **weights)["loss"]

    learn(network, loss, lr=3e-3, below=0.6, max_steps=100)


def counted_half() -> torch.Tensor:
    counted = torch.ones(3, 8, 10, dtype=torch.bool)
    counted[:, :, 6:] = False
    counted[1] = False
    return counted


LAYOUTS = [
    (0, {"bce": 1, "focal": 1, "dice": 1}),
    (1, {"cross_entropy": 1, "focal": 1, "dice": 1}),
    (1, {"bce": 1, "classes": 1, "focal": 1, "dice": 1}),
]


@pytest.mark.check(48)
@pytest.mark.parametrize(("extra", "weights"), LAYOUTS)
def test_pixels_that_do_not_count_change_no_loss_and_get_no_gradient(extra, weights):
    logits, masks = batch(extra=extra)
    counted = counted_half()
    masks = masks * counted[:, None]
    logits.requires_grad_()
    terms = segmentation_losses(logits, masks, **{**ZERO, **weights}, counted=counted)
    terms["loss"].backward()
    outside = ~counted[:, None].expand_as(logits)
    assert (logits.grad[outside] == 0).all()
    assert (logits.grad[~outside] != 0).any()
    other = torch.where(outside, torch.full_like(logits, 7.0), logits).detach()
    again = segmentation_losses(other, masks, **{**ZERO, **weights}, counted=counted)
    for name, term in terms.items():
        assert torch.equal(term, again[name]), name


@pytest.mark.parametrize(("extra", "weights"), LAYOUTS)
def test_the_loss_of_what_counts_is_that_of_the_crop(extra, weights):
    logits, masks = batch(extra=extra)
    counted = torch.zeros(3, 8, 10, dtype=torch.bool)
    counted[:, 2:7, 3:9] = True
    part = segmentation_losses(
        logits, masks * counted[:, None], **{**ZERO, **weights}, counted=counted
    )
    crop = np.s_[:, :, 2:7, 3:9]
    alone = segmentation_losses(logits[crop], masks[crop], **{**ZERO, **weights})
    for name, term in alone.items():
        assert part[name].item() == pytest.approx(term.item(), abs=1e-5), name


@pytest.mark.parametrize(("extra", "weights"), LAYOUTS)
def test_a_batch_in_which_no_pixel_counts_gives_no_gradient(extra, weights):
    logits, masks = batch(extra=extra)
    logits.requires_grad_()
    nothing = torch.zeros(3, 8, 10, dtype=torch.bool)
    loss = segmentation_losses(logits, 0 * masks, **{**ZERO, **weights}, counted=nothing)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad == 0).all()


def test_the_judgment_of_whole_images_is_that_of_scikit_learn():
    logits, masks = batch()
    masks[1] = 0
    of_images = torch.tensor([2.0, -0.5, 0.3])
    given = {**ZERO, "bce": 1, "image": 0.5}
    terms = segmentation_losses(logits, masks, image_logits=of_images, **given)
    expected = log_loss([1, 0, 1], of_images.double().sigmoid().numpy())
    assert terms["image"].item() == pytest.approx(expected, rel=1e-6)
    assert terms["loss"].item() == pytest.approx((terms["bce"] + 0.5 * terms["image"]).item())
    assert "image" not in segmentation_losses(logits, masks, **given)  # a network without the head


def test_images_whose_defect_may_lie_where_no_pixel_counts_are_no_good_ones():
    logits, masks = batch()
    masks[1:] = 0
    of_images = torch.tensor([2.0, -0.5, 0.3], requires_grad=True)
    counted = torch.ones(3, 8, 10, dtype=torch.bool)
    counted[:2, 0, 0] = False  # of one with a defect elsewhere, and of one without
    given = {**ZERO, "image": 1, "image_logits": of_images}
    terms = segmentation_losses(logits, masks * counted[:, None], **given, counted=counted)
    terms["loss"].backward()
    expected = log_loss([1, 0], of_images.detach()[[0, 2]].double().sigmoid().numpy())
    assert terms["image"].item() == pytest.approx(expected, rel=1e-6)
    assert of_images.grad[1] == 0
    nothing = torch.zeros_like(counted)
    loss = segmentation_losses(logits, 0 * masks, **given, counted=nothing)["loss"]
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("layout", ["overlapping", "exclusive", "apart"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_probability_of_any_defect_is_the_largest_of_the_classes(layout, classes):
    logits, _ = batch(classes=count_outputs(classes, layout))
    largest = class_probabilities(logits, layout).amax(dim=1, keepdim=True)
    torch.testing.assert_close(defect_probability(logits, layout), largest)


@pytest.mark.parametrize("layout", ["overlapping", "exclusive", "apart"])
def test_the_probability_of_any_defect_is_refused_where_it_is_not_finite(layout):
    logits, _ = batch(classes=3)
    logits[1, 0, 2, 2] = torch.nan
    with pytest.raises(NotFiniteError):
        defect_probability(logits, layout)
