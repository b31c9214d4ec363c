import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from defectkit.models.classification import tile_classifier
from defectkit.models.classification.all_conv import AllConv
from defectkit.models.classification.classifiers import build_classifier
from defectkit.models.classification.lenet import LeNet
from defectkit.models.classification.tile_classifier import (
    TileClassifier,
    score_densely,
    score_one_by_one,
)


class Means(TileClassifier):
    """Says the mean of a tile, and of its upper left quarter: easily computed in another way."""

    def __init__(self, *, tile: int, stride: int, context: int = 0) -> None:
        super().__init__(mean=0.0, std=1.0)
        self.tile, self.stride, self.context = tile, stride, context
        self.passes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes.append(tuple(images.shape))
        edge = self.context
        own = images.float()[:, :, edge : images.shape[2] - edge, edge : images.shape[3] - edge]
        whole = F.avg_pool2d(own, self.tile, stride=self.stride)
        corner = F.avg_pool2d(own, self.tile // 2, stride=self.stride)
        return torch.cat([whole, corner[:, :, : whole.shape[2], : whole.shape[3]]], dim=1)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))


@given(
    tile=st.integers(2, 9),
    own=st.integers(1, 6),
    stride=st.integers(1, 9),
    context=st.integers(0, 3),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    beyond=st.integers(0, 8),
)
def test_each_score_is_that_of_the_tile_at_its_place(
    tile, own, stride, context, rows, columns, beyond
):
    network = Means(tile=tile, stride=own, context=context)
    side = tile + 2 * context
    beyond = min(beyond, stride - 1)  # pixels that no tile reaches
    height, width = ((n - 1) * stride + side + beyond for n in (rows, columns))
    images = noise(2, 1, height, width)
    found = score_densely(network, images, stride=stride)
    assert found.shape == (2, 2, rows, columns)
    pixels = images.numpy()[:, 0].astype(float)
    for row in range(rows):
        for column in range(columns):
            y, x = row * stride + context, column * stride + context
            whole = pixels[:, y : y + tile, x : x + tile].mean(axis=(1, 2))
            corner = pixels[:, y : y + tile // 2, x : x + tile // 2].mean(axis=(1, 2))
            got = found[:, :, row, column].numpy()
            np.testing.assert_allclose(got, np.stack([whole, corner], axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("own", "stride", "passes"),
    [(4, 8, 1), (4, 4, 1), (4, 2, 4), (4, 6, 4), (8, 2, 16), (4, 1, 16)],
)
def test_as_many_passes_as_needed_are_made(own, stride, passes):
    network = Means(tile=16, stride=own)
    score_densely(network, noise(1, 1, 64, 64), stride=stride)
    assert len(network.passes) == passes


def valid_networks() -> dict[str, TileClassifier]:
    torch.manual_seed(3)
    options = {"in_channels": 1, "out_channels": 3}
    return {
        "all_conv": AllConv(tile=32, **options).eval(),
        "all_conv of odd tiles": AllConv(tile=37, **options).eval(),
        "lenet": LeNet(tile=32, **options).eval(),
        "lenet of odd tiles": LeNet(tile=27, **options).eval(),
    }


@pytest.mark.parametrize("name", valid_networks())
@given(stride=st.integers(1, 12), rows=st.integers(1, 4), columns=st.integers(1, 4))
@settings(max_examples=12)
def test_a_network_without_padding_says_the_same_densely_as_tile_by_tile(
    name, stride, rows, columns
):
    network = valid_networks()[name]
    height, width = ((n - 1) * stride + network.tile for n in (rows, columns))
    images = noise(1, 1, height, width, seed=100 + stride)  # no output is equal by chance
    with torch.inference_mode():
        found = score_densely(network, images, stride=stride)
        alone = score_one_by_one(network, images, stride=stride)
    assert found.shape == alone.shape == (1, 3, rows, columns)
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
    if rows * columns > 1:
        assert alone.flatten(2).std(dim=2).min() > 1e-4  # tiles do differ


def padded_network(*, tile: int, context: int, reduction: int) -> TileClassifier:
    torch.manual_seed(3)
    network = build_classifier(
        encoder="resnet18", tile=tile, context=context, reduction=reduction, in_channels=1,
        out_channels=2, state=None,
    ).eval()  # fmt: skip
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # without training, some are 0 and hide what is seen
    return network


@pytest.mark.parametrize("stride", [4, 8, 24])
def test_a_padded_encoder_says_the_same_where_its_border_is_out_of_reach(stride):
    # At 1/8 of the image's side it sees 49 pixels far.
    network = padded_network(tile=16, context=56, reduction=8)
    images = noise(1, 1, 128 + 2 * stride, 128 + stride)
    with torch.inference_mode():
        found = score_densely(network, images, stride=stride)
        alone = score_one_by_one(network, images, stride=stride)
    assert found.shape == (1, 2, 3, 2)
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
    assert alone.flatten(2).std(dim=2).min() > 1e-3


def test_the_more_context_the_less_a_padded_encoder_significant():
    apart = []
    for context in (0, 16, 48):
        network = padded_network(tile=32, context=context, reduction=16)
        images = F.pad(noise(1, 1, 96, 96), (context,) * 4, mode="reflect")
        with torch.inference_mode():
            found = score_densely(network, images, stride=32)
            alone = score_one_by_one(network, images, stride=32)
        # The tile in the middle; those at the side see the same border either way.
        apart.append((found - alone)[0, :, 1, 1].abs().max().item())
    assert apart[0] > 2 * apart[1] > 4 * apart[2]


def test_tiles_are_run_in_batches_in_order(monkeypatch):
    monkeypatch.setattr(tile_classifier, "TILES_AT_ONCE", 8)
    network = Means(tile=6, stride=3, context=1)
    images = noise(3, 2, 32, 44)
    found = score_one_by_one(network, images, stride=5)
    assert found.shape == (3, 4, 5, 8)
    assert max(shape[0] for shape in network.passes) <= 8
    assert {shape[1:] for shape in network.passes} == {(2, 8, 8)}
    torch.testing.assert_close(found, score_densely(network, images, stride=5))
