"""The ``image`` section of ``metrics.json``: ranking, escapes and overkills."""

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from defectkit.arrays import BoolArray, Float64Array
from defectkit.evaluation.operating_points import check_scores
from defectkit.evaluation.ranking import auroc, average_precision
from defectkit.evaluation.rates import Interval, clopper_pearson
from defectkit.evaluation.reliability import by_score
from defectkit.evaluation.thresholds import Thresholds


class ImageResult(TypedDict):
    """The ``image`` section of ``metrics.json``."""

    average_precision: float | None
    auroc: float | None
    threshold_low: float
    threshold_high: float
    escapes: int
    overkills: int
    reviews: int
    n_defective: int
    n_good: int
    escape_rate: Interval
    overkill_rate: Interval
    calibration_error: float | None


def image_metrics(
    scores: npt.ArrayLike, defective: npt.ArrayLike, thresholds: Thresholds
) -> ImageResult:
    """Return the ``image`` section of ``metrics.json`` for scores (N,) and truth (N,) bool.

    The rates are fractions of all defective and of all good images; images under review count as
    neither escape nor overkill.

    Raises:
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    values, truth = check_scores(scores, defective)
    escapes = int(np.count_nonzero(truth & (values < thresholds.low)))
    overkills = int(np.count_nonzero(~truth & (values >= thresholds.high)))
    reviews = int(np.count_nonzero((values >= thresholds.low) & (values < thresholds.high)))
    n_defective = int(np.count_nonzero(truth))
    n_good = len(truth) - n_defective
    return ImageResult(
        average_precision=average_precision(truth, values),
        auroc=auroc(truth, values),
        threshold_low=thresholds.low,
        threshold_high=thresholds.high,
        escapes=escapes,
        overkills=overkills,
        reviews=reviews,
        n_defective=n_defective,
        n_good=n_good,
        escape_rate=clopper_pearson(escapes, n_defective),
        overkill_rate=clopper_pearson(overkills, n_good),
        calibration_error=calibration_error(values, truth),
    )


def calibration_error(scores: Float64Array, defective: BoolArray) -> float | None:
    """Return by how much scores (N,) in [0, 1] differ from the rate of defective images, (N,) bool.

    The expected calibration error in [0, 1]: of up to 10 groups of equally many images, by score,
    the mean difference between their mean score and their share of defective images. None without
    images.
    """
    if not len(scores):
        return None
    differences = [
        abs(scores[part].mean() - defective[part].mean()) * len(part) for part in by_score(scores)
    ]
    return float(sum(differences) / len(scores))


def escape_and_overkill_rates(
    scores: npt.ArrayLike, defective: npt.ArrayLike
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return thresholds and, for each, the escape and the overkill rate.

    The thresholds are in ascending order: 0, each distinct score, and one above all scores. The
    escape rate is NaN without defective images, the overkill rate without good ones.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(defective, dtype=np.bool_)
    thresholds = np.concatenate([[0.0], np.unique(values), [np.inf]])
    defective_scores, good_scores = np.sort(values[truth]), np.sort(values[~truth])
    with np.errstate(invalid="ignore"):
        escapes = np.searchsorted(defective_scores, thresholds) / np.float64(defective_scores.size)
        overkills = 1 - np.searchsorted(good_scores, thresholds) / np.float64(good_scores.size)
    return thresholds, escapes, overkills
