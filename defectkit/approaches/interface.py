"""The interface that every approach keeps.

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
        """Return the (input, target) of ``(epoch, index)``, as ``collate`` takes them."""
        ...

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to the (inputs, targets) of a batch, tensors in lists and dicts."""
        ...

    def image_id(self, key: tuple[int, int]) -> str:
        """The image that the sample ``(epoch, index)`` is taken from."""
        ...

    def describe(self) -> list[str]:
        """Say in lines what a person should know of them; warn of what cannot be learned."""
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

    def prepare(self, network: nn.Module, samples: Samples) -> None:
        """Fit what must be known of the data before the first step of a new training.

        The grid detector's anchors are such a thing; most networks need nothing.
        """
        ...

    def loss(self, network: nn.Module, inputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        """Run the network on a batch; return named terms and ``loss``, their weighted sum.

        The forward pass is part of it, since two-stage detectors need the truth on their way.
        """
        ...

    def settle(self, network: nn.Module, samples: Samples) -> None:
        """Fit what is not learned by gradients, after each epoch, before validation.

        R-CNN's support vector machines are such parts; most networks have none.
        """
        ...

    def find(self, network: nn.Module, images: Sequence[npt.NDArray[np.uint8]]) -> list[Finding]:
        """Look at images (H, W, C) uint8 of any size; the network is in evaluation mode."""
        ...
