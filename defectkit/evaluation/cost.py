"""The cost of a network apart from time: parameters and floating-point operations."""

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from defectkit.approaches.interface import Approach
from defectkit.models.network import Network

SIDE = 512
"""Side in pixels of the image for which operations are counted."""


def count_parameters(network: Network) -> int:
    """Return the number of the network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(approach: Approach, network: Network) -> int | None:
    """Return the number of floating-point operations for the finding of a 512x512 image.

    Convolutions and matrix products are counted, a multiplication and an addition as two; work
    outside of the network is not. The image is noise, always the same, since with region proposals
    the work depends on the image. ``None`` where nothing can be counted.
    """
    noise = np.random.default_rng(0).integers(256, size=(SIDE, SIDE, approach.channels))
    try:
        with FlopCounterMode(display=False) as counter:
            approach.find(network, [noise.astype(np.uint8)])
    except (RuntimeError, TypeError):  # An operation that cannot be counted.
        return None
    return counter.get_total_flops() or None
