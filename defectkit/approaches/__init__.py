"""The interface that every approach keeps, and the choice between them.

Everything above this floor (loop, evaluation, verdicts, report) knows only ``Approach``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import Finding


class Samples(Protocol):
    """Training samples, drawn anew each epoch: the same for the same (seed, epoch, index)."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the (input, target) of ``(epoch, index)``, as the default collation takes them."""
        ...

    def image_id(self, key: tuple[int, int]) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        ...

    def preview(self, count: int) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """Return (image (H, W, C), masks (K, H, W)) of the first samples, for a person to check."""
        ...


class Approach(Protocol):
    """One way of finding defects."""

    @property
    def config(self) -> Config:
        """The run's whole configuration."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes, in the order of a score map's layers."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the images it takes: 1 gray, 3 RGB."""
        ...

    @property
    def pixel_threshold(self) -> float:
        """Scores from here on belong to a region."""
        ...

    def network(self, *, allow_download: bool = False) -> nn.Module:
        """Build the network, with pretrained weights as ``model.weights`` says."""
        ...

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> Samples:
        """Training samples with targets from the given records."""
        ...

    def loss(self, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        """Named terms and ``loss``, their weighted sum."""
        ...

    def find(self, network: nn.Module, images: Sequence[npt.NDArray[np.uint8]]) -> list[Finding]:
        """Look at images (H, W, C) uint8 of any size; the network is in evaluation mode."""
        ...


def build_approach(
    config: Config, *, classes: tuple[str, ...], channels: int, pixel_threshold: float = 0.5
) -> Approach:
    """Return the approach that ``config`` names, for images of 1 (gray) or 3 (RGB) channels."""
    match config.approach:
        case "segment":
            from defectkit.approaches.segment import Segment

            return Segment(config, classes, channels, pixel_threshold)
