"""The interface of every approach.

Everything above this floor (training, evaluation, reporting, deployment) knows only ``Approach``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from defectkit.approaches.sample_draws import SampleKey
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Image, Masks
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.network import Network


class Samples(Protocol):
    """Training samples, drawn again for each epoch: equal for an equal seed and key."""

    @property
    def records(self) -> Sequence[ImageRecord]:
        """The images that they are drawn from."""
        ...

    @property
    def unit(self) -> str:
        """What the samples are, as people read it after their number."""
        ...

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def __getitem__(self, key: SampleKey) -> Any:
        """Return input and target of a sample, for ``collate``."""
        ...

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to inputs and targets of a batch: tensors, or lists and dicts of them."""
        ...

    def image_id(self, key: SampleKey) -> str:
        """The image that a sample is taken from."""
        ...

    def describe(self) -> list[str]:
        """Return lines for the user about the samples; warn of classes that cannot be learned."""
        ...

    def preview(self, count: int) -> list[tuple[Image, Masks]]:
        """Return image and masks of the first ``count`` samples, for the user to check."""
        ...


class Approach(Protocol):
    """One way of finding defects."""

    @property
    def config(self) -> Config:
        """The run's whole configuration."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes of the labels."""
        ...

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes of a score map's layers: ``classes``, or ``DEFECT_OR_NOT``."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the images it takes: 1 gray, 3 RGB, or another number up to 16."""
        ...

    @property
    def tuning(self) -> Tuning:
        """What was chosen on the validation split; before that, the defaults."""
        ...

    def network(self, *, allow_download: bool = False) -> Network:
        """Build the network, with pretrained weights as ``model.weights`` says."""
        ...

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> Samples:
        """Return training samples with targets, drawn from the given records."""
        ...

    def loss(self, network: Network, inputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        """Run the network on a batch; return named terms and ``loss``, their weighted sum.

        The forward pass is part of it, since two-stage detectors need the targets in it. Not called
        where the network learns nothing by gradients.
        """
        ...

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image (H, W, C) of any size, by a network in eval mode.

        With ``scopes``, one for each image, nothing is found outside of them.
        """
        ...
