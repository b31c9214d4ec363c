"""How far a metric of a split may be off by chance: the bootstrap over its groups of images.

Shapes: M metrics, N images in G groups, R resamples, S distinct scores. Groups are drawn, not
images: images of one workpiece are alike, and to draw them one by one would claim that there is
more data than there is (Davison and Hinkley, "Bootstrap methods and their application", 1997, 3.8).
All images of a drawn group come along. A resample is given by how often each image is drawn. The
same groups, number of resamples and seed give the same resamples, so the values of two runs can be
compared resample by resample (Efron and Tibshirani, "An introduction to the bootstrap", 1993).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array, Int64Array

ResampledMetric = Callable[[Int64Array], Float64Array]
"""A metric of each resample, from its counts: (R, N) -> (R,); NaN where it is not defined."""

RESAMPLES = 1000
"""Min. number of resamples."""

CONFIDENCE = 0.95
"""Fraction of the resamples whose values lie in the interval."""

MAX_BLOCK_SIZE = 2**21
"""Max. number of counts in memory at a time."""


def bootstrap(
    metrics: Sequence[ResampledMetric],
    groups: Int64Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float64Array:
    """Return each metric of each resample, (M, R); NaN where it is not defined.

    Args:
        metrics: M metrics of the same N images.
        groups: (N,) the number of each image's group, each of 0 to G - 1 in use.
        resamples: R, how often G groups are drawn.
        seed: of the draws.
    """
    assert groups.size, "no images to draw from"
    step = max(MAX_BLOCK_SIZE // len(groups), 1)
    blocks = []
    for start in range(0, resamples, step):
        counts = draw_resamples(groups, min(step, resamples - start), key=(seed, start))
        blocks.append(np.stack([metric(counts) for metric in metrics]))
    return np.concatenate(blocks, axis=1)


def draw_resamples(groups: Int64Array, resamples: int, *, key: tuple[int, ...]) -> Int64Array:
    """Return how often each image is drawn in each resample, with its whole group: (R, N) int64.

    In each resample G of the G groups are drawn, with replacement. ``key`` is the seed of the
    draws.
    """
    number = int(groups.max()) + 1
    drawn = np.random.default_rng(key).integers(number, size=(resamples, number))
    drawn += number * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * number).reshape(resamples, number)
    return counts[:, groups]


def percentile_interval(values: Float64Array) -> tuple[float, float] | None:
    """Return the ends of the middle 95 % of the values without NaN; ``None`` if all are NaN."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)


def resampled_average_precision(defective: npt.ArrayLike, scores: npt.ArrayLike) -> ResampledMetric:
    """Return the average precision of each resample, as ``average_precision`` defines it.

    Args:
        defective: (N,) bool, the truth.
        scores: (N,) float, higher for images that are more likely defective.
    """
    by_score = _by_score(defective, scores)

    def metric(counts: Int64Array) -> Float64Array:
        positive, negative = by_score(counts)
        hits = np.cumsum(positive, axis=1)
        called = hits + np.cumsum(negative, axis=1)  # Images of at least this score.
        # Where there are none, there are no hits either, and the divisor does not matter.
        gains = (positive * (hits / np.maximum(called, 1))).sum(axis=1)
        # Where all images drawn are good or all are defective, there is nothing to rank.
        return _ratio(gains, np.where(called[:, -1] > hits[:, -1], hits[:, -1], 0))

    return metric


def resampled_auroc(defective: npt.ArrayLike, scores: npt.ArrayLike) -> ResampledMetric:
    """Return the area under the ROC curve of each resample.

    Arguments as in ``resampled_average_precision``.
    """
    by_score = _by_score(defective, scores)

    def metric(counts: Int64Array) -> Float64Array:
        positive, negative = by_score(counts)
        below = negative[:, ::-1].cumsum(axis=1)[:, ::-1] - negative
        wins = (positive * (2 * below + negative)).sum(axis=1)
        return _ratio(wins, 2 * positive.sum(axis=1) * negative.sum(axis=1))

    return metric


def resampled_ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> ResampledMetric:
    """Return ``sum(part) / sum(whole)`` over the images of each resample, as pooled Dice or recall.

    Args:
        part: (N,) numbers, one per image.
        whole: (N,) numbers of at least 0, one per image.
    """
    numbers = np.array([part, whole], np.float64)
    return lambda counts: _ratio(*(numbers @ counts.T))


def _by_score(
    defective: npt.ArrayLike, scores: npt.ArrayLike
) -> Callable[[Int64Array], tuple[Int64Array, Int64Array]]:
    """Return a function that counts the defective and the good images of each score.

    It maps the counts of resamples, (R, N), to two arrays (R, S), the highest score first.
    """
    truth = np.asarray(defective, np.bool_)
    _, place = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))

    def count(counts: Int64Array) -> tuple[Int64Array, Int64Array]:
        total = np.add.reduceat(counts[:, order], starts, axis=1)
        positive = np.add.reduceat(counts[:, order] * truth[order], starts, axis=1)
        return positive, total - positive

    return count


def _ratio(part: npt.NDArray[np.generic], whole: npt.NDArray[np.generic]) -> Float64Array:
    ratio: Float64Array = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
