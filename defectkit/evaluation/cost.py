"""What a network costs, apart from time: parameters and arithmetic."""

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from defectkit.approaches.interface import Approach
from defectkit.models.network import Network

SIDE = 512
"""Side in pixels of the image that arithmetic is counted for."""


def count_parameters(network: Network) -> int:
    """Return how many numbers the network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(approach: Approach, network: Network) -> int | None:
    """Return the floating-point operations of one image of 512x512 pixels, from image to finding.

    Convolutions and matrix products are counted, a multiplication and an addition as two; what is
    not done by the network is not. The image is noise, always the same: with proposals the work
    depends on the image. ``None`` where nothing can be counted.
    """
    noise = np.random.default_rng(0).integers(256, size=(SIDE, SIDE, approach.channels))
    try:
        with FlopCounterMode(display=False) as counter:
            approach.find(network, [noise.astype(np.uint8)])
    except (RuntimeError, TypeError):  # An operation that refuses to be watched.
        return None
    return counter.get_total_flops() or None
