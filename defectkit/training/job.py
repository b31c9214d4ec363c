"""What a training needs, from the dataset to the network: ``TrainingJob``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch

from defectkit import ranks
from defectkit.approaches.build import build_approach
from defectkit.approaches.fused import EarlierRun
from defectkit.approaches.interface import Approach, Samples
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.models.network import Network
from defectkit.models.novelty.fused_network import FusedNetwork
from defectkit.training.trial import UNKNOWN_TIME, ExpectedTime, try_training
from defectkit.training.validation import Validation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingJob:
    """What a training needs.

    ``training_images`` is the number of images that the samples are drawn from. With
    ``out_of_fold`` the validation images are among them: other networks are validated on these, by
    that function, at the end alone. ``expected`` are the times that a trial measured.
    """

    approach: Approach
    network: Network
    samples: Samples
    training_images: int
    validation_records: Sequence[ImageRecord]
    expected: ExpectedTime = UNKNOWN_TIME
    out_of_fold: Callable[[], Validation] | None = None

    def tried(self, device: torch.device, *, images: int | None = None) -> Self:
        """Return the job with the times that a trial measures, of several processes in the first.

        With ``train.folds``, ``images`` is the number of images in all folds together.

        Raises:
            ConfigError, MemoryShortageError: as ``try_training``.
        """
        expected = ranks.by_first(
            partial(
                try_training,
                self.approach,
                self.network,
                self.samples,
                self.validation_records,
                device,
                images=images,
                processes=ranks.world(),
            )
        )
        return replace(self, expected=expected)


def make_job(
    dataset: Dataset,
    config: Config,
    *,
    records: Sequence[ImageRecord] | None = None,
    earlier: EarlierRun | None = None,
    allow_download: bool = False,
) -> TrainingJob:
    """Return the job of training on a dataset, with its network before training.

    Args:
        dataset: the dataset; its training and validation splits are taken.
        config: the configuration.
        records: images to train on in place of both.
        earlier: the run that novelty is fused with.
        allow_download: whether pretrained weights may be fetched from the network.
    """
    approach = build_approach(
        config,
        classes=dataset.classes,
        channels=dataset.channels,
        trained=earlier.approach if earlier else None,
        trained_run=earlier.identity if earlier else "",
    )
    torch.manual_seed(config.seed)  # for the weights that are not pretrained
    network = approach.network(allow_download=allow_download)
    if isinstance(network, FusedNetwork) and earlier:
        network.trained.load_state_dict(earlier.network.state_dict())
    training = dataset.split("train") if records is None else records
    return TrainingJob(
        approach=approach,
        network=network,
        samples=approach.samples(dataset, training),
        training_images=len(training),
        validation_records=dataset.split("val") if records is None else records,
    )
