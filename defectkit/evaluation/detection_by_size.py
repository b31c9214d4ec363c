"""Probability of detection by the size of defects, and the size that is found nine times in ten.

Logistic regression of *found* on the logarithm of the size, as in MIL-HDBK-1823A (hit/miss data),
but with a covariance that takes the regions of one group of images as one observation, since these
are alike. ``a90`` is the size from which a defect is found with a probability of 90 %, ``a90/95``
the one from which that holds with a confidence of 95 %. Nothing is said beyond the sizes that there
are.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from typing_extensions import TypedDict

from defectkit.arrays import Float64Array

MIN_OF_EACH = 5
"""With fewer found or fewer missed regions there is no curve."""
MIN_GROUPS = 10
"""With regions of fewer groups there is a curve, but no band and no a90/95."""
ENOUGH = 0.9
ONE_SIDED_95 = 1.6448536269514722
POINTS = 60
"""Number of sizes at which the curve is given."""


class Detection(TypedDict):
    """The ``detection`` section of ``metrics.json``: by area and by length, both in pixels."""

    by_area: "DetectionBySize"
    by_length: "DetectionBySize"


class DetectionBySize(TypedDict):
    """The probability of detection by area, in pixels, or by length, in pixels.

    - ``sizes``, ``probability``, ``low``, ``high``: the curve from the smallest to the largest
      region, at equal distances of the logarithm, with its band: each end is a one-sided bound of
      95 %. ``low`` and ``high`` are None where the groups are too few.
    - ``a90``, ``a90_95``: in the unit of the sizes; None where they are not among the sizes.
    - ``missing``: why there is no curve, no band, or no a90; "" where nothing is missing.
    """

    n: int
    n_groups: int
    sizes: list[float] | None
    probability: list[float] | None
    low: list[float] | None
    high: list[float] | None
    a90: float | None
    a90_95: float | None
    missing: str


def detection_by_size(
    sizes: npt.ArrayLike, found: npt.ArrayLike, groups: Sequence[str]
) -> DetectionBySize:
    """Return the probability of detection of regions.

    Args:
        sizes: (N,) areas or lengths, above 0.
        found: (N,) bool.
        groups: (N,) the group of the image of each region.
    """
    values, hits = np.asarray(sizes, np.float64), np.asarray(found, np.bool_)
    logs, n_groups = np.log(values), len(set(groups))
    if missing := _why_no_curve(logs, hits):
        return _result(len(hits), n_groups, missing=missing)
    center, scale = logs.mean(), logs.std()
    design = np.column_stack([np.ones(len(logs)), (logs - center) / scale])
    weights = _fit(design[:, 1:], hits)
    if weights[1] <= 0:
        missing = "larger defects were not found more often than smaller ones"
        return _result(len(hits), n_groups, missing=missing)
    grid = np.linspace(logs.min(), logs.max(), POINTS)
    at = np.column_stack([np.ones(POINTS), (grid - center) / scale])
    mean, low, high = at @ weights, None, None
    if n_groups >= MIN_GROUPS:
        covariance = _covariance(design, hits, weights, groups)
        spread = ONE_SIDED_95 * np.sqrt(np.einsum("ni,ij,nj->n", at, covariance, at))
        low, high = mean - spread, mean + spread
    a90, a90_95 = _reaches(grid, mean), None if low is None else _reaches(grid, low)
    missing = ""
    if a90 is None:
        missing = "the largest defects are found less often than 90 %"
    elif low is None:
        missing = f"defects of {n_groups} groups are too few for a confidence"
    elif a90_95 is None:
        missing = "the defects are too few to show 90 % with a confidence of 95 %"
    return DetectionBySize(
        n=len(hits),
        n_groups=n_groups,
        sizes=np.exp(grid).tolist(),
        probability=expit(mean).tolist(),
        low=None if low is None else expit(low).tolist(),
        high=None if high is None else expit(high).tolist(),
        a90=a90,
        a90_95=a90_95,
        missing=missing,
    )


def _why_no_curve(logs: Float64Array, hits: npt.NDArray[np.bool_]) -> str:
    counts = int(hits.sum()), int((~hits).sum())
    if min(counts) < MIN_OF_EACH:
        return f"{counts[0]} found and {counts[1]} missed defects are too few for a curve"
    if logs[hits].min() >= logs[~hits].max():
        largest = np.exp(logs[~hits].max())
        return f"all defects larger than {largest:.0f} were found, and no others: there is no curve"
    return ""


def _fit(x: Float64Array, hits: npt.NDArray[np.bool_]) -> Float64Array:
    """Return intercept and slope, (2,), of the logistic regression on x, (N, 1)."""
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # It is converged by any other measure.
        model.fit(x, hits)
    return np.array([model.intercept_[0], model.coef_[0, 0]])


def _covariance(
    design: Float64Array,
    hits: npt.NDArray[np.bool_],
    weights: Float64Array,
    groups: Sequence[str],
) -> Float64Array:
    """Return the covariance (2, 2) of the weights, robust for groups (Liang and Zeger, 1986)."""
    probability = expit(design @ weights)
    inverse = np.linalg.inv(design.T @ (design * (probability * (1 - probability))[:, None]))
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = numbers.max() + 1
    scores = np.zeros((n_groups, 2))
    np.add.at(scores, numbers, design * (hits - probability)[:, None])
    robust: Float64Array = inverse @ (scores.T @ scores) @ inverse * (n_groups / (n_groups - 1))
    return robust


def _reaches(grid: Float64Array, curve: Float64Array) -> float | None:
    """Return the size from which on a curve of logits reaches ``ENOUGH``, if it does at the end."""
    enough = logit(ENOUGH)
    below = np.flatnonzero(curve < enough)
    if not below.size:
        return float(np.exp(grid[0]))
    last = int(below[-1])
    if last == len(grid) - 1:
        return None
    ends = slice(last, last + 2)
    return float(np.exp(np.interp(enough, curve[ends], grid[ends])))


def _result(n: int, n_groups: int, *, missing: str) -> DetectionBySize:
    return DetectionBySize(
        n=n,
        n_groups=n_groups,
        sizes=None,
        probability=None,
        low=None,
        high=None,
        a90=None,
        a90_95=None,
        missing=missing,
    )
