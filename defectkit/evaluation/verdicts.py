"""From scores to verdicts: thresholds chosen on validation, and rates with their uncertainty.

``score < low`` is good, ``score >= high`` is defective, between them a person reviews the image.
An *escape* is a defective image called good, an *overkill* a good image called defective.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from defectkit.errors import ConfigError, ModelError
from defectkit.evaluation.pixel_metrics import auroc, average_precision
from defectkit.vocabulary import Outcome, Verdict

CONFIDENCE = 0.95
FEW_IMAGES = 10
"""With fewer defective or fewer good validation images, thresholds come with a warning."""

MARGIN = 0.01
"""Where only one kind of image exists: the part of the way from its outermost score to the end."""


class Interval(TypedDict):
    """A rate and its confidence interval, all in [0, 1]; ``value`` is ``None`` without trials."""

    value: float | None
    low: float
    high: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where good ends and defective begins: ``0 <= low <= high <= 1``.

    ``rule`` says how they were chosen: ``f1``, ``max_escape_rate=0.005``, ``cost_ratio=50``, or
    ``above_good``, ``below_defective``, ``default`` where validation lacked a kind of image.

    Raises:
        ValueError: the order or the range does not hold.
    """

    low: float
    high: float
    rule: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise ValueError(
                f"thresholds must satisfy 0 <= low <= high <= 1 but got {self.low} and {self.high}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Thresholds":
        """Read what ``to_dict`` wrote.

        Raises:
            ModelError: a field is missing, of the wrong type or out of range.
        """
        try:
            return cls(
                low=float(content["low"]), high=float(content["high"]), rule=str(content["rule"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the thresholds {dict(content)} cannot be used ({error}). "
                "Run `defectkit evaluate` again to choose new ones."
            ) from error


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the rate ``successes / trials`` with its exact two-sided confidence interval.

    Clopper and Pearson, Biometrika 26 (1934). Without trials nothing is known: ``value`` is
    ``None`` and the interval is [0, 1].

    Raises:
        ValueError: ``successes`` is not in 0..``trials`` or ``confidence`` not in (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be in 0..{trials} but got {successes}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1) but got {confidence}")
    tail = (1.0 - confidence) / 2.0
    failures = trials - successes
    return Interval(
        value=successes / trials if trials else None,
        low=float(betaincinv(successes, failures + 1, tail)) if successes else 0.0,
        high=float(betaincinv(successes + 1, failures, 1.0 - tail)) if failures else 1.0,
    )


def choose_thresholds(
    scores: npt.ArrayLike,
    defective: npt.ArrayLike,
    *,
    max_escape_rate: float | None = None,
    cost_ratio: float | None = None,
) -> tuple[Thresholds, list[str]]:
    """Choose the thresholds from the validation split.

    Thresholds lie halfway between neighboring distinct scores, so that a small change of a score
    changes no verdict; 0 and 1 stand in beyond the lowest and the highest. Of equally good ones the
    lowest is taken: it has the fewest escapes.

    - By default one threshold with the best F1 score.
    - ``max_escape_rate`` R: ``low`` is the largest at which at most R of the defective images
      escape; ``high`` is the F1-best one, or ``low`` if that is larger.
    - ``cost_ratio``: one threshold with the least ``cost_ratio * escapes + overkills``.

    Without defective images the threshold is just above the largest score, without good ones just
    below the smallest that is not 0, without images 0.5; the rule says so, and a warning.

    Args:
        scores: (N,) float in [0, 1].
        defective: (N,) bool.
        max_escape_rate: in [0, 1), or ``None``.
        cost_ratio: how many overkills an escape costs, above 0, or ``None``.

    Returns:
        The thresholds, and warnings as sentences with counts.

    Raises:
        ConfigError: both options are given, or one is out of range.
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    _check_options(max_escape_rate, cost_ratio)
    values, truth = _checked(scores, defective)
    n_defective = int(np.count_nonzero(truth))
    n_good = len(truth) - n_defective
    if not n_defective or not n_good:
        return _one_sided(values, n_defective)

    cuts, escapes, overkills = _candidates(values, truth)
    hits = n_defective - escapes
    best_f1 = float(cuts[np.argmax(2 * hits / (hits + overkills + n_defective))])
    warnings = _few_images(n_defective, n_good)
    if max_escape_rate is not None:
        # The small term keeps 0.29 * 100 from being 28.999999999999996.
        chosen = np.flatnonzero(escapes <= max_escape_rate * n_defective + 1e-9)[-1]
        low = float(cuts[chosen])
        rule = f"max_escape_rate={max_escape_rate:g}"
        thresholds = Thresholds(low=low, high=max(low, best_f1), rule=rule)
        warnings += _too_few_defective(n_defective, max_escape_rate)
    elif cost_ratio is not None:
        cut = float(cuts[np.argmin(cost_ratio * escapes + overkills)])
        thresholds = Thresholds(low=cut, high=cut, rule=f"cost_ratio={cost_ratio:g}")
    else:
        thresholds = Thresholds(low=best_f1, high=best_f1, rule="f1")
    if np.all(values[~truth] >= thresholds.low):
        warnings.append(
            f"none of the {n_good} good validation images would be called good: "
            "the scores do not part good from defective as asked."
        )
    return thresholds, warnings


def doubt_escape_rate(escapes: int, n_defective: int, max_escape_rate: float) -> str | None:
    """Return why a result does not support an escape rate, or ``None`` where it does.

    It does if the upper end of its 95 % Clopper-Pearson interval does not exceed the rate. For the
    test split: on validation the threshold uses up what ``max_escape_rate`` allows.
    """
    if clopper_pearson(escapes, n_defective)["high"] <= max_escape_rate:
        return None
    seen = describe("escapes", escapes, n_defective)
    doubt = f"an escape rate of {100 * max_escape_rate:.3g} % is not shown: {seen}."
    return " ".join([doubt, *_too_few_defective(n_defective, max_escape_rate)])


def verdict(score: float, thresholds: Thresholds) -> Verdict:
    """Return the verdict on an image score in [0, 1]."""
    if score < thresholds.low:
        return "good"
    return "defective" if score >= thresholds.high else "review"


def outcome(verdict: Verdict, defective: bool) -> Outcome:
    """Return what a verdict means for an image whose truth is known."""
    if verdict == "review":
        return "review"
    if verdict == "defective":
        return "hit" if defective else "overkill"
    return "escape" if defective else "pass"


def image_metrics(
    scores: npt.ArrayLike, defective: npt.ArrayLike, thresholds: Thresholds
) -> ImageResult:
    """Return the ``image`` section of ``metrics.json`` for scores (N,) and truth (N,) bool.

    Rates are of all defective and of all good images; images under review count in neither rate's
    numerator.

    Raises:
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    values, truth = _checked(scores, defective)
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


def describe(name: str, count: int, total: int) -> str:
    """Return a rate for people.

    >>> describe("escapes", 2, 57)
    'escapes 2 of 57 (3.5 %, 95 % CI 0.4-12.1 %)'
    >>> describe("escapes", 0, 0)
    'escapes 0 of 0 (no rate)'
    """
    rate = clopper_pearson(count, total)
    if rate["value"] is None:
        return f"{name} {count} of {total} (no rate)"
    value, low, high = (100 * share for share in (rate["value"], rate["low"], rate["high"]))
    return f"{name} {count} of {total} ({value:.1f} %, 95 % CI {low:.1f}-{high:.1f} %)"


def _check_options(max_escape_rate: float | None, cost_ratio: float | None) -> None:
    if max_escape_rate is not None and cost_ratio is not None:
        raise ConfigError(
            f"--max-escape-rate {max_escape_rate:g} and --cost-ratio {cost_ratio:g} exclude each "
            "other. Give one of them."
        )
    if max_escape_rate is not None and not 0.0 <= max_escape_rate < 1.0:
        raise ConfigError(
            f"--max-escape-rate must be at least 0 and below 1 but is {max_escape_rate:g}. "
            "Half a percent is 0.005."
        )
    if cost_ratio is not None and not 0.0 < cost_ratio < math.inf:
        raise ConfigError(
            f"--cost-ratio must be above 0 and finite but is {cost_ratio:g}. "
            "If an escape costs as much as 50 overkills, it is 50."
        )


def _checked(
    scores: npt.ArrayLike, defective: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(defective).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores {values.shape} and defective {truth.shape} must both be (N,)")
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise ValueError("scores must be in [0, 1] and finite")
    return values, truth


def _candidates(
    values: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ascending cuts between the distinct scores, with each one's escapes and overkills."""
    distinct = np.unique(values)
    lower, upper = np.append(0.0, distinct), np.append(distinct, 1.0)
    cuts = (lower + upper) / 2
    # Between two neighboring floats there is nothing: then the cut is the upper one.
    cuts = np.where(cuts > lower, cuts, upper)
    cuts = cuts[: len(distinct) + (distinct[-1] < 1.0)]  # above a score of 1 there is no cut
    escapes = np.searchsorted(np.sort(values[truth]), cuts)
    good = np.sort(values[~truth])
    return cuts, escapes, len(good) - np.searchsorted(good, cuts)


def _one_sided(values: npt.NDArray[np.float64], n_defective: int) -> tuple[Thresholds, list[str]]:
    """Return a threshold that does not call everything defective where a kind is missing."""
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


def _too_few_defective(n_defective: int, max_escape_rate: float) -> list[str]:
    """Return a warning where not even a result without an escape would support the rate.

    Its interval ends at ``1 - 0.025 ** (1 / n)``: an escape rate of 0.5 % takes 736 images.
    """
    limit = clopper_pearson(0, n_defective)["high"]
    if limit <= max_escape_rate:
        return []
    tail = (1.0 - CONFIDENCE) / 2.0
    needed = math.ceil(math.log(tail) / math.log1p(-max_escape_rate)) if max_escape_rate else 0
    return [
        f"{n_defective} defective images cannot show an escape rate of {100 * max_escape_rate:.3g} "
        f"%: if none escaped, up to {100 * limit:.2g} % would still be possible (95 % CI). "
        + (f"At least {needed} are needed." if needed else "No number of images can.")
    ]


def _few_images(n_defective: int, n_good: int) -> list[str]:
    if min(n_defective, n_good) >= FEW_IMAGES:
        return []
    return [
        f"the thresholds rest on {n_defective} defective and {n_good} good validation images: "
        f"with fewer than {FEW_IMAGES} of either they can move much with one image."
    ]
