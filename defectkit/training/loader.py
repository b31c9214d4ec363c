"""Batches of training samples.

Every random draw is keyed by (seed, epoch, sample), so the number of loader processes and a resume
change nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from defectkit import launcher, ranks
from defectkit.approaches.interface import Samples
from defectkit.approaches.sample_draws import HardPlace, SampleKey
from defectkit.config import Config
from defectkit.devices import usable_processors
from defectkit.errors import DefectkitError
from defectkit.processes import allowed_workers, explain_failed_start, prepare_worker

Key = TypeVar("Key")

MAX_WORKERS = 8
"""Maximum of loader processes for a CPU, where ``data.workers`` does not say their number."""
MAX_GPU_WORKERS = 32
"""The same for a GPU, which waits for them."""
PREFETCHED = 4
"""Number of batches that each loader process reads ahead."""
NO_WORKERS = "--set data.workers=0"
"""The setting that starts no loader process."""


class EpochLoader:
    """Batches of an epoch's samples, on the device; loader processes live for the whole run.

    Of several processes (``ranks``) each has a part of every batch.
    """

    def __init__(
        self, samples: Samples, config: Config, *, workers: int | None, device: torch.device
    ) -> None:
        if workers is None:
            most = MAX_WORKERS if device.type == "cpu" else MAX_GPU_WORKERS
            processors = usable_processors() // launcher.on_this_machine()
            workers = min(max(processors - 1, 0), most)
        if workers:
            needed = _prefetched_bytes(samples, len(own_part(range(config.train.batch_size))))
            workers = allowed_workers(workers, option=NO_WORKERS, shared_bytes=needed)
        self.samples = samples
        self.device = device
        self.batches = _EpochBatches(len(samples), config)
        keyed = _KeyedSamples(samples)
        self.loader = DataLoader(
            keyed,
            batch_sampler=self.batches,
            collate_fn=keyed.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCHED if workers else None,
            worker_init_fn=_start_worker,
            pin_memory=device.type == "cuda",
            # The loader draws a number now and then; from a generator of its own, so that dropout
            # draws the same with any number of processes.
            generator=torch.Generator(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the loader processes, also where the traceback of an error still refers to them."""
        iterator = self.loader._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()  # nothing public does it

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.batches)

    def epoch(self, epoch: int, hard_places: Sequence[HardPlace] = ()) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets) of each batch of an epoch, some near the hard places."""
        self.batches.epoch, self.batches.hard_places = epoch, hard_places
        with explain_failed_start(NO_WORKERS):
            batches = iter(self.loader)
        for batch in handed_over(batches):
            if isinstance(batch, DefectkitError):
                raise batch
            inputs, targets = batch
            yield (
                to_device(inputs, self.device, channels_last=True),
                to_device(targets, self.device, channels_last=True),
            )

    def image_ids(self, epoch: int, batch: int) -> list[str]:
        """Return the images of a batch, which counts from 0."""
        assert epoch == self.batches.epoch, (epoch, self.batches.epoch)
        return [self.samples.image_id(key) for key in self.batches.keys(batch)]


def handed_over(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches of loader processes.

    Raises:
        RuntimeError: a process was killed while it handed over a batch. torch itself tells of those
            that die at another time, in words that begin as these do.
    """
    try:
        yield from batches
    except (ConnectionError, EOFError) as error:
        if str(error).startswith("Caught "):  # It comes from the work of the process.
            raise
        raise RuntimeError(f"DataLoader worker ended in a batch: {type(error).__name__}") from error


def batches_of_one(samples: Samples, device: torch.device) -> Iterator[tuple[torch.Tensor, Any]]:
    """Yield the samples of epoch 0 as batches of one, for what is fitted and not learned."""
    for index in range(len(samples)):
        inputs, targets = samples.collate([samples[0, index]])
        yield to_device(inputs, device), to_device(targets, device)


def own_part(batch: Sequence[Key]) -> list[Key]:
    """Return the part of a batch that this process has: parts differ by one sample at most."""
    first, end = (place * len(batch) // ranks.world() for place in (ranks.rank(), ranks.rank() + 1))
    return list(batch[first:end])


def batch_keys(epoch: int, batch: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the sample keys (epoch, index) of one batch, which counts from 0."""
    return [(epoch, batch * batch_size + place) for place in range(batch_size)]


class _EpochBatches(Sampler[list[SampleKey]]):
    """Yields lists of keys: loader processes learn the epoch and a hard place with each sample."""

    def __init__(self, samples: int, config: Config) -> None:
        self.samples, self.batch_size, self.epoch = samples, config.train.batch_size, 0
        self.seed = config.seed
        self.hard_places: Sequence[HardPlace] = ()

    def __len__(self) -> int:
        return max(self.samples // self.batch_size, 1)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch in range(len(self)):
            yield own_part(self.keys(batch))

    def keys(self, batch: int) -> list[SampleKey]:
        """Return the keys of one batch of the epoch, which counts from 0: of all processes."""
        keys: list[SampleKey] = []
        for epoch, index in batch_keys(self.epoch, batch, self.batch_size):
            if self.hard_places:
                rng = np.random.default_rng((self.seed, epoch, index))
                place = int(rng.integers(len(self.hard_places)))
                keys.append((epoch, index, self.hard_places[place]))
            else:
                keys.append((epoch, index))
        return keys


class _KeyedSamples(Dataset[Any]):
    """The samples, as torch's loader takes them; errors come as values."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, key: SampleKey) -> Any:
        try:
            return self.samples[key]
        except DefectkitError as error:
            return error  # Raised in a loader process, it would reach the user with its traceback.

    def collate(self, samples: list[Any]) -> Any:
        """Join samples to a batch; the first error among them takes its place."""
        errors = (sample for sample in samples if isinstance(sample, DefectkitError))
        return next(errors, None) or self.samples.collate(samples)


def to_device(batch: Any, device: torch.device, *, channels_last: bool = False) -> Any:
    """Move the tensors of a batch; ``channels_last`` is the faster layout for those of images."""
    if isinstance(batch, dict):
        return {k: to_device(v, device, channels_last=channels_last) for k, v in batch.items()}
    if isinstance(batch, list | tuple):
        return [to_device(value, device, channels_last=channels_last) for value in batch]
    change = channels_last and batch.ndim == 4
    layout = torch.channels_last if change else torch.preserve_format
    return batch.to(device, memory_format=layout, non_blocking=True)


def _prefetched_bytes(samples: Samples, batch_size: int) -> int:
    """Return the bytes of the batches that wait in shared memory for each loader process."""
    inputs, targets = samples.collate([samples[1, 0]])
    # One more batch is being written.
    return (PREFETCHED + 1) * batch_size * _count_bytes([inputs, targets])


def _count_bytes(batch: Any) -> int:
    if isinstance(batch, dict):
        batch = batch.values()
    return batch.nbytes if isinstance(batch, torch.Tensor) else sum(map(_count_bytes, batch))


def _start_worker(_: int) -> None:
    prepare_worker()
    # One thread for each loader process: the processors belong to the network.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
