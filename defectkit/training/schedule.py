"""The optimizer, its learning rate, what is frozen, and the progress of training."""

import math
import time
from dataclasses import dataclass, field

import torch

from defectkit import ranks
from defectkit.config import TrainConfig
from defectkit.models.network import Network


def build_optimizer(network: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer; the ``rate`` of each of its groups is a factor of the learning rate.

    The network's ``encoder`` (the part with pretrained weights, if any) learns at
    ``encoder_lr_factor``. Biases and norms have no weight decay. Fused, a step changes all weights
    at once, and needs no word from a GPU about whether a scaler skips it.
    """
    encoder = network.encoder
    pretrained = {id(parameter) for parameter in encoder.parameters()} if encoder else set()
    groups = [
        {
            "params": [
                p
                for p in network.parameters()
                if (id(p) in pretrained, p.ndim > 1) == (of_encoder, decays)
            ],
            "rate": config.encoder_lr_factor if of_encoder else 1.0,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for of_encoder in (False, True)
        for decays in (False, True)
    ]
    groups = [group for group in groups if group["params"]]
    # Around a wrapped network nothing would be frozen, and nothing would learn slower.
    assert pretrained <= {id(parameter) for parameter in network.parameters()}
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr, fused=True)
        case "sgd":
            nesterov = config.momentum > 0
            return torch.optim.SGD(
                groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=True
            )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group: ``rate`` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def learning_rate(config: TrainConfig, *, progress: float, epoch: int) -> float:
    """Return the learning rate at ``progress`` in [0, 1] of training, in the given epoch."""
    if config.schedule == "step":
        return config.lr * config.step_factor ** (epoch // config.step_epochs)
    if progress < config.warmup:
        return config.lr * (progress + 1e-3) / (config.warmup + 1e-3)
    if config.schedule == "constant":
        return config.lr
    after = (progress - config.warmup) / max(1 - config.warmup, 1e-9)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(after, 1.0)))


def freeze(network: Network, *, stages: int, encoder: bool) -> None:
    """Freeze the whole pretrained ``encoder``, or its lowest ``stages``; the rest learns.

    Frozen modules keep their batch-norm statistics too. Call it after ``network.train()``.
    """
    if network.encoder is None:
        return
    network.encoder.requires_grad_(True)
    frozen = network.encoder.modules() if encoder else network.lowest_stages(stages)
    for module in frozen:
        module.training = False
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


CAUTION = 1.3
"""How many times the expected time of a validation is reserved for it."""


@dataclass
class Budget:
    """How much of a training is done: by steps, or by the clock where ``max_time`` is set.

    ``spent`` is the time in seconds of earlier sessions of a resumed run. By the clock, time is
    reserved for the validation after the last epoch and that of the whole split. Of several
    processes the first one's clock counts for all, so all must ask together.
    """

    config: TrainConfig
    steps_per_epoch: int
    spent: float = 0.0
    validation_seconds: float = 0.0
    _start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Return the seconds of training so far, earlier sessions included."""
        return ranks.from_first(self.spent + time.monotonic() - self._start)

    def epochs(self, epoch_seconds: float) -> int:
        """Return the number of epochs of the training, if each takes ``epoch_seconds``."""
        limit = self.config.max_time
        if limit is None:
            return self.config.epochs
        return math.ceil(limit / max(epoch_seconds, 1e-9))

    def progress(self, steps: int) -> float:
        """Return the fraction of the training that is done after ``steps``, in [0, 1]."""
        limit = self.config.max_time
        if limit is None:
            return min(steps / (self.config.epochs * self.steps_per_epoch), 1.0)
        reserve = max(0.03 * limit, CAUTION * self.validation_seconds)
        return min(self.elapsed() / max(limit - reserve, 1e-9), 1.0)
