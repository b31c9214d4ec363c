import pytest
import torch

from defectkit.models.detection.top_down import TopDown


def test_the_result_has_the_finest_size():
    maps = [torch.rand(2, 3, 8, 12), torch.rand(2, 5, 4, 6), torch.rand(2, 7, 2, 3)]
    assert TopDown(in_channels=[3, 5, 7], width=6)(maps).shape == (2, 6, 8, 12)
    assert TopDown(in_channels=[3], width=6)(maps[:1]).shape == (2, 6, 8, 12)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_map_has_a_say_near_its_own_place(level):
    torch.manual_seed(0)
    neck = TopDown(in_channels=[3, 3, 3], width=6).eval()
    maps = [torch.rand(1, 3, side, side) for side in (32, 16, 8)]
    before = neck(maps)
    maps[level] = maps[level].clone()
    maps[level][:, :, 0, 0] += 5
    changed = (neck(maps) != before).any(dim=1)[0]
    assert changed.any()
    # A cell of a coarse map covers 2^level finer ones, and the 3x3 convolution reaches one on.
    assert not changed[2**level + 1 :].any()
    assert not changed[:, 2**level + 1 :].any()
