import pytest
import torch
import torch.nn.functional as F

from defectkit.models.segmentation.pixel_net import WINDOW, PixelNet


def classify_window(net: PixelNet, window: torch.Tensor) -> torch.Tensor:
    """The network as its paper has it: poolings of stride 2, one result for the whole window."""
    x = F.max_pool2d(F.relu(F.conv2d(window, net.conv1.weight, net.conv1.bias)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, net.conv2.weight, net.conv2.bias)), 2)
    x = F.relu(F.conv2d(x, net.hidden.weight, net.hidden.bias))
    return F.conv2d(x, net.head.weight, net.head.bias)[:, :, 0, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_dense_pass_gives_what_each_window_gives(channels):
    torch.manual_seed(0)
    net = PixelNet(in_channels=channels, out_channels=3)
    image = torch.randn(1, channels, 41, 50)
    with torch.inference_mode():
        dense = net(image)
        padded = F.pad(image, (WINDOW // 2,) * 4, mode="reflect")
        for row, column in [(0, 0), (0, 49), (40, 3), (17, 20), (18, 21), (40, 49)]:
            window = padded[:, :, row : row + WINDOW, column : column + WINDOW]
            expected = classify_window(net, window)
            torch.testing.assert_close(dense[:, :, row, column], expected, rtol=1e-4, atol=1e-5)
    assert dense.std() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 17), (33, 33)])
def test_images_of_any_size_keep_it(size):
    net = PixelNet(in_channels=1, out_channels=2)
    with torch.inference_mode():
        assert net(torch.zeros(2, 1, *size)).shape == (2, 2, *size)
