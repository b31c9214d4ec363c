"""Operating points: the thresholds, chosen on the validation split, and what supports them.

``score < low`` is good, ``score >= high`` is defective, between them a person reviews the image.
An *escape* is a defective image called good, an *overkill* a good image called defective.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, Float64Array, Int64Array
from defectkit.errors import ConfigError, ModelError
from defectkit.evaluation.rates import CONFIDENCE, clopper_pearson, describe_rate

FEW_IMAGES = 10
"""With fewer defective or fewer good validation images, thresholds come with a warning."""

MARGIN = 0.01
"""Where only one kind of image exists: fraction of the way from its outermost score to 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The scores at which good ends and defective begins: ``0 <= low <= high <= 1``.

    ``rule`` says how they were chosen: ``f1``, ``max_escape_rate=0.005``, ``cost_ratio=50``, or
    ``above_good``, ``below_defective``, ``default`` where validation lacked a kind of image.

    Raises:
        ValueError: the order or the range is wrong.
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
                "Copy the model folder again, or train again."
            ) from error


def choose_thresholds(
    scores: npt.ArrayLike,
    defective: npt.ArrayLike,
    *,
    max_escape_rate: float | None = None,
    cost_ratio: float | None = None,
) -> tuple[Thresholds, list[str]]:
    """Choose the thresholds from the validation split.

    Thresholds lie halfway between neighboring distinct scores, so that a small change of a score
    changes no verdict; beyond the lowest and the highest score 0 and 1 take their place. Of equally
    good thresholds the lowest is taken: it has the fewest escapes.

    - By default one threshold with the best F1 score.
    - ``max_escape_rate`` R: ``low`` is the largest at which at most R of the defective images
      escape; ``high`` is the F1-best one, or ``low`` if that is larger.
    - ``cost_ratio``: one threshold with the minimal ``cost_ratio * escapes + overkills``.

    Without defective images the threshold is just above the largest score, without good ones just
    below the smallest that is not 0, without images 0.5; the rule and a warning say so.

    Args:
        scores: (N,) float in [0, 1].
        defective: (N,) bool.
        max_escape_rate: in [0, 1), or ``None``.
        cost_ratio: number of overkills that an escape costs, above 0, or ``None``.

    Returns:
        The thresholds, and warnings: sentences with counts.

    Raises:
        ConfigError: both options are given, or one is out of range.
        ValueError: the shapes differ or a score is not in [0, 1].
    """
    check_options(max_escape_rate, cost_ratio)
    values, truth = check_scores(scores, defective)
    n_defective = int(np.count_nonzero(truth))
    n_good = len(truth) - n_defective
    if not n_defective or not n_good:
        return _choose_from_one_kind(values, n_defective)

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
            "the scores do not separate good from defective as asked."
        )
    return thresholds, warnings


def escape_rate_warning(escapes: int, n_defective: int, max_escape_rate: float) -> str | None:
    """Return why a result does not support an escape rate, or ``None`` where it does.

    It does if the upper end of its 95 % Clopper-Pearson interval does not exceed the rate. Meant
    for the test split: on validation the threshold uses up what ``max_escape_rate`` allows.
    """
    if clopper_pearson(escapes, n_defective)["high"] <= max_escape_rate:
        return None
    rate = describe_rate("escapes", escapes, n_defective)
    doubt = (
        f"an escape rate of {100 * max_escape_rate:.3g} % is not supported by this result: {rate}."
    )
    return " ".join([doubt, *_too_few_defective(n_defective, max_escape_rate)])


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


def check_options(
    max_escape_rate: float | None, cost_ratio: float | None, *, best_f1: bool = False
) -> None:
    """Check the options that say how thresholds are chosen.

    Raises:
        ConfigError: there are several, or one is out of range.
    """
    given = [
        *([f"--max-escape-rate {max_escape_rate:g}"] if max_escape_rate is not None else []),
        *([f"--cost-ratio {cost_ratio:g}"] if cost_ratio is not None else []),
        *(["--best-f1"] if best_f1 else []),
    ]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other. Give one of them.")
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


def _candidates(
    values: Float64Array, truth: BoolArray
) -> tuple[Float64Array, Int64Array, Int64Array]:
    """Return thresholds between the distinct scores, ascending, with escapes and overkills."""
    distinct = np.unique(values)
    lower, upper = np.append(0.0, distinct), np.append(distinct, 1.0)
    cuts = (lower + upper) / 2
    # Between two neighboring floats there is no third: then the cut is the upper one.
    cuts = np.where(cuts > lower, cuts, upper)
    cuts = cuts[: len(distinct) + (distinct[-1] < 1.0)]  # No cut is above a score of 1.
    escapes = np.searchsorted(np.sort(values[truth]), cuts)
    good = np.sort(values[~truth])
    return cuts, escapes, len(good) - np.searchsorted(good, cuts)


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


def _too_few_defective(n_defective: int, max_escape_rate: float) -> list[str]:
    """Return a warning if there are too few images to support the rate even without an escape.

    Without an escape the interval ends at ``1 - 0.025 ** (1 / n)``: a rate of 0.5 % takes 736
    images.
    """
    limit = clopper_pearson(0, n_defective)["high"]
    if limit <= max_escape_rate:
        return []
    tail = (1.0 - CONFIDENCE) / 2.0
    needed = math.ceil(math.log(tail) / math.log1p(-max_escape_rate)) if max_escape_rate else 0
    return [
        f"{n_defective} defective images cannot support an escape rate of "
        f"{100 * max_escape_rate:.3g} %: if none escaped, up to {100 * limit:.2g} % would still be "
        "possible (95 % CI). "
        + (f"At least {needed} are needed." if needed else "No number of images can.")
    ]


def _few_images(n_defective: int, n_good: int) -> list[str]:
    if min(n_defective, n_good) >= FEW_IMAGES:
        return []
    return [
        f"the thresholds rest on {n_defective} defective and {n_good} good validation images: "
        f"with fewer than {FEW_IMAGES} of either, one image can change them a lot."
    ]
