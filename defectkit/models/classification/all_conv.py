"""The all-convolutional network (Springenberg et al. 2014): convolutions alone, without pooling.

Shapes: B images, C input channels, K outputs, H and W in pixels.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from defectkit.errors import ModelError
from defectkit.models.classification.tile_classifier import TileClassifier

LAYERS = ((96, 3, 1), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1),
          (192, 1, 1))  # fmt: skip
"""(channels, kernel, stride) of each convolution; those of stride 2 stand in for pooling."""

DROPOUT = 0.5
"""After each convolution of stride 2."""

RECEPTIVE_FIELD = 27
"""Side in pixels of what one cell of the last map sees."""


class AllConv(TileClassifier):
    """Logits at every 4 pixels; their mean over a tile classifies it.

    The convolutions have no padding, unlike the paper's: each cell sees pixels of the image alone,
    so that a tile on its own and the same tile in a larger image have the same logits.
    """

    def __init__(self, *, tile: int, in_channels: int, out_channels: int) -> None:
        super().__init__(mean=127.5, std=63.75)
        if tile < RECEPTIVE_FIELD:
            raise ModelError(
                f"patch.tile={tile} is too small for all_conv. Use {RECEPTIVE_FIELD} or more."
            )
        self.tile, self.stride = tile, 4
        self.window = (tile - RECEPTIVE_FIELD) // self.stride + 1
        layers: list[nn.Module] = []
        below = in_channels
        for channels, kernel, stride in LAYERS:
            layers += [_convolution(below, channels, kernel, stride), nn.ReLU(inplace=True)]
            layers += [nn.Dropout(DROPOUT)] if stride > 1 else []
            below = channels
        self.layers = nn.Sequential(*layers, _convolution(below, out_channels, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [0, 255], uint8 or float -> logits (B, K, h, w) of the tiles."""
        cells = cast(torch.Tensor, self.layers(self.normalize(images)))
        return F.avg_pool2d(cells, self.window, stride=1)


def _convolution(below: int, above: int, kernel: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(below, above, kernel, stride=stride)
    # Nine layers without normalization: with smaller weights the signal would vanish.
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(cast(torch.Tensor, layer.bias))
    return layer
