"""The thresholds among which an operating point is chosen, and what each leads to.

The best threshold for a few images is often a bad one for the next: it depends on the few that are
nearest to it. So F1 and costs are those that are to be expected, by a kernel estimate of the
scores' distribution (``benchmarks/operating_point.py`` has both rules).
"""

import numpy as np
from scipy import special

from defectkit.approaches.image_mix import MAX_LOGIT
from defectkit.arrays import BoolArray, Float64Array

MOST_KERNELS = 1000
"""More scores than these are smoothed by so many of their quantiles."""

NARROWEST = 1e-6
"""Least width of a kernel in logits, where the scores of a kind are all alike."""


class Candidates:
    """Thresholds halfway between the distinct scores in logits, ascending: ``cuts`` (M,).

    Args:
        values: (N,) scores in [0, 1].
        truth: (N,) which images are defective; at least one is, and one is not.
        prevalence: the share of defective images at the line; None: that of the images.
    """

    def __init__(self, values: Float64Array, truth: BoolArray, prevalence: float | None) -> None:
        self.cuts = _cuts(values)
        self.defective, self.good = np.sort(values[truth]), np.sort(values[~truth])
        # What an image stands for: itself, or a share of the images at the line.
        self.of_defective, self.of_good = 1.0, 1.0
        if prevalence is not None:
            self.of_defective = prevalence / len(self.defective)
            self.of_good = (1.0 - prevalence) / len(self.good)

    def best_f1(self) -> float:
        """Return the threshold with the best F1 score to be expected."""
        escapes, overkills = self._expected_errors()
        hits = self.of_defective * len(self.defective) - escapes
        return float(self.cuts[np.argmax(2 * hits / (2 * hits + escapes + overkills))])

    def cheapest(self, cost_ratio: float) -> float:
        """Return the threshold with the least cost to be expected."""
        escapes, overkills = self._expected_errors()
        return float(self.cuts[np.argmin(cost_ratio * escapes + overkills)])

    def _expected_errors(self) -> tuple[Float64Array, Float64Array]:
        """Return the weight of the escapes and of the overkills at each threshold (N,)."""
        cuts = _logits(self.cuts)
        escapes = _smoothed(_logits(self.defective), cuts)
        overkills = 1.0 - _smoothed(_logits(self.good), cuts)
        return (
            self.of_defective * len(self.defective) * escapes,
            self.of_good * len(self.good) * overkills,
        )

    def largest_cut(self, worst: Float64Array, allowed: int) -> float:
        """Return the largest threshold that no more of the scores ``worst`` (N,) are below."""
        return float(self.cuts[np.searchsorted(worst, self.cuts) <= allowed][-1])

    def smallest_cut(self, best: Float64Array, allowed: int) -> float:
        """Return the smallest threshold that no more of the scores ``best`` (N,) reach, ascending.

        Where a score of 1 is among too many, it is the largest threshold.
        """
        reached = len(best) - np.searchsorted(best, self.cuts)
        return float(self.cuts[reached <= allowed][0] if reached[-1] <= allowed else self.cuts[-1])

    def largest_high(self, low: float, max_review_rate: float) -> float:
        """Return the largest threshold with no larger share of the images between it and low."""
        between = [
            weight * (np.searchsorted(scores, self.cuts) - np.searchsorted(scores, low))
            for scores, weight in (
                (self.defective, self.of_defective),
                (self.good, self.of_good),
            )
        ]
        total = self.of_defective * len(self.defective) + self.of_good * len(self.good)
        return float(self.cuts[sum(between) <= max_review_rate * total + 1e-9][-1])


def _smoothed(logits: Float64Array, cuts: Float64Array) -> Float64Array:
    """Return the share of images below each cut (M,), by a kernel estimate of their distribution.

    Each of the logits (N,), ascending, counts as a normal distribution with the width that
    Silverman takes (Density Estimation for Statistics and Data Analysis, 1986, equation 3.31).
    """
    if len(logits) > MOST_KERNELS:
        logits = np.quantile(logits, (np.arange(MOST_KERNELS) + 0.5) / MOST_KERNELS)
    lower, upper = np.quantile(logits, (0.25, 0.75))
    spreads = [spread for spread in (np.std(logits), (upper - lower) / 1.34) if spread > 0.0]
    width = max(0.9 * min(spreads, default=0.0) * len(logits) ** -0.2, NARROWEST)
    shares = [special.ndtr((cut - logits) / width).mean() for cut in cuts]
    return np.array(shares, np.float64)


def _logits(scores: Float64Array) -> Float64Array:
    logits: Float64Array = np.clip(special.logit(scores), -MAX_LOGIT, MAX_LOGIT)
    return logits


def _cuts(values: Float64Array) -> Float64Array:
    """Return the thresholds between distinct scores, ascending."""
    distinct = np.unique(values)
    lower, upper = np.append(0.0, distinct), np.append(distinct, 1.0)
    cuts: Float64Array = special.expit((_logits(lower) + _logits(upper)) / 2)
    # Scores nearer to 0 or 1 than the largest logit, and neighboring floats, have none between.
    cuts = np.where((cuts > lower) & (cuts <= upper), cuts, upper)
    return cuts[: len(distinct) + (distinct[-1] < 1.0)]  # No cut is above a score of 1.
