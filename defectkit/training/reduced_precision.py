"""The precision of training steps: 16 bit where the device computes that faster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from defectkit.config import TrainConfig
from defectkit.devices import autocast_dtype
from defectkit.models.network import Network
from defectkit.training.depthwise import FastDepthwiseGradients


def choose_dtype(network: Network, config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision in which a network is trained; None: full precision."""
    if not network.learns or (config.amp == "auto" and not network.takes_reduced_precision):
        return None
    return autocast_dtype(config.amp, device)


def describe_precision(network: Network, config: TrainConfig, device: torch.device) -> str:
    """Return the name of the dtype in which a network is trained, for example ``bfloat16``."""
    dtype = choose_dtype(network, config, device) or torch.float32
    return str(dtype).removeprefix("torch.")


@contextmanager
def reduced_precision(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Compute most layers in ``dtype``, as ``torch.autocast`` does; None changes nothing."""
    with ExitStack() as changed:
        if dtype is not None:
            changed.enter_context(torch.autocast(device.type, dtype))
        if device.type == "cpu" and dtype == torch.bfloat16:
            changed.enter_context(FastDepthwiseGradients())
        yield
