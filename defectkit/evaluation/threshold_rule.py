"""``ThresholdRule``: what a user asks of the thresholds."""

import math
import re
from dataclasses import dataclass

from defectkit.errors import ConfigError
from defectkit.evaluation.promise import DEFAULT_CONFIDENCE, ErrorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """What the thresholds are chosen by; where nothing is asked for, the best F1 score.

    - ``max_escape_rate`` in [0, 1): the rate of escapes that is promised,
    - ``confidence`` in (0, 1): the probability with which the promise holds,
    - ``max_review_rate`` in [0, 1]: beside a promise, the share of images that people review,
    - ``max_overkill_rate`` in [0, 1): beside a promise, the rate of overkills that is promised too,
    - ``cost_ratio`` above 0: the number of overkills that an escape costs,
    - ``prevalence`` in (0, 1): the share of defective images at the line; None: that of the images
      that the thresholds are chosen on,
    - ``best_f1``: the default, asked for by name.

    Raises:
        ConfigError: a value is out of range, or some exclude or need each other.
    """

    max_escape_rate: float | None = None
    confidence: float = DEFAULT_CONFIDENCE
    max_review_rate: float | None = None
    max_overkill_rate: float | None = None
    cost_ratio: float | None = None
    prevalence: float | None = None
    best_f1: bool = False

    def __post_init__(self) -> None:
        if len(given := self._given()) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other. Give one of them.")
        rate = self.max_escape_rate
        for option, value in (
            ("--max-escape-rate", rate),
            ("--max-overkill-rate", self.max_overkill_rate),
        ):
            if value is not None and not 0.0 <= value < 1.0:
                raise ConfigError(
                    f"{option} must be at least 0 and below 1 but is {value:g}. "
                    "Half a percent is 0.005."
                )
        if not 0.0 < self.confidence < 1.0:
            raise ConfigError(
                f"--confidence must be above 0 and below 1 but is {self.confidence:g}. "
                "95 % is 0.95."
            )
        review = self.max_review_rate
        beside = {"--max-review-rate": review, "--max-overkill-rate": self.max_overkill_rate}
        given = [option for option, value in beside.items() if value is not None]
        if given and rate is None:
            raise ConfigError(f"{given[0]} needs --max-escape-rate. Give both.")
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other. Give one of them.")
        if review is not None and not 0.0 <= review <= 1.0:
            raise ConfigError(
                f"--max-review-rate must be in 0 to 1 but is {review:g}. 2 % is 0.02."
            )
        if self.cost_ratio is not None and not 0.0 < self.cost_ratio < math.inf:
            raise ConfigError(
                f"--cost-ratio must be above 0 and finite but is {self.cost_ratio:g}. "
                "If an escape costs as much as 50 overkills, it is 50."
            )
        if self.prevalence is not None and not 0.0 < self.prevalence < 1.0:
            raise ConfigError(
                f"--prevalence must be above 0 and below 1 but is {self.prevalence:g}. "
                "If one part of 200 is defective, it is 0.005."
            )

    @property
    def is_asked(self) -> bool:
        """Whether thresholds are to be chosen again."""
        return bool(self._given()) or self.prevalence is not None

    def describe(self, *, shown: bool = True, overkills_shown: bool = True) -> str:
        """Return the rule as models, tables and pages name it.

        ``shown`` says whether the images support the promise, ``overkills_shown`` whether they
        support that of overkills.
        """
        parts = []
        if self.max_escape_rate is not None:
            parts += [
                f"max_escape_rate={self.max_escape_rate:g}",
                f"confidence={self.confidence:g}",
                *([] if shown else ["not shown"]),
            ]
            if self.max_review_rate is not None:
                parts.append(f"max_review_rate={self.max_review_rate:g}")
            if self.max_overkill_rate is not None:
                parts.append(f"max_overkill_rate={self.max_overkill_rate:g}")
                parts += [] if overkills_shown else ["not shown"]
        elif self.cost_ratio is not None:
            parts.append(f"cost_ratio={self.cost_ratio:g}")
        else:
            parts.append("f1")
        if self.prevalence is not None:
            parts.append(f"prevalence={self.prevalence:g}")
        return ", ".join(parts)

    def _given(self) -> list[str]:
        """Return the options of which one alone can be followed."""
        given = []
        if self.max_escape_rate is not None:
            given.append(f"--max-escape-rate {self.max_escape_rate:g}")
        if self.cost_ratio is not None:
            given.append(f"--cost-ratio {self.cost_ratio:g}")
        return given + ["--best-f1"] * self.best_f1


BEST_F1 = ThresholdRule()


@dataclass(frozen=True, slots=True)
class Promise:
    """A rate of errors that thresholds are to keep.

    ``rate`` is in [0, 1), ``confidence`` in (0, 1) the probability with which the rate is kept, and
    ``on_validation`` says whether the validation images show it.
    """

    kind: ErrorKind
    rate: float
    confidence: float
    on_validation: bool


def promises_of(rule: str) -> list[Promise]:
    """Return what a rule promises, or was to promise: first of escapes, then of overkills.

    Args:
        rule: as ``ThresholdRule.describe`` returns it. In models of earlier versions, which
            promised nothing, it has no confidence: then the default one is returned.

    >>> promises_of("max_escape_rate=0.05, confidence=0.9, not shown")
    [Promise(kind='escape', rate=0.05, confidence=0.9, on_validation=False)]
    """
    found = re.fullmatch(
        r"max_escape_rate=([^,]+)(?:, confidence=([^,]+))?(, not shown)?"
        r"(?:, max_review_rate=[^,]+)?(?:, max_overkill_rate=([^,]+)(, not shown)?)?"
        r"(?:, prevalence=[^,]+)?",
        rule,
    )
    if found is None:
        return []
    escapes, confidence, escapes_doubt, overkills, overkills_doubt = found.groups()
    try:
        sure = float(confidence or DEFAULT_CONFIDENCE)
        promises = [Promise("escape", float(escapes), sure, escapes_doubt is None)]
        if overkills is not None:
            promises.append(Promise("overkill", float(overkills), sure, overkills_doubt is None))
    except ValueError:
        return []
    valid = all(0 <= promise.rate < 1 for promise in promises) and 0 < sure < 1
    return promises if valid else []
