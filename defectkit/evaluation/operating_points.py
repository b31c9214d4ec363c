"""Operating points: the thresholds, chosen on the validation split, and what supports them.

``score < low`` is good, ``score >= high`` is defective, between them a person reviews the image.
An *escape* is a defective image called good, an *overkill* a good image called defective.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, Float64Array
from defectkit.evaluation.candidates import Candidates
from defectkit.evaluation.promise import (
    ErrorKind,
    allowed_escapes,
    least_rate,
    needed_units,
    shows_rate,
)
from defectkit.evaluation.rates import describe_rate
from defectkit.evaluation.threshold_rule import BEST_F1, ThresholdRule
from defectkit.evaluation.thresholds import Thresholds

FEW_IMAGES = 10
"""With fewer defective or fewer good validation images, thresholds come with a warning."""

MARGIN = 0.01
"""Where only one kind of image exists: fraction of the way from its outermost score to 0 or 1."""


def choose_thresholds(
    scores: npt.ArrayLike,
    defective: npt.ArrayLike,
    rule: ThresholdRule = BEST_F1,
    *,
    groups: Sequence[str] | None = None,
) -> tuple[Thresholds, list[str]]:
    """Choose the thresholds from the validation split.

    Thresholds lie halfway between neighboring distinct scores, in logits, so that a small change of
    a score changes no verdict; beyond the lowest and the highest score 0 and 1 take their place. Of
    equally good thresholds the lowest is taken: it has the fewest escapes.

    - By default one threshold with the best F1 score that is to be expected of such images.
    - ``max_escape_rate`` R with confidence C: ``low`` is the largest at which the groups with an
      escape are so few that they show R (``promise.py``). Where the groups are too few for any
      promise, none may have an escape, and a warning says what they would show. ``high`` is the
      F1-best one; with ``max_review_rate`` the largest at which no larger share of the images lies
      between both; with ``max_overkill_rate`` the smallest that shows this rate by the groups with
      good images, in the same way. It is never below ``low``.
    - ``cost_ratio``: one threshold with the minimal ``cost_ratio * escapes + overkills``, expected
      in the same way.

    What is to be expected of the next images follows from the smoothed scores (``candidates.py``);
    a promise counts the images as they are.

    With ``prevalence`` F1, cost and reviews are those of a line with this share of defects.

    Without defective images the threshold is just above the largest score, without good ones just
    below the smallest that is not 0, without images 0.5; the rule and a warning say so.

    Args:
        scores: (N,) float in [0, 1].
        defective: (N,) bool.
        rule: what is asked for.
        groups: (N,) the group of each image. Images of one group are alike, so that together they
            count once; by default each image is a group.

    Returns:
        The thresholds, and warnings: sentences with counts.

    Raises:
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    values, truth = check_scores(scores, defective)
    n_defective = int(np.count_nonzero(truth))
    n_good = len(truth) - n_defective
    if not n_defective or not n_good:
        return _choose_from_one_kind(values, n_defective)
    candidates = Candidates(values, truth, rule.prevalence)
    warnings = _few_images(n_defective, n_good)
    if rule.max_escape_rate is not None:
        worst = lowest_of_groups(values[truth], _select(groups, truth))
        highest = -lowest_of_groups(-values[~truth], _select(groups, ~truth))[::-1]
        thresholds, unshown = _keep_promises(candidates, worst, highest, rule)
        grouped = groups is not None
        warnings += [_not_shown(*one, rule.confidence, groups=grouped) for one in unshown]
    else:
        cut = (
            candidates.best_f1()
            if rule.cost_ratio is None
            else candidates.cheapest(rule.cost_ratio)
        )
        thresholds = Thresholds(low=cut, high=cut, rule=rule.describe())
    if np.all(values[~truth] >= thresholds.low):
        warnings.append(
            f"none of the {n_good} good validation images would be called good: "
            "the scores do not separate good from defective as asked."
        )
    return thresholds, warnings


def _keep_promises(
    candidates: Candidates, worst: Float64Array, highest: Float64Array, rule: ThresholdRule
) -> tuple[Thresholds, list[tuple[int, float, ErrorKind]]]:
    """Return the thresholds of a promise, and what is not shown: how many there are, rate and kind.

    Args:
        candidates: the thresholds to choose from.
        worst: the lowest score of each group with defective images, ascending.
        highest: the highest score of each group with good images, ascending.
        rule: has a ``max_escape_rate``.
    """
    assert rule.max_escape_rate is not None
    unshown: list[tuple[int, float, ErrorKind]] = []

    def allowed(n: int, rate: float, kind: ErrorKind) -> int:
        most = allowed_escapes(n, rate, rule.confidence)
        if most is None:
            unshown.append((n, rate, kind))
        return most or 0

    low = candidates.largest_cut(worst, allowed(len(worst), rule.max_escape_rate, "escape"))
    if rule.max_review_rate is not None:
        high = candidates.largest_high(low, rule.max_review_rate)
    elif rule.max_overkill_rate is not None:
        most = allowed(len(highest), rule.max_overkill_rate, "overkill")
        high = candidates.smallest_cut(highest, most)
    else:
        high = candidates.best_f1()
    kinds = {kind for *_, kind in unshown}
    described = rule.describe(shown="escape" not in kinds, overkills_shown="overkill" not in kinds)
    return Thresholds(low=low, high=max(low, high), rule=described), unshown


def lowest_of_groups(scores: Float64Array, groups: Sequence[str] | None = None) -> Float64Array:
    """Return the lowest of the scores (N,) of each group, ascending; without groups all of them."""
    if groups is None:
        return np.sort(scores)
    lowest: dict[str, float] = {}
    for score, group in zip(scores.tolist(), groups, strict=True):
        lowest[group] = min(score, lowest.get(group, score))
    return np.sort(np.array(list(lowest.values()), np.float64))


def rate_warning(
    errors: int, n: int, rate: float, kind: ErrorKind, confidence: float
) -> str | None:
    """Return why a result does not show a promised rate, or ``None`` where it does.

    Meant for the test split: on validation the threshold uses up what the promise allows.

    Args:
        errors: number of groups with an escape, or with an overkill.
        n: number of groups with a defective image, or with a good one.
        rate: what was promised.
        kind: of which error.
        confidence: that of the promise.
    """
    if shows_rate(errors, n, rate, confidence):
        return None
    doubt = (
        f"an {kind} rate of {_percent(rate)} is not shown by this result: "
        f"{describe_rate(f'groups with an {kind}', errors, n)}."
    )
    if shows_rate(0, n, rate, confidence):
        return doubt
    return f"{doubt} {_not_shown(n, rate, kind, confidence, groups=True)}"


def check_scores(scores: npt.ArrayLike, defective: npt.ArrayLike) -> tuple[Float64Array, BoolArray]:
    """Return scores (N,) float64 and truth (N,) bool.

    Raises:
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(defective).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores {values.shape} and defective {truth.shape} must both be (N,)")
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise ValueError("scores must be in [0, 1] and finite")
    return values, truth


def _choose_from_one_kind(values: Float64Array, n_defective: int) -> tuple[Thresholds, list[str]]:
    """Return a threshold for a split that lacks good or defective images, with a warning.

    It does not call every image defective.
    """
    if len(values) == 0:
        cut, rule, missing = 0.5, "default", "no images"
    elif n_defective:
        above_zero = values[values > 0.0]
        smallest = float(above_zero.min()) if above_zero.size else 0.5
        cut, rule, missing = smallest * (1.0 - MARGIN), "below_defective", "no good images"
    else:
        largest = float(values.max())
        cut, rule = largest + MARGIN * (1.0 - largest), "above_good"
        missing = "no defective images"
    warning = (
        f"validation has {missing} ({len(values)} in all): the threshold {cut:.4g} is a guess "
        f"({rule}). Add such images to the validation split."
    )
    return Thresholds(low=cut, high=cut, rule=rule), [warning]


def _not_shown(n: int, rate: float, kind: ErrorKind, confidence: float, *, groups: bool) -> str:
    """Return what so many groups or images would show of a rate, and how many are needed."""
    what = "defective images" if kind == "escape" else "good images"
    if groups:
        what = f"groups with {what}"
    least = f"{n} {what} support no {kind} rate below {_percent(least_rate(n, confidence))}"
    needed = needed_units(rate, confidence)
    return (
        f"{least} with a confidence of {_percent(confidence)}: "
        f"{_percent(rate)} is not promised. "
        + (f"At least {needed} are needed." if needed else "No number of images can show it.")
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _select(groups: Sequence[str] | None, chosen: BoolArray) -> list[str] | None:
    if groups is None:
        return None
    return [group for group, one in zip(groups, chosen, strict=True) if one]


def _few_images(n_defective: int, n_good: int) -> list[str]:
    if min(n_defective, n_good) >= FEW_IMAGES:
        return []
    return [
        f"the thresholds rest on {n_defective} defective and {n_good} good validation images: "
        f"with fewer than {FEW_IMAGES} of either, one image can change them a lot. Label more, or "
        "train with --folds 5: then all training and validation images choose them."
    ]
