import copy

import pytest
import torch
from torch import nn

from defectkit.models.detection.pyramids import ConvPyramid, Pyramid
from defectkit.models.encoders import build_features


def features(reductions):
    return build_features("resnet18", in_channels=1, reductions=reductions, state=None)


@pytest.mark.parametrize("levels", [1, 3, 4, 6])
def test_a_pyramid_halves_from_level_to_level(levels):
    reductions = (4, 8, 16, 32)[:levels]
    pyramid = Pyramid(features(reductions), levels=levels, width=24).eval()
    maps = pyramid(torch.randn(2, 1, 96, 64))
    assert list(maps) == [str(level) for level in range(levels)]
    for level, one in enumerate(maps.values()):
        stride = 4 * 2**level
        assert one.shape == (2, 24, -(-96 // stride), -(-64 // stride))


def test_cells_of_extra_levels_are_every_second_one():
    maps = Pyramid(features((16, 32)), levels=3, width=8).eval()(torch.randn(1, 1, 160, 96))
    torch.testing.assert_close(maps["2"], maps["1"][:, :, ::2, ::2])


def test_context_of_the_coarse_maps_reaches_the_fine_ones():
    pyramid = Pyramid(features((8, 32)), levels=2, width=8).eval()
    maps = [torch.randn(1, 128, 8, 8), torch.randn(1, 512, 2, 2)]
    pyramid._features[0] = lambda _: maps
    fine = pyramid(None)["0"]
    maps[1] = torch.randn(1, 512, 2, 2)
    assert not torch.allclose(fine, pyramid(None)["0"])


def test_ssds_maps_are_the_encoders_normalized_and_then_convolutions():
    encoder = features((8, 16))
    pyramid = ConvPyramid(encoder, levels=4).train()
    pixels = 100 * torch.randn(2, 1, 64, 64)
    maps = pyramid(pixels)
    assert pyramid.out_channels == [128, 256, 128, 128]
    assert [tuple(one.shape[1:]) for one in maps.values()] == [
        (128, 8, 8), (256, 4, 4), (128, 2, 2), (128, 1, 1),
    ]  # fmt: skip
    own = encoder(pixels)
    for level in (0, 1):
        expected = nn.functional.batch_norm(own[level], None, None, training=True)
        torch.testing.assert_close(maps[str(level)], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "kind", [lambda f: Pyramid(f, levels=2, width=8), lambda f: ConvPyramid(f, levels=3)]
)
def test_the_encoder_is_used_and_not_registered(kind):
    encoder = features((16, 32))
    holder = nn.Module()
    holder.features, holder.pyramid = encoder, kind(encoder)
    names = [name for name in holder.state_dict() if "conv1" in name]
    assert names
    assert all(name.startswith("features.") for name in names)
    twin = copy.deepcopy(holder)  # as the moving average of weights does
    assert twin.pyramid._features[0] is twin.features
    assert twin.features is not encoder
