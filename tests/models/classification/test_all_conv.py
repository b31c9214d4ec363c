import pytest
import torch
from torch import nn

from defectkit.errors import ModelError
from defectkit.models.classification.all_conv import RECEPTIVE_FIELD, AllConv


def test_its_layers_are_those_of_the_source():
    network = AllConv(tile=64, in_channels=3, out_channels=10)
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [96] * 3 + [192] * 5 + [10]
    assert [layer.kernel_size[0] for layer in convolutions] == [3] * 7 + [1, 1]
    assert [layer.stride[0] for layer in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
    assert {layer.padding for layer in convolutions} == {(0, 0)}
    assert [layer.p for layer in network.layers if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert not any(isinstance(layer, nn.MaxPool2d | nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize("tile", [27, 30, 31, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tile_gives_one_place_and_all_of_the_tile_is_seen(tile, channels):
    network = AllConv(tile=tile, in_channels=channels, out_channels=2).eval()
    tiles = torch.full((2, channels, tile, tile), 100.0, requires_grad=True)
    logits = network(tiles)
    assert logits.shape == (2, 2, 1, 1)
    logits.sum().backward()
    seen = tiles.grad.abs().sum(dim=(0, 1)) > 0
    last = (network.window - 1) * 4 + RECEPTIVE_FIELD  # up to 3 pixels too few for one more place
    assert tile - last < 4
    assert seen[:last, :last].float().mean() > 0.9
    assert not seen[last:].any()


def test_a_tile_that_it_cannot_see_whole_is_refused():
    with pytest.raises(ModelError, match=r"patch.tile=26 is too small for all_conv. Use 27 or"):
        AllConv(tile=26, in_channels=1, out_channels=1)


def test_the_signal_neither_dies_nor_explodes():
    torch.manual_seed(0)
    network = AllConv(tile=64, in_channels=1, out_channels=50).eval()
    images = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        logits = network(images)
    assert 0.1 < logits.std() < 10
