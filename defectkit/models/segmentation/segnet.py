"""SegNet (Badrinarayanan, Kendall and Cipolla, 2015) in its four-stage form.

Shapes: B images, C input channels, K output channels, H and W divisible by 16.
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3))
"""(channels, convolutions) of each stage, from the input on."""


class SegNet(nn.Module):
    """Encoder and mirrored decoder of conv-BN-ReLU blocks without skip connections.

    Max-pooling keeps the indices of the maxima, and unpooling in the decoder puts values back
    there. Batch norm on the raw input stands in for input normalization.
    """

    size_divisor = 2 ** len(STAGES)

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(in_channels)
        widths = [in_channels, *(channels for channels, _ in STAGES)]
        depths = [depth for _, depth in STAGES]
        self.encoder = nn.ModuleList(
            _block([below] + [above] * depth)
            for (below, above), depth in zip(pairwise(widths), depths, strict=True)
        )
        # Mirrored: each stage keeps its channels until its last convolution, which has those of the
        # next stage; the last convolution of the last stage is the head, which gives logits.
        (top, top_depth), *_ = STAGES
        self.decoder = nn.ModuleList(
            [
                *(
                    _block([channels] * depth + [below])
                    for (channels, depth), (below, _) in zip(
                        STAGES[:0:-1], STAGES[-2::-1], strict=True
                    )
                ),
                _block([top] * top_depth),
            ]
        )
        self.head = nn.Conv2d(top, out_channels, kernel_size=3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) float -> logits (B, K, H, W)."""
        x = self.input_norm(images)
        indices = []
        for stage in self.encoder:
            x, index = F.max_pool2d_with_indices(stage(x), (2, 2))  # H and W halve
            indices.append(index)
        for stage, index in zip(self.decoder, reversed(indices), strict=True):
            x = stage(F.max_unpool2d(x, index, (2, 2)))
        return cast(torch.Tensor, self.head(x))


def _block(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for below, above in pairwise(widths):
        layers += [
            nn.Conv2d(below, above, 3, padding=1),
            nn.BatchNorm2d(above),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
