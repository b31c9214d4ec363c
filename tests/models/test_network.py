import copy

import pytest
import torch
from torch import nn

from defectkit.models.encoders import build_features
from defectkit.models.network import Network, stage_ends


def features() -> nn.Module:
    return build_features("resnet18", in_channels=1, reductions=(4, 8), state=None)


def test_pixels_are_normalized_and_the_numbers_travel_with_the_weights():
    network = Network(mean=100.0, std=50.0)
    images = torch.tensor([[[[0, 100, 200]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-2.0, 0.0, 2.0]]]])
    torch.testing.assert_close(network.normalize(images), expected)
    torch.testing.assert_close(network.normalize(images.float()), expected)
    other = Network(mean=0.0, std=1.0)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other.normalize(images), expected)


@pytest.mark.parametrize("pretrained", [False, True])
def test_only_a_pretrained_part_is_an_encoder(pretrained):
    network = Network(mean=0.0, std=1.0, features=features(), pretrained=pretrained)
    assert network.encoder is (network.features if pretrained else None)
    assert bool(network.lowest_stages(1)) == pretrained
    # It is known in two ways and registered once.
    assert all(name.startswith(("features.", "mean", "std")) for name in network.state_dict())


def test_the_lowest_stages_end_where_the_encoder_says():
    network = Network(mean=0.0, std=1.0, features=features(), pretrained=True)
    assert network.stage_ends == stage_ends(network.features) == ("act1", "layer1", "layer2")
    assert network.lowest_stages(0) == []
    for count, last in ((1, "act1"), (2, "layer1"), (3, "layer2"), (9, "layer2")):
        lowest = network.lowest_stages(count)
        inside = {id(one) for one in network.features.get_submodule(last).modules()}
        assert inside <= {id(one) for one in lowest}
        assert id(lowest[-1]) in inside


def test_a_copy_has_an_encoder_of_its_own():
    network = Network(mean=0.0, std=1.0, features=features(), pretrained=True)
    twin = copy.deepcopy(network)
    assert twin.encoder is twin.features
    assert twin.encoder is not network.encoder


def test_a_module_that_is_not_timms_has_no_stages():
    assert stage_ends(nn.Conv2d(1, 1, 1)) == ()
