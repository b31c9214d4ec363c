"""Feature maps of several scales for torchvision's detectors, out of a timm encoder.

Shapes: B images, level i of H / s and W / s cells, s the stride, which doubles from level to level.
"""

from collections import OrderedDict
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

MAX_ENCODER_STRIDE = 32
"""Stride of the encoder's deepest map."""
EXTRA_CHANNELS = 128

Maps = OrderedDict[str, torch.Tensor]


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017): context of the coarse maps is added to the fine ones.

    Levels beyond the encoder's own take every second cell of the level before. All are normalized,
    since the features of encoders differ in scale, and the heads start from random weights.
    """

    def __init__(self, features: nn.Module, *, levels: int, width: int) -> None:
        super().__init__()
        channels = _channels(features)
        self._features = [features]  # in a list: the network registers it, and only once
        self.own_levels, self.levels, self.out_channels = len(channels), levels, width
        self.fpn = FeaturePyramidNetwork(channels, width, norm_layer=nn.BatchNorm2d)

    def forward(self, pixels: torch.Tensor) -> Maps:
        """(B, C, H, W), normalized -> maps (B, width, H / s, W / s) under "0", "1" ..."""
        maps: Maps = self.fpn(_by_level(self._features[0](pixels)))
        for level in range(self.own_levels, self.levels):
            maps[str(level)] = F.max_pool2d(maps[str(level - 1)], 1, stride=2)
        return maps


class ConvPyramid(nn.Module):
    """The encoder's maps, normalized, and more by strided convolutions (SSD, Liu et al. 2016)."""

    def __init__(self, features: nn.Module, *, levels: int) -> None:
        super().__init__()
        channels = _channels(features)
        self._features = [features]  # in a list: the network registers it, and only once
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        extra = [EXTRA_CHANNELS] * (levels - len(channels))
        self.extra = nn.ModuleList(
            Conv2dNormActivation(below, above, 3, stride=2)
            for below, above in zip([channels[-1], *extra], extra, strict=False)
        )
        self.out_channels = [*channels, *extra]

    def forward(self, pixels: torch.Tensor) -> Maps:
        """(B, C, H, W), normalized -> maps (B, ``out_channels[i]``, H / s, W / s)."""
        own = self._features[0](pixels)
        maps = [norm(one) for norm, one in zip(self.norms, own, strict=True)]
        for convolution in self.extra:
            maps.append(convolution(maps[-1]))
        return _by_level(maps)


def _by_level(maps: list[torch.Tensor]) -> Maps:
    return OrderedDict((str(level), one) for level, one in enumerate(maps))


def _channels(features: nn.Module) -> list[int]:
    channels: list[int] = cast(Any, features).feature_info.channels()
    return channels
