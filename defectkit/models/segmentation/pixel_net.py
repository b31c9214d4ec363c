"""The sliding-window pixel classifier (Ciresan et al. 2012): the class at a window's center.

A small max-pooling network sees the 33x33 pixels around each pixel. Window by window that would
repeat almost all of the work, so it is run densely, with the same result (Masci et al. 2013): each
pooling has stride 1, and the layers after it are dilated by 2 instead, so that no position is
skipped.

Shapes: B images, C input channels, K outputs, H and W of any size.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

WINDOW = 33
"""Side of the window in pixels: 33, convolved to 30, pooled to 15, convolved to 12, pooled to 6."""


class PixelNet(nn.Module):
    """Classifies every pixel by the window around it, with the image reflected at its border."""

    size_divisor = 1

    def __init__(
        self, *, in_channels: int, out_channels: int, widths: tuple[int, int, int] = (16, 24, 48)
    ) -> None:
        super().__init__()
        first, second, hidden = widths
        self.conv1 = nn.Conv2d(in_channels, first, 4)
        self.conv2 = nn.Conv2d(first, second, 4, dilation=2)
        self.hidden = nn.Conv2d(second, hidden, 6, dilation=4)  # the fully connected layer
        self.head = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) float -> logits (B, K, H, W)."""
        reach = WINDOW // 2
        # Reflection cannot exceed the image's size: for a tiny image the border is repeated.
        mode = "reflect" if min(images.shape[-2:]) > reach else "replicate"
        x = F.pad(images, (reach,) * 4, mode=mode)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, stride=1)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2, stride=1, dilation=2)
        return cast(torch.Tensor, self.head(F.relu(self.hidden(x))))
