import numpy as np
import pytest
import torch
from torch import nn

from defectkit.approaches.build import build_approach
from defectkit.approaches.coarse import MAX_FITTED, REDUCTION, coarse_graph
from defectkit.approaches.graphs import SegmentGraph, run_graph
from defectkit.config import load_config

RNG = np.random.default_rng(5)
CPU = torch.device("cpu")
SIZE = (2, 64, 96, 1)


def whole_graph(*settings: str) -> SegmentGraph:
    """The graph of a network that answers in much of [0, 1], without a margin."""
    given = ["model.encoder=resnet18", "model.weights=none", "infer.margin=0", *settings]
    torch.manual_seed(0)
    approach = build_approach(load_config(None, given), classes=("1", "2"), channels=1)
    network = approach.network()
    network.train()
    with torch.no_grad():  # so that norms know what goes through
        network(torch.from_numpy(images(4)).permute(0, 3, 1, 2))
    return approach.graph(network.eval(), any_defect=True)


def images(count: int) -> np.ndarray:
    smooth = RNG.normal(size=(count, 8, 12, 1)).repeat(8, axis=1).repeat(8, axis=2)
    noise = RNG.normal(size=(count, *SIZE[1:]))
    return np.clip(128 + 40 * smooth + 20 * noise, 0, 255).astype(np.uint8)


def in_squares(maps: np.ndarray) -> np.ndarray:
    """(B, 1, H, W) -> (B, h, w, 16): the values of each square."""
    batch, _, height, width = maps.shape
    shape = (batch, height // REDUCTION, REDUCTION, width // REDUCTION, REDUCTION)
    squares = maps.reshape(shape).transpose(0, 1, 3, 2, 4)
    return squares.reshape(*squares.shape[:3], -1)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("model.architecture=manet", "model.decoder_channels=[16,16,16,16,16]"),
        ("loss.classes=0",),
        ("infer.margin=8", "model.input_reduction=2", "model.decoder_channels=[16,16,16,16]"),
    ],
)
def test_a_coarse_network_says_in_squares_what_the_whole_one_says(settings):
    whole = whole_graph(*settings)
    parts = [images(2) for _ in range(8)]
    before = run_graph(whole, parts[0], CPU)
    coarse = coarse_graph(whole, parts)
    assert coarse is not whole
    others = images(2)
    maps, decisions = run_graph(coarse, others, CPU)
    expected, expected_decisions = run_graph(whole, others, CPU)
    assert maps.shape == expected.shape == (2, 1, *SIZE[1:3])
    assert decisions.shape == expected_decisions.shape
    seen, largest = in_squares(maps), in_squares(expected).max(axis=-1)
    np.testing.assert_array_equal(seen.min(axis=-1), seen.max(axis=-1))
    assert np.corrcoef(seen.max(axis=-1).ravel(), largest.ravel())[0, 1] > 0.25
    # The network that it was made of is as it was.
    for one, same in zip(run_graph(whole, parts[0], CPU), before, strict=True):
        np.testing.assert_array_equal(one, same)


def test_the_layer_is_that_of_least_squares_by_numpy():
    whole = whole_graph()
    parts = [images(2) for _ in range(4)]
    coarse = coarse_graph(whole, parts)
    layer = coarse.network.body.segmentation_head[0]
    network = whole.network
    bare = network.ended_after(network.first_blocks(REDUCTION), nn.Identity())
    known, values = [], []
    for part in parts:
        with torch.inference_mode():
            features = bare.body(bare.normalize(torch.from_numpy(part).permute(0, 3, 1, 2)))
        known.append(features.permute(0, 2, 3, 1).flatten(0, 2).double().numpy())
        scores = run_graph(whole, part, CPU)[0].astype(np.float64)
        logits = np.log(scores) - np.log1p(-scores)
        values.append(in_squares(logits).max(axis=-1).clip(-MAX_FITTED, MAX_FITTED).ravel())
    known, values = np.concatenate(known), np.concatenate(values)
    known = np.column_stack([known, np.ones(len(known))])
    expected = np.linalg.lstsq(known, values, rcond=None)[0]
    given = np.append(layer.weight.detach().numpy().ravel(), layer.bias.detach().numpy())
    np.testing.assert_allclose(known @ given, known @ expected, atol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        ("model.architecture=fpn",),
        ("model.architecture=segnet",),
        ("model.decoder_channels=[16,16,16]",),  # which ends at a quarter itself
        ("loss.cross_entropy=1", "loss.classes=0", "loss.bce=0", "loss.dice=0"),
    ],
)
def test_other_networks_look_as_they_are(settings):
    graph = whole_graph(*settings)
    assert coarse_graph(graph, [images(1)]) is graph
