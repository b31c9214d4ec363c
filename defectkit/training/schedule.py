"""The optimizer, how its learning rate moves, and how far training has come."""

import math
import time
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from defectkit.config import TrainConfig


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer; its groups carry ``rate``, their part of the learning rate.

    The network's ``encoder`` (the part with pretrained weights, if any) learns at
    ``encoder_lr_factor``. Biases and norms do not decay.
    """
    encoder = getattr(network, "encoder", None)
    below = {id(parameter) for parameter in encoder.parameters()} if encoder else set()
    groups = [
        {
            "params": [
                p for p in network.parameters() if (id(p) in below, p.ndim > 1) == (low, decays)
            ],
            "rate": config.encoder_lr_factor if low else 1.0,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for low in (False, True)
        for decays in (False, True)
    ]
    groups = [group for group in groups if group["params"]]
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr)
        case "sgd":
            nesterov = config.momentum > 0
            return torch.optim.SGD(
                groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov
            )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its part of ``rate``."""
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


def freeze(network: nn.Module, *, stages: int, encoder: bool) -> None:
    """Let the whole pretrained encoder, or its lowest ``stages``, not learn; the rest learns.

    What is frozen keeps its batch-norm statistics too. Call it after ``network.train()``.
    """
    pretrained: nn.Module | None = getattr(network, "encoder", None)
    if pretrained is None:
        return
    pretrained.requires_grad_(True)
    frozen = pretrained.modules() if encoder else cast(Any, network).lowest_stages(stages)
    for module in frozen:
        module.training = False
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


@dataclass
class Budget:
    """How far training has come: by steps, or by the clock where ``max_time`` is set.

    ``spent`` counts the seconds of earlier sessions of a resumed run. By the clock, time is kept
    back for the last validation.
    """

    config: TrainConfig
    steps_per_epoch: int
    spent: float = 0.0
    validation_seconds: float = 0.0
    _start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of training so far, earlier sessions included."""
        return self.spent + time.monotonic() - self._start

    def progress(self, steps: int) -> float:
        """Return the part of training that is done, in [0, 1]."""
        limit = self.config.max_time
        if limit is None:
            return min(steps / (self.config.epochs * self.steps_per_epoch), 1.0)
        reserve = max(0.03 * limit, 1.3 * self.validation_seconds)
        return min(self.elapsed() / max(limit - reserve, 1e-9), 1.0)
