"""PatchCore (Roth et al. 2022): how far the features of a place are from those of good images.

Shapes: B images, C channels, H and W in pixels, h = H / 8 and w = W / 8 cells (rounded up), D
features of a cell, M cells in the bank.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn

from defectkit.models.encoders import StateDict, build_features, normalization
from defectkit.models.mirroring import mirrored_index
from defectkit.models.network import Batches, Network, require_finite
from defectkit.models.novelty.coreset import (
    choose_coreset,
    nearest_distances,
    seconds_of_coreset,
)

CELL = 8
"""Side in pixels of a cell, the finer of the two feature maps."""
REDUCTIONS = (CELL, 16)
MARGIN = 32
"""Pixels by which an image is reflected beyond its borders, so that these look like its surface."""
BORDER = 2
"""Cells from the border of an image to which the border's own calibration applies."""
POOL_FACTOR = 16
"""The bank is chosen from this many times as many cells, drawn from all good images."""
FAR_QUANTILE = 0.999
"""A distance that one good cell in a thousand exceeds gets a logit of 0, a score of 0.5."""
STEEPNESS = 4.0
"""A cell that is twice as far has odds 2 ** 4 times as large: also far cells keep their order."""
NEAREST_ZERO = 1e-6


class PatchCore(Network):
    """A frozen encoder and a bank of its features of good images: nothing is learned by gradients.

    A cell's features are those of two stages of the encoder, each averaged over 3x3 places. Its
    distance to the nearest features in the bank becomes a logit that is linear in the logarithm of
    the distance. The state has ``bank`` (M, D) and ``far`` (2,), the distances that get a logit of
    0, inside of an image and near its border, where good images differ more. (Saved models know
    these names.)
    """

    learns = False

    bank: torch.Tensor
    far: torch.Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        bank: int,
        seed: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.requires_grad_(False)
        self.seed = seed
        channels = cast(FeatureInfo, features.feature_info).channels()
        self.register_buffer("bank", torch.zeros(bank, sum(channels)))
        self.register_buffer("far", torch.ones(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) of any size -> logits (B, 1, H, W): how unlike good images each pixel is."""
        height, width = images.shape[2:]
        cells = self.cells(images)
        require_finite(cells)
        distances = nearest_distances(cells.flatten(0, 2), self.bank).reshape(cells.shape[:3])
        far = self.far.clamp_min(NEAREST_ZERO)[_near_border(distances).long()]
        logits = STEEPNESS * (distances / far).clamp_min(NEAREST_ZERO).log()
        size = tuple(CELL * side for side in logits.shape[1:])
        scaled = F.interpolate(logits[:, None], size, mode="bilinear")
        return scaled[:, :, :height, :width]

    def cells(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) of any size -> features (B, h, w, D)."""
        rows, columns = (_reflected(length).to(images.device) for length in images.shape[2:])
        fine, coarse = (
            F.avg_pool2d(stage, 3, stride=1, padding=1)
            for stage in self.features(
                self.normalize(images.index_select(2, rows).index_select(3, columns))
            )
        )
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
        first, (height, width) = MARGIN // CELL, (_cells(side) for side in images.shape[2:])
        cells = torch.cat([fine, coarse], dim=1).float().permute(0, 2, 3, 1)
        return cells[:, first : first + height, first : first + width]

    @torch.inference_mode()
    def fit_before_training(self, samples: Batches) -> None:
        """Fill the bank from good images, and calibrate distances on images of other groups.

        Targets are dicts of ``counted`` (B, H, W) bool, the pixels to learn from, and ``group``
        (B,) int64. With images of one group alone nothing is calibrated.
        """
        self.eval()
        generator = torch.Generator().manual_seed(self.seed)
        cells, groups, border = self._draw_pool(samples, generator)
        chosen = choose_coreset(cells, len(self.bank), generator)
        self.bank.copy_(cells[chosen])
        distances = nearest_distances(cells, self.bank, groups=groups, bank_groups=groups[chosen])
        known = distances.isfinite()
        for place, cells_there in enumerate((~border, border)):
            there = known & cells_there
            if not there.any():  # Small images are all border.
                there = known
            if there.any():
                self.far[place] = distances[there].quantile(FAR_QUANTILE)

    def seconds_to_fit(self, size: tuple[int, int], samples: int) -> float:
        """Return about the seconds of choosing the bank, from so many images of (height, width)."""
        height, width = (_cells(side) for side in size)
        pool = min(samples * height * width, POOL_FACTOR * len(self.bank))
        return seconds_of_coreset(pool, self.bank)

    def _draw_pool(self, samples: Batches, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Return cells (N, D), their groups (N,), and which are near a border, (N,) bool.

        All that count, or ``POOL_FACTOR`` times as many as the bank has, at random.

        Each cell draws a number when it is seen, and those with the smallest numbers stay: so all
        are equally likely, however many images there are.
        """
        size = POOL_FACTOR * len(self.bank)
        pool: list[tuple[torch.Tensor, ...]] = []
        for images, targets in samples:
            seen = self._counted_cells(images, targets)
            keys = torch.rand(len(seen[0]), generator=generator)
            pool.append((*seen, keys.to(images.device)))
            if sum(len(keys) for *_, keys in pool) > 2 * size:
                pool = [_smallest_keys(pool, size)]
        return _smallest_keys(pool, size)[:-1]

    def _counted_cells(
        self, images: torch.Tensor, targets: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """Return the cells of images (B, C, H, W) that count, as ``_draw_pool`` does."""
        cells = self.cells(images)
        counted = F.max_pool2d(targets["counted"].float(), CELL, ceil_mode=True) > 0  # (B, h, w)
        groups = targets["group"][:, None, None].expand(counted.shape)
        return cells[counted], groups[counted], _near_border(counted)[counted]


def seen_side(length: int) -> int:
    """Return the side in pixels that the encoder sees of an image of a side."""
    coarse = REDUCTIONS[-1]
    return (length + 2 * MARGIN + coarse - 1) // coarse * coarse


def _cells(length: int) -> int:
    """Return the number of cells along a side of an image."""
    return (length + CELL - 1) // CELL  # a graph rounds a negative quotient to 0


def _reflected(length: int) -> torch.Tensor:
    """Return the index (seen_side,) of the pixels of a side that is reflected at both ends."""
    return mirrored_index(length, MARGIN, seen_side(length) - length - MARGIN)


def _near_border(cells: torch.Tensor) -> torch.Tensor:
    """Return which cells of (B, h, w) lie near the border of their image, (B, h, w) bool."""
    rows, columns = (
        (place < BORDER) | (place >= length - BORDER)
        for length in cells.shape[1:]
        for place in (torch.arange(length, device=cells.device),)
    )
    return (rows[:, None] | columns).expand(cells.shape)


def _smallest_keys(pool: list[tuple[torch.Tensor, ...]], size: int) -> tuple[torch.Tensor, ...]:
    """Join tensors (N, ...) of the pool, the keys last; keep the ``size`` with smallest keys."""
    joined = [torch.cat(parts) for parts in zip(*pool, strict=True)]
    kept = joined[-1].argsort(stable=True)[:size]
    return tuple(part[kept] for part in joined)


def build_patch_core(
    *, in_channels: int, encoder: str, bank: int, seed: int, state: StateDict | None
) -> PatchCore:
    """Build the network on timm's ``encoder``; ``state`` is its pretrained weights or None.

    Raises:
        ModelError: the encoder has no feature maps at 1/8 and 1/16, or the weights do not fit.
    """
    features = build_features(encoder, in_channels=in_channels, reductions=REDUCTIONS, state=state)
    mean, std = normalization(encoder)
    return PatchCore(
        features, bank=bank, seed=seed, mean=mean, std=std, pretrained=state is not None
    )
