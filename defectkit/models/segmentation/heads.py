"""What a segmentation network says besides its map: the class of a place, and of an image whether.

Both see the encoder's deep features, which know the surroundings that a single pixel does not have.

Shapes: B images, H and W in pixels, K classes; features (B, F, h, w) at 1/16 or 1/32 of the image's
side.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

HIDDEN = 64
"""Number of channels between the features and what the heads say."""


class DeepFeatures(nn.Module):
    """Joins the encoder's maps at 1/16 and 1/32 of the image's side, or its deepest one alone."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Take the last two of the maps with these numbers of channels."""
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(sum(channels[-2:]), HIDDEN, 1, bias=False), nn.BatchNorm2d(HIDDEN), nn.ReLU()
        )

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, 64, h, w), as fine as the last map but one."""
        fine, deep = features[-2:]
        deep = F.interpolate(deep, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return cast(torch.Tensor, self.reduce(torch.cat([fine, deep], dim=1)))


class ClassHead(nn.Module):
    """Says which class a defect at a place would have."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.features = DeepFeatures(channels)
        self.classes = nn.Conv2d(HIDDEN, classes, 1)

    def forward(self, features: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        """Return the logits of the classes at an image's size, (B, K, H, W)."""
        return F.interpolate(
            self.classes(self.features(features)),
            size=tuple(size),
            mode="bilinear",
            align_corners=False,
        )


class ImageHead(nn.Module):
    """Says whether an image has a defect, from deep features and from the map itself.

    After the decision network of Bozic, Tabernik and Skocaj ("Mixed supervision for surface-defect
    detection", Computers in Industry 2021): the map goes in, but no gradient comes back through it.
    It learns from crops; of a larger image the highest of its overlapping windows of a crop's side
    counts, so that what it says does not depend on the image's size.
    """

    def __init__(self, channels: Sequence[int], *, window: int) -> None:
        """Judge windows of ``window`` x ``window`` pixels."""
        super().__init__()
        self.window = window
        self.features = DeepFeatures(channels)
        self.mix = nn.Sequential(
            nn.Conv2d(HIDDEN + 1, HIDDEN, 3, padding=1, bias=False),
            nn.BatchNorm2d(HIDDEN),
            nn.ReLU(),
        )
        self.decide = nn.Conv2d(2 * (HIDDEN + 1), 1, 1)

    def forward(self, features: Sequence[torch.Tensor], defect_map: torch.Tensor) -> torch.Tensor:
        """Return logits (B,); ``defect_map`` has the logits of any defect, (B, 1, H, W)."""
        deep = self.features(features)
        seen = F.adaptive_max_pool2d(defect_map.detach(), deep.shape[2:])
        seen = seen.clamp(-10.0, 10.0) / 5.0
        mixed = torch.cat([self.mix(torch.cat([deep, seen], dim=1)), seen], dim=1)
        side = max(round(self.window * deep.shape[2] / defect_map.shape[2]), 1)
        window = tuple(min(side, length) for length in mixed.shape[2:])
        step = tuple(max(length // 2, 1) for length in window)
        pooled = [
            F.max_pool2d(mixed, window, step, ceil_mode=True),
            F.avg_pool2d(mixed, window, step, ceil_mode=True),
        ]
        return cast(torch.Tensor, self.decide(torch.cat(pooled, dim=1)).amax(dim=(1, 2, 3)))
