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
BELOW_ALL = -1e4
"""What lies beyond the end where the largest value counts; finite also in 16 bit."""


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

    def __init__(self, channels: Sequence[int], *, window: int, reduction: int) -> None:
        """Judge windows of ``window`` x ``window`` pixels.

        A place of the finer of the deep features stands for ``reduction`` x ``reduction`` pixels.
        """
        super().__init__()
        self.reduction = reduction
        self.side = max(round(window / reduction), 1)
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
        seen = F.max_pool2d(defect_map.detach(), self.reduction)
        seen = seen.clamp(-10.0, 10.0) / 5.0
        mixed = torch.cat([self.mix(torch.cat([deep, seen], dim=1)), seen], dim=1)
        pooled, counts = self._pool(mixed)
        decisions = self.decide(pooled).masked_fill(~counts, -torch.inf)
        return cast(torch.Tensor, decisions.amax(dim=(1, 2, 3)))

    def _pool(self, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values (B, 2 F, h, w) of windows, and which of the windows count, (h, w) bool.

        The values are the largest and the mean ones.

        Windows that reach beyond the end have the places inside alone, as by ``ceil_mode``, which
        exported graphs compute in different ways. The sizes of windows are fixed, for the same
        reason: all beyond the first that reaches the end do not count.
        """
        side, step = self.side, max(self.side // 2, 1)
        beyond = (0, side, 0, side)
        largest = F.max_pool2d(F.pad(mixed, beyond, value=BELOW_ALL), side, step)
        inside = F.avg_pool2d(F.pad(torch.ones_like(mixed[:, :1]), beyond), side, step)
        means = F.avg_pool2d(F.pad(mixed, beyond), side, step) / inside.clamp_min(0.5 / side**2)
        rows, columns = (
            _counting(length, size, side=side, step=step, device=mixed.device)
            for length, size in zip(mixed.shape[2:], largest.shape[2:], strict=True)
        )
        return torch.cat([largest, means], dim=1), rows[:, None] & columns


def _counting(
    length: int, windows: int, *, side: int, step: int, device: torch.device
) -> torch.Tensor:
    """Return which windows (windows,) of a length count: up to the first that reaches its end."""
    start = torch.arange(windows, device=device) * step
    return (start == 0) | (start - step + side < length)
