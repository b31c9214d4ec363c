"""A metric of several runs: its interval, the differences to the best run, their significance.

Shapes: R resamples of the same groups of images for all runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectkit.arrays import Float64Array
from defectkit.evaluation.bootstrap import percentile_interval
from defectkit.evaluation.rates import clopper_pearson

SIGNIFICANT = 0.05
"""Corrected p-values up to this one are significant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of a run's metric to the best run's, with its paired 95 % interval.

    The interval is that of this difference alone; ``p_value`` is corrected for all differences of
    the comparison.
    """

    value: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, also among all that are tested."""
        return self.p_value <= SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEstimate:
    """A metric of a run with its 95 % interval.

    ``interval`` is ``None`` where it is not known; ``to_best`` is ``None`` for the best run itself
    and where there is nothing to compare.
    """

    value: float | None
    interval: tuple[float, float] | None
    to_best: Difference | None = None


def estimate_metric(
    values: Sequence[float | None],
    resampled: Sequence[Float64Array],
    *,
    sign: int,
    fraction: bool,
    groups: int,
) -> list[MetricEstimate]:
    """Return the estimates of one metric; the p-values are those of each difference alone.

    A metric that is the same in all resamples has no spread, which does not mean that it is
    certain. Where it is a fraction of 0 or 1, such as an average precision of 1, its interval is
    that of Clopper and Pearson for groups of which none failed, or all did: 0.59 to 1 with 7
    groups. Otherwise its interval is not known.

    Args:
        values: the metric of each run; ``None`` where it is not defined.
        resampled: the metric of each resample, (R,), for each run.
        sign: 1 where larger is better, -1 where smaller is.
        fraction: whether the metric is a fraction in [0, 1], to which a group adds at most its
            share.
        groups: number of groups that the metric rests on. Of fewer than six, all may differ in one
            direction by chance, and no difference is significant.
    """
    best = _index_of_best([None if value is None else sign * value for value in values])
    return [
        MetricEstimate(
            value=value,
            interval=_interval(value, own, fraction=fraction, groups=groups),
            to_best=None
            if index == best
            else _difference(value, values[best], own - resampled[best], groups=groups),
        )
        for index, (value, own) in enumerate(zip(values, resampled, strict=True))
    ]


def _index_of_best(values: Sequence[float | None]) -> int:
    """Return the index of the largest value, of equal ones the first; ``None`` is below all."""
    known = [-np.inf if value is None else value for value in values]
    return known.index(max(known))


def _interval(
    value: float | None, resampled: Float64Array, *, fraction: bool, groups: int
) -> tuple[float, float] | None:
    interval = percentile_interval(resampled)
    if value is None or interval is None:
        return None
    low, high = interval
    if low < high:
        return interval
    if not fraction or low not in (0.0, 1.0):
        return None
    rate = clopper_pearson(int(low) * groups, groups)
    return rate["low"], rate["high"]


def _difference(
    value: float | None, best: float | None, resampled: Float64Array, *, groups: int
) -> Difference | None:
    interval, p_value = percentile_interval(resampled), two_sided_p(resampled)
    if value is None or best is None or interval is None or p_value is None:
        return None
    # That all groups differ in one direction by chance is as likely as that all coins fall alike.
    p_value = max(p_value, 2.0 ** (1 - groups))
    return Difference(value=value - best, low=interval[0], high=interval[1], p_value=p_value)


def correct_p_values(
    estimates: Mapping[str, Sequence[MetricEstimate]],
) -> dict[str, list[MetricEstimate]]:
    """Return the estimates with p-values that are corrected for all differences together."""
    tested = [one.to_best.p_value for own in estimates.values() for one in own if one.to_best]
    corrected = iter(holm(tested))
    return {
        name: [
            replace(one, to_best=replace(one.to_best, p_value=next(corrected)))
            if one.to_best
            else one
            for one in own
        ]
        for name, own in estimates.items()
    }


def two_sided_p(differences: Float64Array) -> float | None:
    """Return the p-value of a difference of 0, in (0, 1]; ``None`` if all differences are NaN.

    Twice the fraction of resamples whose difference is on the rarer side of 0 or is 0. One resample
    more is counted there, so that the p-value is never smaller than the number of resamples can
    show (Davison and Hinkley, 4.4).
    """
    known = differences[~np.isnan(differences)]
    if not known.size:
        return None
    rarer = min(np.count_nonzero(known <= 0.0), np.count_nonzero(known >= 0.0))
    return min(2.0 * (int(rarer) + 1) / (known.size + 1), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number (Holm, Scand. J. Statist. 6, 1979).

    If those of at most 0.05 are called significant, the chance that any of them is chance alone is
    at most 5 %, however the tests depend on each other.
    """
    tested = np.asarray(p_values, np.float64)
    order = np.argsort(tested, kind="stable")
    factors = np.arange(len(tested), 0, -1)
    corrected = np.empty_like(tested)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * tested[order]), 1.0)
    return [float(value) for value in corrected]
