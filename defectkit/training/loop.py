"""One epoch of training, flat: read it from top to bottom. ``pipelines.train`` has the order."""

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from defectkit import ranks
from defectkit.approaches.interface import Approach, Samples
from defectkit.errors import NotFiniteError
from defectkit.models.network import Batches, Network
from defectkit.training.distributed import in_step, share_gradients, step_settings
from defectkit.training.loader import EpochLoader, batches_of_one
from defectkit.training.schedule import Budget, freeze, learning_rate, set_learning_rate
from defectkit.training.state import EpochResult, Learner, TrainState


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
        NotFiniteError: the loss or its gradient is not finite; the message names the images.
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
    sums: dict[str, float] = {}
    start, done, rate = time.monotonic(), 0, 0.0

    for inputs, targets in in_step(loader.epoch(epoch, state.hard_places)):
        progress = budget.progress(state.steps)
        if progress >= 1.0 and done:
            break
        rate = learning_rate(config, progress=progress, epoch=epoch - 1)
        set_learning_rate(optimizer, rate)
        with step_settings(device, learner.dtype):
            terms = approach.loss(trained, inputs, targets)
        loss = terms["loss"].item()
        if not math.isfinite(loss):
            raise NotFiniteError(_describe_not_finite(loader, epoch, done, terms))
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(terms["loss"]).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        limit = config.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
        # In 16 bit the scaler skips such a step itself, and scales less in the next.
        if not scaler.is_enabled() and not math.isfinite(norm.item()):
            raise NotFiniteError(_describe_not_finite(loader, epoch, done, {"gradient": norm}))
        scaler.step(optimizer)
        scaler.update()
        state.steps, done = state.steps + 1, done + 1
        if learner.ema:
            learner.ema.update(network, step=state.steps)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        on_progress(progress, f"epoch {epoch}  loss {sums['loss'] / done:.4f}")

    return EpochResult(
        losses={name: total / done for name, total in sums.items()},
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
    loader: EpochLoader, epoch: int, batch: int, terms: Mapping[str, torch.Tensor]
) -> str:
    values = ", ".join(f"{name} {term.item()}" for name, term in terms.items())
    return (
        f"the loss or its gradient is not finite ({values}) in epoch {epoch}, batch {batch + 1}, "
        f"images: {', '.join(loader.image_ids(epoch, batch))}. Start a new run with a lower rate, "
        "such as --set train.lr=1e-4, or without reduced precision (--set train.amp=off), or check "
        "these images."
    )
