"""A bank of features: few that stand for many, and the distance of others to the nearest of them.

Shapes: N features, M in the bank, D numbers each.
"""

import time
from collections.abc import Callable
from functools import partial

import torch

PROJECTED = 64
"""Numbers of a feature while the bank is chosen: random projections keep distances well enough."""
BANK_PART = 1024
"""Number of features of the bank that an exported graph compares with at a time."""
BLOCK_BYTES = 2**25
"""Bytes of the distances that are in memory at a time, 32 MiB."""
TIMED_STEPS = 10
"""Number of features that are chosen to know how long each takes."""


def choose_coreset(features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the indices (count,) of features (N, D) that leave none far from all chosen ones.

    Greedy (Sener and Savarese 2018, PatchCore): the first is feature 0, each further one the
    farthest from those before it, measured in a random projection where D is large. Where there are
    fewer features than ``count``, they repeat.
    """
    points = features - features.mean(dim=0)
    if points.shape[1] > PROJECTED:
        size = (points.shape[1], PROJECTED)
        points = points @ torch.randn(size, generator=generator).to(points)
    squares = points.square().sum(dim=1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = torch.zeros(count, dtype=torch.int64, device=features.device)
    for place in range(1, count):
        last = chosen[place - 1]
        torch.minimum(nearest, squares - 2 * (points @ points[last]) + squares[last], out=nearest)
        nearest[last] = 0.0
        chosen[place] = nearest.argmax()
    return chosen


def nearest_distances(
    features: torch.Tensor,
    bank: torch.Tensor,
    *,
    groups: torch.Tensor | None = None,
    bank_groups: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the Euclidean distance (N,) of each feature (N, D) to the nearest in the bank (M, D).

    With ``groups`` (N,) and ``bank_groups`` (M,), entries of a feature's own group do not count;
    without another one the distance is infinite. Distances come from a matrix product in float32,
    some features at a time.
    """
    if torch.compiler.is_exporting():
        return _nearest_by_parts_of_the_bank(features, bank)
    squares = bank.square().sum(dim=1)
    step = max(BLOCK_BYTES // (4 * len(bank)), 1)
    nearest = []
    for start in range(0, len(features), step):
        block = features[start : start + step]
        distances = torch.addmm(squares, block, bank.T, alpha=-2.0)  # less the block's squares
        if groups is not None and bank_groups is not None:
            own = groups[start : start + step, None] == bank_groups
            distances.masked_fill_(own, torch.inf)
        nearest.append(distances.amin(dim=1) + block.square().sum(dim=1))
    return torch.cat(nearest).clamp_min(0.0).sqrt()


def _nearest_by_parts_of_the_bank(features: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """Return the same as ``nearest_distances``: in a graph the number of features is not known."""
    nearest = torch.full_like(features[:, 0], torch.inf)
    for part in torch.split(bank, BANK_PART):
        distances = torch.addmm(part.square().sum(dim=1), features, part.T, alpha=-2.0)
        nearest = torch.minimum(nearest, distances.amin(dim=1))
    return (nearest + features.square().sum(dim=1)).clamp_min(0.0).sqrt()


def seconds_of_coreset(count: int, bank: torch.Tensor) -> float:
    """Return about the seconds of choosing a bank from ``count`` features, and of their distances.

    A part of both is done with features of 0, and timed. ``bank``, (M, D), has its size and device.
    """
    features = torch.zeros((count, bank.shape[1]), device=bank.device)
    generator = torch.Generator()
    once, more = (
        _timed(partial(choose_coreset, features, steps, generator))
        for steps in (1, 1 + TIMED_STEPS)
    )
    part = features[: max(BLOCK_BYTES // (4 * len(bank)), 1)]
    distances = _timed(partial(nearest_distances, part, bank)) * count / len(part)
    return once + max(more - once, 0.0) / TIMED_STEPS * len(bank) + distances


def _timed(function: Callable[[], torch.Tensor]) -> float:
    start = time.monotonic()
    function().sum().item()  # waits for a GPU
    return time.monotonic() - start
