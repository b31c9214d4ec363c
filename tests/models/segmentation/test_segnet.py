import pytest
import torch
from torch import nn

from defectkit.models.segmentation import segnet
from defectkit.models.segmentation.segnet import SegNet


@pytest.fixture
def network() -> SegNet:
    torch.manual_seed(0)
    return SegNet(in_channels=3, out_channels=3).eval()


def test_it_has_as_many_parameters_as_its_source(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 15_279_753


def test_it_is_built_as_its_source_says(network):
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {m.kernel_size for m in convolutions} == {(3, 3)}
    assert [m.out_channels for m in convolutions] == [
        *[64, 64, 128, 128, 256, 256, 256, 512, 512, 512],
        *[512, 512, 256, 256, 256, 128, 128, 64, 64, 3],  # mirrored
    ]
    assert isinstance(network.input_norm, nn.BatchNorm2d)
    assert network.input_norm.num_features == 3
    assert isinstance(network.head, nn.Conv2d), "the outputs are logits: no norm, no ReLU"


@pytest.mark.parametrize("shape", [(32, 32), (48, 80)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 4)])
def test_the_outputs_have_the_size_of_the_inputs(in_channels, out_channels, shape):
    network = SegNet(in_channels=in_channels, out_channels=out_channels).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, in_channels, *shape))
    assert logits.shape == (2, out_channels, *shape)


def test_the_decoder_puts_values_where_the_maxima_stood(network, monkeypatch):
    pooled, unpooled = [], []
    pool, unpool = segnet.F.max_pool2d_with_indices, segnet.F.max_unpool2d

    def watched_pool(x, size):
        y, indices = pool(x, size)
        pooled.append((x, y, indices))
        return y, indices

    def watched_unpool(x, indices, size):
        y = unpool(x, indices, size)
        unpooled.append((y, indices))
        return y

    monkeypatch.setattr(segnet.F, "max_pool2d_with_indices", watched_pool)
    monkeypatch.setattr(segnet.F, "max_unpool2d", watched_unpool)
    with torch.inference_mode():
        network(torch.rand(1, 3, 32, 32))
    assert len(pooled) == len(unpooled) == 4
    for (below, top, indices), (raised, used) in zip(pooled, reversed(unpooled), strict=True):
        assert used is indices
        assert raised.shape == below.shape
        # Each value stands on the pixel whose maximum was taken, all others are 0.
        stood = torch.zeros_like(below).flatten(2).scatter(2, indices.flatten(2), 1).view_as(below)
        assert not raised[stood == 0].any()
        torch.testing.assert_close(below.flatten(2).gather(2, indices.flatten(2)), top.flatten(2))


def test_the_input_norm_makes_the_scale_of_the_input_irrelevant():
    torch.manual_seed(0)
    network = SegNet(in_channels=1, out_channels=2).train()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), network(images * 255 + 3), atol=2e-3, rtol=0)
