"""The gradients of a batch: at once, or in parts where a GPU has too little memory for it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from defectkit import ranks
from defectkit.approaches.interface import Approach
from defectkit.errors import DefectkitWarning, is_out_of_memory
from defectkit.models.network import Network
from defectkit.training.reduced_precision import reduced_precision
from defectkit.training.shared_norm import shared_norm

if TYPE_CHECKING:
    from torch.amp import GradScaler

FEWEST_SAMPLES = 2
"""The smallest number of samples in a part: batch normalization needs two values per channel."""


@dataclass(slots=True)
class BatchParts:
    """The number of parts in which batches go through the network, one after the other."""

    count: int = 1


def add_gradients(
    approach: Approach,
    network: Network,
    inputs: Any,
    targets: Any,
    *,
    parts: BatchParts,
    scaler: "GradScaler",
    dtype: torch.dtype | None,
) -> dict[str, torch.Tensor]:
    """Give the weights the gradients of a batch's loss, in place of those that they have.

    Where memory on a GPU is too little, ``parts`` are doubled, for this batch and the next ones,
    with a warning. The gradient is then the mean over the parts: that of the whole batch but for
    what is computed of a batch together, as the statistics of batch normalization and Dice.

    Args:
        approach: computes the loss.
        network: the network, in training mode.
        inputs: the samples of the batch (B, ...).
        targets: their targets: tensors, or lists and dicts of them, with an entry for each sample.
        parts: the parts of a batch, changed in place.
        scaler: scales the loss.
        dtype: the reduced precision, or None.

    Returns:
        The named terms of the loss, without their graph.
    """
    while True:
        network.zero_grad(set_to_none=True)
        try:
            return _add_parts(approach, network, inputs, targets, parts.count, scaler, dtype)
        except Exception as error:
            device = inputs.device
            if not (is_out_of_memory(error) and _can_halve(len(inputs), parts.count, device)):
                raise
        # Not in the handler: the error's traceback refers to what fills the memory.
        network.zero_grad(set_to_none=True)
        _free_memory(device)
        parts.count *= 2
        warnings.warn(
            f"the memory of the GPU is too small for a batch of {len(inputs)} samples: it goes "
            f"through the network in {parts.count} parts, and their gradients are added up. "
            "Training is slower so; a smaller train.batch_size avoids it.",
            DefectkitWarning,
            stacklevel=2,
        )


def _add_parts(
    approach: Approach,
    network: Network,
    inputs: Any,
    targets: Any,
    count: int,
    scaler: "GradScaler",
    dtype: torch.dtype | None,
) -> dict[str, torch.Tensor]:
    sums: dict[str, torch.Tensor] = {}
    for part in _split(len(inputs), count):
        share = (part.stop - part.start) / len(inputs)
        own, truth = (inputs, targets) if count == 1 else (inputs[part], _take(targets, part))
        with reduced_precision(inputs.device, dtype), shared_norm():
            terms = approach.loss(network, own, truth)
        loss = terms["loss"] if count == 1 else share * terms["loss"]
        scaler.scale(loss).backward()
        for name, term in terms.items():
            value = term.detach() if count == 1 else share * term.detach()
            sums[name] = sums[name] + value if name in sums else value
    return sums


def _split(samples: int, count: int) -> Iterator[slice]:
    """Yield ``count`` parts of a batch, of about as many samples each."""
    ends = [samples * part // count for part in range(count + 1)]
    yield from map(slice, ends[:-1], ends[1:])


def _take(targets: Any, part: slice) -> Any:
    """Return the targets of some samples of a batch."""
    if isinstance(targets, dict):
        return {name: _take(one, part) for name, one in targets.items()}
    return targets[part]


def _can_halve(samples: int, count: int, device: torch.device) -> bool:
    """Return whether parts of half the size can be tried.

    Not on a CPU: where the memory of a machine ends, the system ends the process. Nor by several
    processes: each loss waits for the parts of the others.
    """
    return device.type != "cpu" and ranks.world() == 1 and samples // (2 * count) >= FEWEST_SAMPLES


def _free_memory(device: torch.device) -> None:
    """Return memory that torch keeps for later to the device, so that larger blocks fit."""
    torch.get_device_module(device).empty_cache()
