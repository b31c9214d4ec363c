"""Batches of training samples.

Every random draw is keyed by (seed, epoch, sample), so the number of loader processes and a resume
change nothing.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from defectkit.approaches.interface import Samples
from defectkit.config import TrainConfig
from defectkit.devices import usable_processors
from defectkit.errors import DefectkitError

MAX_WORKERS = 8
"""Maximum of loader processes where ``data.workers`` does not say their number."""


class EpochLoader:
    """Batches of an epoch's samples, on the device; loader processes live for the whole run."""

    def __init__(
        self, samples: Samples, config: TrainConfig, *, workers: int | None, device: torch.device
    ) -> None:
        if workers is None:
            workers = min(max(usable_processors() - 1, 0), MAX_WORKERS)
        self.samples = samples
        self.device = device
        self.batches = _EpochBatches(len(samples), config.batch_size)
        keyed = _KeyedSamples(samples)
        self.loader = DataLoader(
            keyed,
            batch_sampler=self.batches,
            collate_fn=keyed.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_limit_threads,
            pin_memory=device.type == "cuda",
            # The loader draws a number now and then; from a generator of its own, so that dropout
            # draws the same with any number of processes.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets) of each batch of an epoch."""
        self.batches.epoch = epoch
        for batch in self.loader:
            if isinstance(batch, DefectkitError):
                raise batch
            inputs, targets = batch
            yield (
                _to_device(inputs, self.device, channels_last=True),
                _to_device(targets, self.device, channels_last=True),
            )

    def image_ids(self, epoch: int, batch: int) -> list[str]:
        """Return the images of a batch, which counts from 0."""
        keys = batch_keys(epoch, batch, self.batches.batch_size)
        return [self.samples.image_id(key) for key in keys]


def batches_of_one(samples: Samples, device: torch.device) -> Iterator[tuple[torch.Tensor, Any]]:
    """Yield the samples of epoch 0 as batches of one, for what is fitted and not learned."""
    for index in range(len(samples)):
        inputs, targets = samples.collate([samples[0, index]])
        yield _to_device(inputs, device), _to_device(targets, device)


def batch_keys(epoch: int, batch: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the sample keys (epoch, index) of one batch, which counts from 0."""
    return [(epoch, batch * batch_size + place) for place in range(batch_size)]


class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """Yields lists of (epoch, index): loader processes learn the epoch with each sample."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self.samples, self.batch_size, self.epoch = samples, batch_size, 0

    def __len__(self) -> int:
        return max(self.samples // self.batch_size, 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in range(len(self)):
            yield batch_keys(self.epoch, batch, self.batch_size)


class _KeyedSamples(Dataset[Any]):
    """The samples, as torch's loader takes them; errors come as values."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, key: tuple[int, int]) -> Any:
        try:
            return self.samples[key]
        except DefectkitError as error:
            return error  # Raised in a loader process, it would reach the user with its traceback.

    def collate(self, samples: list[Any]) -> Any:
        """Join samples to a batch; the first error among them takes its place."""
        errors = (sample for sample in samples if isinstance(sample, DefectkitError))
        return next(errors, None) or self.samples.collate(samples)


def _to_device(batch: Any, device: torch.device, *, channels_last: bool = False) -> Any:
    """Move the tensors of a batch; ``channels_last`` is the faster layout for those of images."""
    if isinstance(batch, dict):
        return {k: _to_device(v, device, channels_last=channels_last) for k, v in batch.items()}
    if isinstance(batch, list | tuple):
        return [_to_device(value, device, channels_last=channels_last) for value in batch]
    change = channels_last and batch.ndim == 4
    layout = torch.channels_last if change else torch.preserve_format
    return batch.to(device, memory_format=layout, non_blocking=True)


def _limit_threads(_: int) -> None:
    # One thread for each loader process: the processors belong to the network.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
