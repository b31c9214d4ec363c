"""Arithmetic is counted as by hand: a multiplication and an addition are two."""

from types import SimpleNamespace

import torch
from torch import nn

from defectkit.evaluation.cost import SIDE, count_flops, count_parameters


def approach(find, channels=1):
    return SimpleNamespace(find=find, channels=channels)


def looked_at(network, images):
    with torch.inference_mode():
        network(torch.from_numpy(images[0]).permute(2, 0, 1)[None].float())


def test_a_convolution_is_counted_as_by_hand():
    network = nn.Conv2d(3, 8, 5, padding=2)
    assert count_flops(approach(looked_at, 3), network) == 2 * 8 * 3 * 5 * 5 * SIDE * SIDE
    assert count_parameters(network) == 8 * 3 * 5 * 5 + 8


def test_the_image_is_the_same_each_time():
    seen = []
    for _ in range(2):
        count_flops(approach(lambda _, images: seen.append(images[0])), nn.Identity())
    assert (seen[0] == seen[1]).all()
    assert (seen[0].shape, seen[0].dtype.name, seen[0].std() > 60) == ((SIDE, SIDE, 1), "uint8", 1)


def test_what_cannot_be_counted_is_unknown():
    def refuses(*_):
        raise RuntimeError("cannot be watched")

    assert count_flops(approach(refuses), nn.Identity()) is None
    assert count_flops(approach(lambda *_: None), nn.Identity()) is None
