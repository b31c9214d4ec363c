import pytest
import torch
from torchvision import models

from defectkit.errors import ModelError
from defectkit.models.classification.backbones import build_backbone


def features_of(name: str, *, channels: int = 1, tile: int = 64, context: int = 0):
    network, count = build_backbone(name, in_channels=channels, tile=tile, context=context)
    with torch.inference_mode():
        assert network.eval()(torch.zeros(2, channels, tile, tile)).shape == (2, count)
    return network, count


def test_networks_are_known_by_timms_names_and_torchvisions():
    assert features_of("alexnet")[1] == 4096
    assert features_of("googlenet", channels=3)[1] == 1024
    assert features_of("resnet18")[1] == 512  # timm's


def test_the_other_layers_stay_as_they_are():
    network, _ = features_of("alexnet")
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    theirs = models.alexnet(weights=None).state_dict()
    changed = {"features.0.weight": (64, 1, 11, 11)}
    expected = {name: changed.get(name, tuple(tensor.shape)) for name, tensor in theirs.items()}
    del expected["classifier.6.weight"], expected["classifier.6.bias"]
    assert {name: tuple(shape) for name, shape in own.items()} == expected


def test_unknown_names_are_refused_with_the_way_out():
    with pytest.raises(ModelError, match=r"neither timm nor torchvision knows .* 'alexnett'.*List"):
        features_of("alexnett")
    with pytest.raises(ModelError, match="squeezenet1_0 does not end in a linear layer"):
        features_of("squeezenet1_0")


@pytest.mark.parametrize(
    ("name", "tile", "context", "fits"),
    [("alexnet", 32, 0, 64), ("inception_v3", 64, 0, 80), ("vit_tiny_patch16_224", 64, 16, 192)],
)
def test_tiles_that_are_too_small_are_refused_and_a_size_is_named(name, tile, context, fits):
    side = tile + 2 * context
    message = rf"{name} cannot classify {side}x{side} pixels .* Set patch.tile={fits}"
    with pytest.raises(ModelError, match=message):
        build_backbone(name, in_channels=1, tile=tile, context=context)
    build_backbone(name, in_channels=1, tile=fits, context=context)
