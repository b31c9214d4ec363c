"""The ``image`` section of ``metrics.json``: ranking, escapes and overkills."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from defectkit.evaluation.operating_points import Thresholds, check_scores
from defectkit.evaluation.ranking import auroc, average_precision
from defectkit.evaluation.rates import Interval, clopper_pearson


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


def image_metrics(
    scores: npt.ArrayLike, defective: npt.ArrayLike, thresholds: Thresholds
) -> ImageResult:
    """Return the ``image`` section of ``metrics.json`` for scores (N,) and truth (N,) bool.

    Rates are of all defective and of all good images; images under review count in neither rate's
    numerator.

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
    )
