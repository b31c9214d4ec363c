"""One feature map out of several: fine enough to locate, with the context of the coarser ones."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import Conv2dNormActivation


class TopDown(nn.Module):
    """The finest level of a feature pyramid (Lin et al. 2017): coarse maps are upsampled and added.

    ``in_channels`` lists the channels of the maps, the finest first; ``width`` is the result's.
    """

    def __init__(self, *, in_channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(below, width, 1) for below in in_channels)
        self.mix = Conv2dNormActivation(width, width, 3)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps (B, channels, H / 2^i, W / 2^i) -> (B, width, H, W), the finest map's size."""
        *finer, x = [conv(one) for conv, one in zip(self.lateral, maps, strict=True)]
        for one in reversed(finer):
            x = one + F.interpolate(x, size=one.shape[2:], mode="nearest")
        return cast(torch.Tensor, self.mix(x))
