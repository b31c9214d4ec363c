"""A trial before a run begins: whether the network takes its samples, and how long that takes."""

import copy
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from defectkit.approaches.interface import Approach, Samples
from defectkit.config import Config, TrainConfig
from defectkit.data.dataset import ImageRecord
from defectkit.errors import ConfigError, first_line
from defectkit.models.network import Network
from defectkit.training.failures import explain_failures
from defectkit.training.folds import folds_reserve
from defectkit.training.gradients import BatchParts, add_gradients
from defectkit.training.loader import batch_keys, batches_of_one, to_device
from defectkit.training.reduced_precision import choose_dtype
from defectkit.training.schedule import CAUTION
from defectkit.training.validation import validate

ABOUT_SAMPLES = re.compile(r"more than 1 value per channel|\b(sizes?|shapes?|height|width)\b", re.I)
"""What networks say of too few samples, and of images whose size they do not take."""
TRIED_SAMPLES = 2
"""Number of samples that a network is tried with which learns nothing by gradients."""
WORTH_REPEATING = 3.0
"""In seconds: a longer first step on a CPU is not timed again."""
TIMED_IMAGES = 4
"""Number of validation images by which the time of an image is estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTime:
    """The times in seconds that are expected: of an image in validation, a step, what is fitted.

    That is fitted after the last sample or epoch, and not learned by gradients.
    """

    image: float
    fitting: float = 0.0
    step: float = 0.0

    def validation(self, images: int) -> float:
        """Return the seconds of a validation."""
        return self.fitting + images * self.image


UNKNOWN_TIME = ExpectedTime(image=0.0)
"""Where nothing was tried: a resumed training measures its own times."""


def try_training(
    approach: Approach,
    network: Network,
    samples: Samples,
    validation_records: Sequence[ImageRecord],
    device: torch.device,
    *,
    images: int | None = None,
    processes: int = 1,
) -> ExpectedTime:
    """Try a step of training and a part of a validation on a copy of ``network``.

    What would end a training in its first epoch ends it here, before there is a run. Returns the
    times that validation takes. With ``train.folds``, ``images`` is the number of images in all
    folds together. ``processes`` share each batch and the images of a validation.

    Raises:
        ConfigError: the network does not take the samples or images, or ``train.max_time`` is too
            short.
        MemoryShortageError: there is too little memory for a step.
    """
    config, trial = approach.config, copy.deepcopy(network).to(device)
    # The draws of the trial change none of the training's.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            with explain_failures(config):
                step = _try_step(approach, trial, samples, device, processes)
                expected = _try_validation(approach, trial, samples, validation_records, device)
                expected = replace(expected, image=expected.image / processes, step=step)
        except (AssertionError, RuntimeError, ValueError) as error:
            if reason := _refused_samples(error, config):
                raise ConfigError(reason) from error
            raise
    validation = expected.validation(len(validation_records) if images is None else images)
    _check_time(config.train, step=step, validation=validation)
    return expected


def _check_time(config: TrainConfig, *, step: float, validation: float) -> None:
    """Check that ``max_time`` is enough; ``step`` and ``validation`` are seconds."""
    max_time, each, needed = config.max_time, "", step + validation
    if config.folds:
        each = f" for {config.folds + 1} trainings"
        needed = (config.folds + 1) * step + folds_reserve(CAUTION * validation)
    if max_time is not None and max_time < needed:
        raise ConfigError(
            f"--max-time {max_time:g}s is too short{each}: here a step takes about "
            f"{step:.1f} s, and a validation with what is fitted before it about "
            f"{validation:.1f} s. Give at least --max-time {math.ceil(2 * needed)}s."
        )


def _try_step(
    approach: Approach, network: Network, samples: Samples, device: torch.device, processes: int
) -> float:
    start, config = time.monotonic(), approach.config.train
    if not network.learns:
        network.fit_before_training(islice(batches_of_one(samples, device), TRIED_SAMPLES))
        return time.monotonic() - start
    # Batches are normalized together, which one process alone needs two samples for.
    batch_size = max(-(-config.batch_size // processes), min(config.batch_size, 2))
    keys = batch_keys(1, 0, batch_size)

    def step() -> float:
        start = time.monotonic()
        inputs, targets = to_device(samples.collate([samples[key] for key in keys]), device)
        terms = add_gradients(
            approach,
            network,
            inputs,
            targets,
            parts=BatchParts(),
            scaler=torch.amp.GradScaler(device.type, enabled=False),
            dtype=choose_dtype(network, config, device),
        )
        terms["loss"].item()  # waits for a GPU
        return time.monotonic() - start

    network.train()
    seconds = _prepared(step, device)
    # On a CPU the first step is a little longer too: what is told of the whole training counts.
    return step() if device.type == "cpu" and seconds < WORTH_REPEATING else seconds


def _try_validation(
    approach: Approach,
    network: Network,
    samples: Samples,
    records: Sequence[ImageRecord],
    device: torch.device,
) -> ExpectedTime:
    start, fitting = time.monotonic(), 0.0
    if approach.config.train.max_time is not None:  # only then the time matters
        network.fit_after_epoch(batches_of_one(samples, device))
        fitting = time.monotonic() - start
        images, _ = next(iter(batches_of_one(samples, device)))
        height, width = images.shape[2:]
        fitting += network.seconds_to_fit((height, width), len(samples))
    validate(approach, network, records[:1])  # the first image pays for what is set up once
    tried = records[:: max(len(records) // TIMED_IMAGES, 1)][:TIMED_IMAGES]
    image = _prepared(lambda: validate(approach, network, tried).image_seconds, device)
    return ExpectedTime(image=image, fitting=fitting)


def _prepared(seconds: Callable[[], float], device: torch.device) -> float:
    """Return the ``seconds`` that something takes; on a GPU those of the second time.

    There the first time of each size of batch or image is seconds longer, since kernels are chosen
    and loaded for it.
    """
    if device.type != "cpu":
        seconds()
    return seconds()


def _refused_samples(error: Exception, config: Config) -> str:
    """Return why the network does not take its samples; "" for any other error, a fault."""
    model, reason = config.model, first_line(error)
    if not ABOUT_SAMPLES.search(reason):
        return ""
    if "more than 1 value per channel" in reason:
        return (
            f"{model.architecture} cannot learn from one sample at a time: its batch normalization "
            "needs at least two values per channel. Use --set train.batch_size=2 or more."
        )
    return (
        f"{model.architecture} on {model.encoder} does not take these images ({reason}). Choose "
        "another data.crop, for whole images data.resize, or model.encoder (--set)."
    )
