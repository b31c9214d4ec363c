"""How far a metric of a split may be off by chance: the bootstrap over its images.

Shapes: N images, R resamples, S distinct scores. A resample is given by how often each image is
drawn. The same numbers of images and resamples and the same seed give the same resamples, so the
values of two runs can be compared resample by resample (Efron and Tibshirani, "An introduction to
the bootstrap", 1993).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array, Int64Array

ResampledMetric = Callable[[Int64Array], Float64Array]
"""A metric of each resample, from its counts: (R, N) -> (R,); NaN where it is not defined."""

RESAMPLES = 1000
"""Number of resamples."""

CONFIDENCE = 0.95
"""Fraction of the resamples whose values lie in the interval."""

MAX_BLOCK_SIZE = 2**21
"""Max. number of counts in memory at a time."""


def bootstrap(
    metric: ResampledMetric, images: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Float64Array:
    """Return ``metric`` of each resample of ``images`` images, (R,); NaN if it is not defined."""
    assert images > 0, "no images to draw from"
    step = max(MAX_BLOCK_SIZE // images, 1)
    return np.concatenate(
        [
            metric(draw_resamples(images, min(step, resamples - start), key=(seed, start)))
            for start in range(0, resamples, step)
        ]
    )


def draw_resamples(images: int, resamples: int, *, key: tuple[int, ...]) -> Int64Array:
    """Return how often each image is drawn in each resample, with replacement: (R, N) int64.

    ``key`` is the seed of the draws.
    """
    drawn = np.random.default_rng(key).integers(images, size=(resamples, images))
    drawn += images * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images)


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
