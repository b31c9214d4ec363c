import math
from dataclasses import replace

import pytest

from defectkit.errors import ConfigError
from defectkit.evaluation.threshold_rule import Promise, ThresholdRule, promises_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_escape_rate": 0.1, "cost_ratio": 50.0},
            "0.1 and --cost-ratio 50 exclude each other",
        ),
        ({"max_escape_rate": 1.0}, "at least 0 and below 1 but is 1"),
        ({"max_escape_rate": -0.1}, "at least 0 and below 1 but is -0.1"),
        ({"max_escape_rate": math.nan}, "at least 0 and below 1 but is nan"),
        ({"cost_ratio": 0.0}, "must be above 0 and finite but is 0"),
        ({"cost_ratio": math.inf}, "must be above 0 and finite but is inf"),
        ({"cost_ratio": math.nan}, "must be above 0 and finite but is nan"),
        ({"max_escape_rate": 0.1, "confidence": 1.0}, "--confidence must be above 0 and below 1"),
        ({"max_escape_rate": 0.1, "confidence": 95}, r"is 95\. 95 % is 0\.95"),
        ({"max_escape_rate": 0.1, "max_review_rate": 1.5}, "must be in 0 to 1 but is 1.5"),
        ({"max_review_rate": 0.1}, "--max-review-rate needs --max-escape-rate"),
        ({"max_overkill_rate": 0.1}, "--max-overkill-rate needs --max-escape-rate"),
        (
            {"max_escape_rate": 0.1, "max_overkill_rate": 1.0},
            "--max-overkill-rate must be at least 0 and below 1 but is 1",
        ),
        (
            {"max_escape_rate": 0.1, "max_overkill_rate": 0.1, "max_review_rate": 0.1},
            "--max-review-rate and --max-overkill-rate exclude each other",
        ),
        ({"prevalence": 0.0}, "--prevalence must be above 0 and below 1 but is 0"),
        ({"prevalence": math.nan}, "--prevalence must be above 0 and below 1 but is nan"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ThresholdRule(**options)


@pytest.mark.check(60)
@pytest.mark.parametrize(
    "given",
    [
        {"max_escape_rate": 0.1},
        {"cost_ratio": 2.0},
        {"max_escape_rate": 0.1, "cost_ratio": 2.0},
    ],
)
def test_only_one_rule_can_be_asked_for(given):
    with pytest.raises(ConfigError, match=r" and --best-f1 exclude each other\. Give one of them"):
        ThresholdRule(**given, best_f1=True)
    assert ThresholdRule(best_f1=True).is_asked


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "f1"),
        ({"best_f1": True}, "f1"),
        ({"prevalence": 0.01}, "f1, prevalence=0.01"),
        ({"cost_ratio": 50.0, "prevalence": 0.01}, "cost_ratio=50, prevalence=0.01"),
        (
            {"max_escape_rate": 0.05, "max_review_rate": 0.1, "prevalence": 0.5},
            "max_escape_rate=0.05, confidence=0.95, max_review_rate=0.1, prevalence=0.5",
        ),
    ],
)
def test_a_rule_says_what_was_asked(options, text):
    assert ThresholdRule(**options).describe() == text
    assert ThresholdRule(**options).is_asked == bool(options)


def test_a_promise_that_is_not_shown_is_called_so():
    rule = ThresholdRule(max_escape_rate=0.05, confidence=0.9)
    assert rule.describe(shown=False) == "max_escape_rate=0.05, confidence=0.9, not shown"
    both = ThresholdRule(max_escape_rate=0.05, max_overkill_rate=0.1)
    told = both.describe(overkills_shown=False)
    assert told == "max_escape_rate=0.05, confidence=0.95, max_overkill_rate=0.1, not shown"
    assert [promise.on_validation for promise in promises_of(told)] == [True, False]
    told = both.describe(shown=False)
    assert [promise.on_validation for promise in promises_of(told)] == [False, True]


@pytest.mark.parametrize(
    "options", [{}, {"max_review_rate": 0.1}, {"prevalence": 0.01}, {"max_overkill_rate": 0.1}]
)
@pytest.mark.parametrize(("rate", "confidence"), [(0.05, 0.95), (0.005, 0.9), (0.0, 0.5)])
def test_a_promise_is_read_back_from_its_description(rate, confidence, options):
    rule = ThresholdRule(max_escape_rate=rate, confidence=confidence, **options)
    promised = Promise("escape", rate, confidence, True)
    of_overkills = options.get("max_overkill_rate")
    more = [] if of_overkills is None else [Promise("overkill", of_overkills, confidence, True)]
    assert promises_of(rule.describe()) == [promised, *more]
    assert promises_of(rule.describe(shown=False)) == [
        replace(promised, on_validation=False),
        *more,
    ]
    earlier = f"max_escape_rate={rate:g}"  # without a confidence
    assert promises_of(earlier) == [Promise("escape", rate, 0.95, True)]


BROKEN = [
    "max_escape_rate=0.1, max_overkill_rate=1",
    "max_escape_rate=x",
    "max_escape_rate=nan",
    "max_escape_rate=0.1, confidence=2",
]


@pytest.mark.parametrize("rule", ["f1", "cost_ratio=50", "above_good", "", *BROKEN])
def test_other_rules_promise_nothing(rule):
    assert promises_of(rule) == []
