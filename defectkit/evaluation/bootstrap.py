"""How far a metric of a split may be off by chance: images are drawn anew, again and again.

Shapes: N images, R resamples, S distinct scores. A resample is given by how often each image is
drawn. The same numbers of images and resamples and the same seed give the same draws, so the values
of two runs can be compared resample by resample (Efron and Tibshirani, "An introduction to the
bootstrap", 1993).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array, Int64Array

Metric = Callable[[Int64Array], Float64Array]
"""A metric of each resample, (R, N) -> (R,); NaN where it has no meaning."""

RESAMPLES = 1000
CONFIDENCE = 0.95
BLOCK = 2**21
"""So many counts are in memory at a time."""


def bootstrap(
    metric: Metric, images: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Float64Array:
    """Return ``metric`` of each resample of ``images`` images, (R,); NaN where it has none."""
    assert images > 0, "nothing to draw from"
    step = max(BLOCK // images, 1)
    return np.concatenate(
        [
            metric(draw(images, min(step, resamples - start), key=(seed, start)))
            for start in range(0, resamples, step)
        ]
    )


def draw(images: int, resamples: int, *, key: tuple[int, ...]) -> Int64Array:
    """Return how often each image is drawn in each resample, with replacement."""
    drawn = np.random.default_rng(key).integers(images, size=(resamples, images))
    drawn += images * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images)


def interval(values: Float64Array) -> tuple[float, float] | None:
    """Return the middle 95 % of the values, NaN left out; ``None`` where nothing is left."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)


def average_precision_of(defective: npt.ArrayLike, scores: npt.ArrayLike) -> Metric:
    """Return the average precision as a metric; as ``metrics.average_precision`` defines it.

    Args:
        defective: (N,) bool, the truth.
        scores: (N,) float, higher means more likely defective.
    """
    by_score = _by_score(defective, scores)

    def metric(counts: Int64Array) -> Float64Array:
        positive, negative = by_score(counts)
        hits = np.cumsum(positive, axis=1)
        marked = hits + np.cumsum(negative, axis=1)
        # Where nothing is marked yet there is no hit either, whatever it is divided by.
        gains = (positive * (hits / np.maximum(marked, 1))).sum(axis=1)
        return _ratio(gains, hits[:, -1])

    return metric


def auroc_of(defective: npt.ArrayLike, scores: npt.ArrayLike) -> Metric:
    """Return the area under the ROC curve as a metric; arguments as ``average_precision_of``."""
    by_score = _by_score(defective, scores)

    def metric(counts: Int64Array) -> Float64Array:
        positive, negative = by_score(counts)
        below = negative[:, ::-1].cumsum(axis=1)[:, ::-1] - negative
        wins = (positive * (2 * below + negative)).sum(axis=1)
        return _ratio(wins, 2 * positive.sum(axis=1) * negative.sum(axis=1))

    return metric


def ratio_of(part: npt.ArrayLike, whole: npt.ArrayLike) -> Metric:
    """Return ``sum(part) / sum(whole)`` over the images drawn as a metric: pooled Dice, a recall.

    Args:
        part: (N,) numbers, one an image.
        whole: (N,) numbers, none below 0.
    """
    numbers = np.array([part, whole], np.float64)
    return lambda counts: _ratio(*(numbers @ counts.T))


def _by_score(
    defective: npt.ArrayLike, scores: npt.ArrayLike
) -> Callable[[Int64Array], tuple[Int64Array, Int64Array]]:
    """Return what counts defective and good images of each score, the highest first: (R, S)."""
    truth = np.asarray(defective, np.bool_)
    _, place = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))

    def count(counts: Int64Array) -> tuple[Int64Array, Int64Array]:
        every = np.add.reduceat(counts[:, order], starts, axis=1)
        positive = np.add.reduceat(counts[:, order] * truth[order], starts, axis=1)
        return positive, every - positive

    return count


def _ratio(part: npt.NDArray[np.generic], whole: npt.NDArray[np.generic]) -> Float64Array:
    ratio: Float64Array = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
