"""Whether scores are probabilities: the share of defective images, by score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from defectkit.evaluation.rates import CONFIDENCE, CountedRate

BINS = 10
"""Number of groups of images by which scores are compared with rates."""


class ReliabilityBin(CountedRate):
    """Images of about one score: its mean, and how many of them are defective."""

    score: float


def by_score(scores: npt.NDArray[np.float64]) -> list[npt.NDArray[np.int64]]:
    """Return the places of scores (N,) in at most 10 parts of equally many, the lowest first."""
    order = np.argsort(scores, kind="stable")
    return np.array_split(order, min(BINS, len(order))) if len(order) else []


def reliability_bins(
    scores: npt.ArrayLike, defective: npt.ArrayLike, groups: Sequence[Any]
) -> list[ReliabilityBin]:
    """Return the share of defective images by score, with 95 % intervals.

    Images of one group are alike, so an interval counts groups: it is that of Clopper and Pearson
    for as many trials as a bin has groups (Korn and Graubard, Survey Methodology 24, 1998).

    Args:
        scores: (N,) in [0, 1].
        defective: (N,) bool.
        groups: (N,) the group of each image.
    """
    from scipy.special import betaincinv  # slow to import, and of no use to inspection

    values, truth = np.asarray(scores, np.float64), np.asarray(defective, np.bool_)
    tail = (1.0 - CONFIDENCE) / 2.0
    bins = []
    for part in by_score(values):
        share, trials = float(truth[part].mean()), len({groups[place] for place in part.tolist()})
        hits, misses = share * trials, (1.0 - share) * trials
        bins.append(
            ReliabilityBin(
                score=float(values[part].mean()),
                count=int(np.count_nonzero(truth[part])),
                total=len(part),
                value=share,
                low=float(betaincinv(hits, misses + 1, tail)) if hits else 0.0,
                high=float(betaincinv(hits + 1, misses, 1.0 - tail)) if misses else 1.0,
            )
        )
    return bins
