"""The first process's weights, for the other ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from defectkit import ranks


def share_weights(network: nn.Module) -> None:
    """Give all processes the weights and buffers of the first one."""
    if ranks.world() > 1:
        network.load_state_dict(ranks.from_first(on_cpu(network.state_dict())))


def fit_together(network: nn.Module, fit: Callable[[], None]) -> None:
    """Let the first process fit what is not learned by gradients, and give all the result."""
    ranks.by_first(fit)
    share_weights(network)


def on_cpu(content: Any) -> Any:
    """Return nested dicts and lists with their tensors on the CPU."""
    return tree_map(lambda one: one.cpu() if isinstance(one, torch.Tensor) else one, content)
