"""The small LeNet-like network: two convolutions of 5x5 with 6 and 16 filters, then 120-84-K.

Shapes: B images, C input channels, K outputs, H and W in pixels.
"""

from typing import cast

import torch
from torch import nn

from defectkit.models.classification.tile_classifier import TileClassifier


class LeNet(TileClassifier):
    """Logits of the tiles at every 4 pixels.

    The fully connected layers are convolutions, the first as large as a tile's map (Sermanet et al.
    2014, OverFeat): the same on a tile, and on an image they classify all of its tiles in one pass.
    """

    def __init__(self, *, tile: int, in_channels: int, out_channels: int) -> None:
        super().__init__(mean=127.5, std=63.75)
        self.tile, self.stride = tile, 4
        side = ((tile - 4) // 2 - 4) // 2  # two convolutions, each followed by a pooling of 2
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 120, side),
            nn.ReLU(inplace=True),
            nn.Conv2d(120, 84, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(84, out_channels, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [0, 255], uint8 or float -> logits (B, K, h, w) of the tiles."""
        return cast(torch.Tensor, self.layers(self.normalize(images)))
