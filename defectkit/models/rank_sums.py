"""Sums over the batch of all processes, through which gradients go back.

A loss is a mean over what a batch has: pixels, images with a class, the overlap of a class. Where
each process has a part of the batch, the sums below and above its fraction are added up first; the
loss is then the same in all processes, and that of one process with the whole batch. In one process
nothing is changed.
"""

from typing import Any

import torch

from defectkit import ranks


class _SumOverRanks(torch.autograd.Function):
    """(N,) -> their sums over all processes."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        del ctx
        return ranks.add_up(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        del ctx
        # All processes have the same loss, so each has this gradient of its own sum. The gradients
        # of the weights are then averaged over the processes, where they have to be added.
        return gradients[0] * ranks.world()


def sum_over_ranks(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the sum of each value over all processes, of its shape; counts have no gradient.

    They go together, in one message, as float64: then a count of pixels is exact.
    """
    if ranks.world() == 1:
        return values
    flat = torch.cat([value.double().flatten() for value in values])
    totals = _SumOverRanks.apply(flat).split([value.numel() for value in values])
    return tuple(
        total.reshape(value.shape).to(value.dtype)
        for total, value in zip(totals, values, strict=True)
    )


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the mean of the values of all processes; 0 where there are none."""
    if ranks.world() == 1:
        return values.mean() if values.numel() else values.sum()
    count = torch.tensor(values.numel(), device=values.device)
    total, number = sum_over_ranks(values.sum(), count)
    return total / number.clamp(min=1)


def mean_of_shares(terms: dict[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """Return loss terms, each a mean over ``count`` images or regions, as means over all of them.

    All are those of all processes.
    """
    if ranks.world() == 1:
        return terms
    some = next(iter(terms.values()))
    *totals, number = sum_over_ranks(
        *(count * term for term in terms.values()), torch.tensor(count, device=some.device)
    )
    number = number.clamp(min=1)
    return {name: total / number for name, total in zip(terms, totals, strict=True)}
