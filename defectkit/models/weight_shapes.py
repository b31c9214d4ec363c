"""The shapes of the weights in a file, compared with those of a network before any is read."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from defectkit.files import open_limited

MAX_NUMBER_BYTES = 8
MAX_HEADER_BYTES = 2**24


def check_shapes(file: Path, build: Callable[[], nn.Module]) -> None:
    """Check that a safetensors file has the weights of the network that ``build`` returns.

    Neither takes memory: the network is built without values, and of the file the header is read.
    A file that is missing or damaged is not judged: reading it says what is wrong with it.

    Raises:
        ValueError: the file is much larger than the network; a weight is missing, is none of the
            network's, or has another shape.
    """
    with torch.device("meta"):
        network = build()
    state = network.state_dict()
    n_numbers = sum(tensor.numel() for tensor in state.values())
    try:
        open_limited(file, MAX_HEADER_BYTES + MAX_NUMBER_BYTES * n_numbers).close()
        with safe_open(file, framework="pt") as opened:
            found = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return
    needed = {name: list(tensor.shape) for name, tensor in state.items()}
    for name in sorted(needed.keys() | found.keys()):
        if needed.get(name) != found.get(name):
            raise ValueError(
                f"the weight '{name[:100]}' has shape {found.get(name, 'none')} but "
                f"{needed.get(name, 'none')} is needed: it belongs to another network, or to this "
                "one as an earlier version built it. Use that version of defectkit, or train again."
            )
