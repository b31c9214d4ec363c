import pytest
import torch

from defectkit.models.all_conv import AllConv
from defectkit.models.classifiers import build_classifier
from defectkit.models.dense import score_densely, score_one_by_one
from defectkit.models.lenet import LeNet


@pytest.mark.parametrize("network", [AllConv, LeNet])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6, 8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_dense_scores_are_those_of_the_tiles_one_by_one(network, stride, channels):
    torch.manual_seed(0)
    net = network(tile=32, in_channels=channels, out_channels=3).eval()
    images = torch.randint(0, 256, (2, channels, 32 + 5 * stride, 32 + 3 * stride + (stride > 1)))
    with torch.inference_mode():
        dense = score_densely(net, images, stride=stride)
        alone = score_one_by_one(net, images, stride=stride)
    assert dense.shape == (2, 3, 6, 4)
    torch.testing.assert_close(dense, alone, rtol=1e-4, atol=1e-4)
    assert dense.std() > 1e-4


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_padded_encoder_differs_only_by_its_padding(stride):
    """Far more like each other than tiles are: the context keeps the zeros away."""
    torch.manual_seed(0)
    net = build_classifier(
        encoder="resnet18", tile=64, context=32, reduction=16, in_channels=1, out_channels=2,
        state=None,
    ).eval()  # fmt: skip
    images = torch.nn.functional.interpolate(torch.rand(1, 1, 20, 20) * 255, size=(192, 192))
    with torch.inference_mode():
        dense = score_densely(net, images, stride=stride)
        alone = score_one_by_one(net, images, stride=stride)
    assert dense.shape == alone.shape
    spread = (alone - alone.mean((2, 3), keepdim=True)).abs().mean()
    assert (dense - alone).abs().mean() < 0.5 * spread


def test_one_tile_alone_needs_no_second_pass():
    net = AllConv(tile=64, in_channels=1, out_channels=2).eval()
    images = torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        assert score_densely(net, images, stride=1).shape == (1, 2, 1, 1)
        torch.testing.assert_close(score_densely(net, images, stride=1), net(images))
