import warnings

import pytest
import timm
import torch

from defectkit.approaches.segment import Segment
from defectkit.config import load_config
from defectkit.errors import ModelError
from defectkit.models.encoders import normalization
from defectkit.models.segmentation.segmenter import DEFECT_PRIOR, build_smp


def network(architecture: str, *, channels: int, encoder: str, extra: tuple[str, ...] = ()):
    settings = [f"model.architecture={architecture}", f"model.encoder={encoder}"]
    config = load_config(None, [*settings, "model.weights=none", *extra])
    segment = Segment(config, ("1", "2"), channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of libraries about their own parts
        return segment, segment.network().eval()


def test_a_layer_more_for_the_background_or_for_any_defect():
    exclusive = ("loss.bce=0", "loss.cross_entropy=1")
    for extra, layers in ((("loss.classes=0",), 2), (("loss.classes=1",), 3), (exclusive, 3)):
        for architecture in ("unet", "segnet"):
            _, net = network(architecture, channels=1, encoder="resnet18", extra=extra)
            with torch.inference_mode():
                assert net(torch.zeros(1, 1, 32, 32)).pixels.shape == (1, layers, 32, 32)


@pytest.mark.parametrize("channels", [(16,), (32, 16), (96, 48, 32, 24), (64, 48, 32, 24, 16)])
@pytest.mark.parametrize("architecture", ["unet", "manet"])
def test_thinner_decoders_still_give_full_size(channels, architecture):
    extra = (f"model.decoder_channels={list(channels)}",)
    _, net = network(architecture, channels=1, encoder="resnet18", extra=extra)
    assert len(net.body.decoder.blocks) == len(channels)
    with torch.inference_mode():
        assert net(torch.zeros(1, 1, 64, 32)).pixels.shape == (1, 1 + 2, 64, 32)


@pytest.mark.parametrize("architecture", ["unet", "segnet", "pixel_net"])
@pytest.mark.parametrize("factor", [2, 4])
def test_reduced_images_are_scored_at_full_size(architecture, factor):
    extra = (f"model.input_reduction={factor}",)
    torch.manual_seed(0)
    _, net = network(architecture, channels=1, encoder="resnet18", extra=extra)
    assert net.size_divisor % factor == 0
    images = torch.randint(256, (2, 1, 256, 128), dtype=torch.uint8)
    with torch.inference_mode():
        pixels, of_images = net(images)
        means = net.normalize(images).unflatten(2, (-1, factor)).unflatten(4, (-1, factor))
        small, same = net.score(means.mean(dim=(3, 5)))
    assert pixels.shape[2:] == images.shape[2:]
    assert small.shape[2:] == (256 // factor, 128 // factor)
    # Of twice as many values each is 3/4 of the nearest old one and 1/4 of the next.
    enlarged = pixels.unflatten(2, (-1, factor)).unflatten(4, (-1, factor)).mean(dim=(3, 5))
    if factor == 2:
        weights = torch.tensor([1.0, 6.0, 1.0]) / 8
        blurred = torch.nn.functional.conv2d(
            small.flatten(0, 1)[:, None], torch.outer(weights, weights)[None, None]
        ).unflatten(0, small.shape[:2])[:, :, 0]
        torch.testing.assert_close(enlarged[..., 1:-1, 1:-1], blurred, atol=1e-4, rtol=1e-4)
    if of_images is not None:
        torch.testing.assert_close(of_images, same)


def test_a_window_that_is_judged_as_a_whole_has_the_same_pixels_whatever_the_reduction():
    for factor, places in ((1, 16), (2, 8)):
        extra = (f"model.input_reduction={factor}", "data.crop=256")
        _, net = network("unet", channels=1, encoder="resnet18", extra=extra)
        assert net.image_head.side == places


def test_a_crop_that_the_reduced_network_does_not_take_is_refused():
    with pytest.raises(ModelError, match="data.crop=96 is not divisible by 64"):
        network(
            "unet", channels=1, encoder="resnet18",
            extra=("model.input_reduction=2", "data.crop=96"),
        )  # fmt: skip


def test_classes_and_whole_images_are_judged_by_heads_of_their_own_where_they_are_asked_for():
    for extra, classes, whole in (
        ((), True, True),
        (("loss.image=0",), True, False),
        (("loss.classes=0",), False, True),
    ):
        _, net = network("unet", channels=1, encoder="resnet18", extra=extra)
        assert (net.class_head is not None, net.image_head is not None) == (classes, whole)
        with torch.inference_mode():
            pixels, images = net(torch.zeros(2, 1, 64, 32))
        assert pixels.shape == (2, 2 + classes, 64, 32)
        assert images is None if not whole else images.shape == (2,)


@pytest.mark.parametrize("classes", [("1",), ("1", "2")])
@pytest.mark.parametrize("architecture", ["unet", "fpn", "upernet"])
def test_before_training_a_defect_is_unlikely(architecture, classes):
    # From 0.5 on, a network learns what is good alone: its last features are 0 on defects.
    torch.manual_seed(0)
    settings = [
        f"model.architecture={architecture}",
        "model.encoder=resnet18",
        "model.weights=none",
    ]
    net = Segment(load_config(None, settings), classes, 1).network().eval()
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert net(images).pixels[:, 0].sigmoid().mean() == pytest.approx(DEFECT_PRIOR, abs=0.05)


@pytest.mark.parametrize("count", [0, 6])
def test_a_decoder_of_too_many_stages_is_refused(count):
    with pytest.raises(ModelError, match=rf"decoder_channels has {count} entries; give 1 to 5"):
        build_smp(
            architecture="unet", encoder="resnet18", in_channels=1, out_channels=2,
            decoder_channels=(8,) * count, state=None,
        )  # fmt: skip


def test_an_unknown_encoder_is_refused_with_the_way_out():
    with pytest.raises(ModelError, match=r"unet cannot be built on the encoder 'resnet19'.*timm"):
        network("unet", channels=1, encoder="resnet19")
    with pytest.raises(ModelError, match=r"fcn has no encoder 'resnet18'.*resnet50, resnet101"):
        network("fcn", channels=1, encoder="resnet18")


def test_pixels_go_in_as_they_are_and_are_normalized_inside():
    mean, std = normalization("resnet18")
    assert mean == pytest.approx(255 * (0.485 + 0.456 + 0.406) / 3)
    assert std == pytest.approx(255 * (0.229 + 0.224 + 0.225) / 3)
    _, net = network("unet", channels=3, encoder="resnet18")
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    seen = []
    net.body.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        torch.testing.assert_close(net(images).pixels, net(images.float()).pixels)
    torch.testing.assert_close(seen[0], (images.float() - mean) / std)


def test_the_normalization_travels_with_the_weights():
    _, net = network("unet", channels=1, encoder="resnet18")
    assert {"mean", "std"} <= set(net.state_dict())
    assert not [key for key in net.state_dict() if key.startswith("_encoder")]


def test_the_encoder_is_known_only_where_it_has_pretrained_weights():
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    build = {"architecture": "fpn", "encoder": "resnet18", "in_channels": 1, "out_channels": 2}
    with_state = build_smp(**build, decoder_channels=(8,), state=state)
    assert with_state.encoder is with_state.body.encoder.model
    assert build_smp(**build, decoder_channels=(8,), state=None).encoder is None


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet18", "convnext_atto"])
def test_a_gray_network_sees_what_the_color_network_sees_in_equal_channels(encoder):
    torch.manual_seed(0)
    state = timm.create_model(encoder, pretrained=False).state_dict()
    gray, color = (
        build_smp(
            architecture="fpn", encoder=encoder, in_channels=channels, out_channels=2,
            decoder_channels=(8,), state=state,
        ).eval()
        for channels in (1, 3)
    )  # fmt: skip
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    seen = []
    for net, inputs in ((gray, images), (color, images.repeat(1, 3, 1, 1))):
        first = next(m for m in net.body.modules() if isinstance(m, torch.nn.Conv2d))
        first.register_forward_hook(lambda _, __, outputs: seen.append(outputs))
        with torch.inference_mode():
            net(inputs)
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)
    assert seen[0].std() > 0.01


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet18", "convnext_atto"])
def test_the_lowest_stages_are_those_next_to_the_image(encoder):
    state = timm.create_model(encoder, pretrained=False).state_dict()
    net = build_smp(
        architecture="fpn", encoder=encoder, in_channels=1, out_channels=2,
        decoder_channels=(8,), state=state,
    )  # fmt: skip

    def parameters(count: int) -> list[torch.nn.Parameter]:
        stages = net.lowest_stages(count)
        return [p for module in stages for p in module.parameters(recurse=False)]

    everything = list(net.encoder.parameters())
    lengths = [len(parameters(count)) for count in range(len(net.stage_ends) + 2)]
    assert lengths[0] == 0
    assert lengths == sorted(lengths)
    assert lengths[-1] == lengths[-2] == len(everything)
    # The first ones to run, in order and without a gap.
    for count in (1, 2):
        assert [id(p) for p in parameters(count)] == [id(p) for p in everything[: lengths[count]]]
        assert 0 < lengths[count] < len(everything)


def test_a_network_without_pretrained_weights_has_no_lowest_stages():
    _, net = network("unet", channels=1, encoder="resnet18")
    assert net.lowest_stages(2) == []


def test_without_the_head_of_the_classes_it_says_whether_there_is_a_defect():
    torch.manual_seed(0)
    _, net = network("unet", channels=1, encoder="resnet18")
    images = torch.randint(256, (2, 1, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        pixels, of_images = net(images)
        whether, same = net.without_classes()(images)
        again, _ = net(images)
    torch.testing.assert_close(whether, pixels[:, :1], rtol=0, atol=0)
    torch.testing.assert_close(same, of_images, rtol=0, atol=0)
    assert again.shape == pixels.shape == (2, 3, 64, 96)
