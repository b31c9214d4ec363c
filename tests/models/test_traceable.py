import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from defectkit.models.traceable import MeansOfParts, traceable

IMAGES = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 2, 1), (5, 2, 1), (3, 1, 1), (5, 1, 2), (1, 2, 1), ((3, 5), (2, 1), 1), (2, 2, 1)],
)
def test_the_padding_is_the_one_that_the_size_asks_for(kernel, stride, dilation):
    conv = Conv2dSame(3, 4, kernel, stride=stride, dilation=dilation)
    network = nn.Sequential(nn.Sequential(conv), nn.ReLU())
    static = traceable(network)
    assert not any(isinstance(one, Conv2dSame) for one in static.modules())
    with torch.inference_mode():
        torch.testing.assert_close(static(IMAGES), network(IMAGES), rtol=0, atol=0)


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 7, (5, 2), (24, 36), 40])
def test_the_means_are_those_of_adaptive_pooling(parts):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(parts))
    found = traceable(network)
    assert isinstance(found[0], MeansOfParts) == (parts != 1)
    torch.testing.assert_close(found(IMAGES), network(IMAGES), rtol=1e-5, atol=1e-6)


def test_the_network_itself_stays_as_it_is():
    network = nn.Sequential(Conv2dSame(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(2))
    traceable(network)
    assert isinstance(network[0], Conv2dSame)
    assert isinstance(network[1], nn.AdaptiveAvgPool2d)
