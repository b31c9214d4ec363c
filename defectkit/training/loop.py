"""One epoch of training, flat: read it from top to bottom. ``pipelines.train`` has the order."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from defectkit import ranks
from defectkit.approaches.interface import Approach, Samples
from defectkit.models.network import Batches, Network
from defectkit.training.distributed import in_step, share_gradients
from defectkit.training.gradients import add_gradients
from defectkit.training.loader import EpochLoader, batches_of_one
from defectkit.training.schedule import Budget, freeze, learning_rate, set_learning_rate
from defectkit.training.state import EpochResult, Learner, TrainState
from defectkit.training.step_record import StepRecord, check_weights


def train_one_epoch(
    approach: Approach,
    learner: Learner,
    loader: EpochLoader,
    state: TrainState,
    budget: Budget,
    *,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> EpochResult:
    """Train the epoch after ``state.epoch``; ``state.steps`` counts its steps.

    It ends early, but not before its first step, when the time of ``budget`` is over.

    Args:
        approach: Computes the loss.
        learner: The network and what changes it, all changed in place.
        loader: The batches.
        state: How far the training is.
        budget: Gives the progress of the whole training, on which the learning rate depends.
        on_progress: Called after each step with the progress in [0, 1] and a line of text.

    Raises:
        NotFiniteError: the loss or its gradient is not finite, and the message names the images; or
            the weights are not, or steps are skipped for ever.
    """
    config, device = approach.config.train, loader.device
    network, optimizer, scaler = learner.network, learner.optimizer, learner.scaler
    epoch = state.epoch + 1
    # Dropout and the like draw from torch's generator: keyed by the epoch, a resume draws the same.
    # Of several processes each draws its own, since each has other samples.
    torch.manual_seed(_epoch_seed(approach.config.seed, epoch))
    network.train()
    encoder_waits = epoch <= config.freeze_encoder_epochs or not config.encoder_lr_factor
    freeze(network, stages=config.freeze_stages, encoder=encoder_waits)
    trained = share_gradients(network)
    record = StepRecord(
        device,
        scaled=scaler.is_enabled(),
        skipped=state.skipped,
        describe=partial(_describe_not_finite, loader, epoch),
    )
    start, done, rate = time.monotonic(), 0, 0.0

    for inputs, targets in in_step(loader.epoch(epoch, state.hard_places)):
        progress = budget.progress(state.steps)
        if progress >= 1.0 and done:
            break
        rate = learning_rate(config, progress=progress, epoch=epoch - 1)
        set_learning_rate(optimizer, rate)
        terms = add_gradients(
            approach, trained, inputs, targets,
            parts=learner.parts, scaler=scaler, dtype=learner.dtype,
        )  # fmt: skip
        scaler.unscale_(optimizer)
        limit = config.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
        record.add(terms, norm)
        scaler.step(optimizer)  # In float16 it skips a step whose gradient is not finite.
        scaler.update()
        state.steps, done = state.steps + 1, done + 1
        if learner.ema:
            learner.ema.update(network, step=state.steps)
        on_progress(progress, f"epoch {epoch}{record.describe_loss()}")

    record.read()  # Nothing of the epoch was saved so far, and nothing is if this raises.
    check_weights(learner.modules.values())
    state.skipped = record.skipped
    return EpochResult(
        losses=record.means(),
        learning_rate=rate,
        seconds=ranks.from_first(time.monotonic() - start),
    )


def fit_in_one_pass(
    network: Network,
    samples: Samples,
    state: TrainState,
    budget: Budget,
    *,
    device: torch.device,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> EpochResult:
    """Fit a network that learns nothing by gradients to the samples; ``state`` counts them.

    It ends early, but not before its second sample, when the time of ``budget`` is over.
    """
    start = time.monotonic()

    def samples_in_time() -> Batches:
        for sample in batches_of_one(samples, device):
            progress = budget.progress(state.steps)
            if progress >= 1.0 and state.steps > 1:
                return
            on_progress(progress, f"sample {state.steps + 1} of {len(samples)}")
            state.steps += 1
            yield sample

    network.fit_before_training(samples_in_time())
    return EpochResult(losses={}, learning_rate=0.0, seconds=time.monotonic() - start)


def _epoch_seed(seed: int, epoch: int) -> int:
    key = (seed, epoch, ranks.rank()) if ranks.rank() else (seed, epoch)
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _describe_not_finite(
    loader: EpochLoader, epoch: int, batch: int, terms: Mapping[str, float]
) -> str:
    values = ", ".join(f"{name} {value}" for name, value in terms.items())
    return (
        f"the loss or its gradient is not finite ({values}) in epoch {epoch}, batch {batch + 1}, "
        f"images: {', '.join(loader.image_ids(epoch, batch))}. Start a new run with a lower rate, "
        "such as --set train.lr=1e-4, or without reduced precision (--set train.amp=off), or check "
        "these images."
    )
