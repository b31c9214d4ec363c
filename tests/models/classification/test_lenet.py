import pytest
import torch
import torch.nn.functional as F

from defectkit.models.classification.lenet import LeNet


@pytest.mark.parametrize(("tile", "channels"), [(16, 1), (32, 3), (33, 1), (64, 1)])
def test_it_is_the_dense_network_of_the_courses(tile, channels):
    torch.manual_seed(0)
    network = LeNet(tile=tile, in_channels=channels, out_channels=10).eval()
    weights = {name: value for name, value in network.state_dict().items() if "layers" in name}
    first, second, *dense = [
        (weights[f"layers.{place}.weight"], weights[f"layers.{place}.bias"])
        for place in (0, 3, 6, 8, 10)
    ]
    assert first[0].shape == (6, channels, 5, 5)
    assert second[0].shape == (16, 6, 5, 5)
    assert [len(bias) for _, bias in dense] == [120, 84, 10]
    tiles = torch.randint(0, 256, (4, channels, tile, tile), dtype=torch.uint8)
    x = (tiles.float() - 127.5) / 63.75
    for weight, bias in (first, second):
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias)), 2)
    x = x.flatten(1)
    for place, (weight, bias) in enumerate(dense):
        x = F.linear(x, weight.flatten(1), bias)
        x = F.relu(x) if place < 2 else x
    with torch.inference_mode():
        logits = network(tiles)
    torch.testing.assert_close(logits[:, :, 0, 0], x, atol=1e-5, rtol=1e-4)
