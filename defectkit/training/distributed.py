"""What a training by several processes adds to its steps and its state; in one it adds nothing.

Each process has a part of every batch. The loss (``models.rank_sums``), the batch normalization
(``shared_norm``) and, by torch's ``DistributedDataParallel``, the gradients are those of the whole
batch, so all processes have the same weights after each step.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch.nn.parallel import DistributedDataParallel

from defectkit import ranks
from defectkit.config import Config
from defectkit.errors import ConfigError, DefectkitError
from defectkit.models.network import Network
from defectkit.signals import noted_signal, noted_signals
from defectkit.training.shared_weights import on_cpu
from defectkit.training.state import Learner, TrainState

Batch = TypeVar("Batch")


def check_processes(config: Config, device: torch.device) -> None:
    """Check that several processes can share the training, where there are several.

    Raises:
        ConfigError: they cannot.
    """
    count = ranks.world()
    if count == 1:
        return
    if config.approach == "novelty":
        raise ConfigError(
            "novelty learns in one pass without gradients: several processes cannot share it. "
            "Start it without torchrun."
        )
    if config.train.folds:
        ranks.refuse_several("--folds")
    if config.train.batch_size < count:
        raise ConfigError(
            f"train.batch_size={config.train.batch_size}, which is that of all processes together, "
            f"is too small for {count} of them. Use --set train.batch_size={2 * count}, or fewer "
            "processes."
        )
    if device.type == "mps":
        raise ConfigError("several processes cannot share an mps device. Use --device cpu.")


def share_gradients(network: Network) -> Network:
    """Return the network with gradients averaged over the processes.

    Call it again when other weights are frozen: those that learn at this moment take part.
    """
    if ranks.world() == 1:
        return network
    # A head may have no gradient in a batch, such as one without any defect.
    parallel = DistributedDataParallel(
        network, broadcast_buffers=False, find_unused_parameters=True
    )
    return cast(Network, parallel)


def in_step(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; before each, all processes agree to go on.

    A signal that one of them has got ends all of them before the same step, and so does an error
    in reading a batch.

    Raises:
        DefectkitError: a process cannot read its batch.
        SystemExit: a process has got a signal.
    """
    if ranks.world() == 1:
        yield from batches
        return
    waiting = iter(batches)
    while True:
        batch, failure = None, None
        try:
            batch = next(waiting, None)
        except DefectkitError as error:
            failure = error
        number, failed = ranks.highest(noted_signal(), failure is not None)
        if failed:
            ranks.raise_first(failure)
        if number:
            raise SystemExit(128 + int(number))
        if batch is None:
            return
        yield batch


def ending_together() -> AbstractContextManager[None]:
    """Return the context in which a signal is heard by ``in_step`` alone."""
    return noted_signals() if ranks.world() > 1 else nullcontext()


def share_learner(learner: Learner, state: TrainState) -> TrainState:
    """Give all processes what the first one has loaded, and return its state of the training."""
    if ranks.world() == 1:
        return state
    content: dict[str, Any] = {
        "modules": {name: module.state_dict() for name, module in learner.modules.items()},
        "optimizer": learner.optimizer.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "state": state,
    }
    content = ranks.from_first(on_cpu(content))
    if not ranks.is_first():
        for name, module in learner.modules.items():
            module.load_state_dict(content["modules"][name])
        learner.optimizer.load_state_dict(content["optimizer"])
        learner.scaler.load_state_dict(content["scaler"])
    return cast(TrainState, content["state"])
