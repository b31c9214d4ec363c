import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from defectkit.errors import ConfigError, ModelError
from defectkit.evaluation.operating_points import (
    Thresholds,
    check_options,
    choose_thresholds,
    escape_rate_warning,
)
from defectkit.evaluation.verdicts import verdict

ROUND_SCORES = st.integers(0, 20).map(lambda n: n / 20)  # many ties, and both ends
SCORED = st.lists(st.tuples(ROUND_SCORES | st.floats(0, 1), st.booleans()), min_size=2, max_size=40)


def split(pairs):
    scores, defective = zip(*pairs, strict=True)
    return np.array(scores), np.array(defective)


def both_kinds(pairs):
    return split(pairs) if len({defective for _, defective in pairs}) == 2 else None


def every_cut(scores):
    """Return thresholds that part the scores in every possible way."""
    distinct = np.unique(scores)
    return [*distinct, np.nextafter(distinct[-1], 2)] if distinct[-1] < 1 else list(distinct)


def separated(n_good, n_defective):
    scores = np.concatenate([np.linspace(0.0, 0.4, n_good), np.linspace(0.6, 1.0, n_defective)])
    return scores, np.arange(n_good + n_defective) >= n_good


@pytest.mark.parametrize(
    "pair", [(0.6, 0.5), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.nan)]
)
def test_thresholds_refuse_disorder(pair):
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        Thresholds(low=pair[0], high=pair[1], rule="f1")


def test_thresholds_survive_json():
    thresholds, _ = choose_thresholds(*separated(20, 20), max_escape_rate=0.1)
    assert Thresholds.from_dict(json.loads(json.dumps(thresholds.to_dict()))) == thresholds


@pytest.mark.parametrize(
    "content",
    [
        {"low": 0.2, "high": 0.1, "rule": "f1"},
        {"low": 0.2, "rule": "f1"},
        {"low": "x", "high": 1, "rule": ""},
        {"low": None, "high": 1, "rule": ""},
    ],
)
def test_damaged_thresholds_are_named(content):
    with pytest.raises(
        ModelError, match=r"thresholds .* cannot be used .*Copy the model folder again"
    ):
        Thresholds.from_dict(content)


@settings(max_examples=80, deadline=None)
@given(SCORED)
def test_the_default_has_the_best_f1(pairs):
    assume(both := both_kinds(pairs))
    scores, defective = both
    thresholds, _ = choose_thresholds(scores, defective)
    assert thresholds.rule == "f1"
    assert thresholds.low == thresholds.high
    best = max(f1_score(defective, scores >= cut, zero_division=0) for cut in every_cut(scores))
    assert f1_score(defective, scores >= thresholds.low) == pytest.approx(best, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([0.02, 0.3, 1.0, 3.0, 50.0, 1e6]))
def test_cost_ratio_has_the_least_cost(pairs, ratio):
    assume(both := both_kinds(pairs))
    scores, defective = both
    thresholds, _ = choose_thresholds(scores, defective, cost_ratio=ratio)

    def cost(cut):
        return ratio * np.sum(defective & (scores < cut)) + np.sum(~defective & (scores >= cut))

    assert thresholds.rule == f"cost_ratio={ratio:g}"
    assert thresholds.low == thresholds.high
    assert cost(thresholds.low) == pytest.approx(min(map(cost, every_cut(scores))), rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([0.0, 0.005, 0.1, 0.29, 1 / 3, 0.5, 0.99]))
def test_max_escape_rate_has_the_largest_low_threshold_that_keeps_it(pairs, rate):
    assume(both := both_kinds(pairs))
    scores, defective = both
    thresholds, _ = choose_thresholds(scores, defective, max_escape_rate=rate)
    allowed = rate * np.sum(defective) + 1e-9

    def escapes(cut):
        return np.sum(defective & (scores < cut))

    assert escapes(thresholds.low) <= allowed
    larger = [
        cut for cut in every_cut(scores) if np.any((scores >= thresholds.low) & (scores < cut))
    ]
    assert all(escapes(cut) > allowed for cut in larger)
    best_f1 = choose_thresholds(scores, defective)[0].low
    assert thresholds.high == max(thresholds.low, best_f1)


def test_the_allowed_escapes_are_counted_without_rounding_errors():
    assert 0.29 * 100 < 29  # the trap
    defective = np.arange(101) > 0
    thresholds, _ = choose_thresholds(np.arange(101) / 101, defective, max_escape_rate=0.29)
    assert thresholds.low == pytest.approx(29.5 / 101)


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([{}, {"max_escape_rate": 0.1}, {"cost_ratio": 5.0}]))
def test_thresholds_lie_halfway_between_neighboring_scores(pairs, options):
    assume(both := both_kinds(pairs))
    thresholds, _ = choose_thresholds(*both, **options)
    scores = both[0]
    for threshold in (thresholds.low, thresholds.high):
        below, above = scores[scores < threshold], scores[scores >= threshold]
        lower, upper = max(below, default=0.0), min(above, default=1.0)
        middle = (lower + upper) / 2
        assert threshold == (middle if middle > lower else upper)


@settings(max_examples=100, deadline=None)
@given(SCORED, st.randoms())
def test_the_order_of_the_images_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert choose_thresholds(*split(pairs)) == choose_thresholds(*split(shuffled))


def test_separated_scores_are_parted_in_the_middle():
    for options in ({}, {"max_escape_rate": 0.0}, {"cost_ratio": 50.0}):
        thresholds, _ = choose_thresholds(*separated(30, 30), **options)
        assert thresholds.low == thresholds.high == pytest.approx(0.5)


def test_scores_at_both_ends_are_parted_in_the_middle_too():
    for options in ({}, {"max_escape_rate": 0.0}, {"cost_ratio": 50.0}):
        thresholds, _ = choose_thresholds([0.0, 0.0, 1.0], [False, False, True], **options)
        assert thresholds.low == thresholds.high == 0.5


def test_enough_images_that_part_well_give_no_warning():
    assert choose_thresholds(*separated(10, 10))[1] == []
    assert choose_thresholds(*separated(10, 736), max_escape_rate=0.005)[1] == []


def test_an_escape_rate_that_the_images_cannot_show_is_warned_of():
    _, warnings = choose_thresholds(*separated(10, 57), max_escape_rate=0.005)
    assert warnings == [
        "57 defective images cannot support an escape rate of 0.5 %: if none escaped, up to 6.3 % "
        "would still be possible (95 % CI). At least 736 are needed."
    ]
    assert len(choose_thresholds(*separated(10, 735), max_escape_rate=0.005)[1]) == 1
    _, warnings = choose_thresholds(*separated(10, 5000), max_escape_rate=0.0)
    assert "No number of images can." in warnings[0]


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.01, 0.05, 0.3])
def test_the_number_of_images_needed_is_the_least(rate):
    text = escape_rate_warning(0, 1, rate)
    needed = int(text.split("At least ")[1].split()[0])
    assert binomtest(0, needed).proportion_ci(0.95, "exact").high <= rate
    assert binomtest(0, needed - 1).proportion_ci(0.95, "exact").high > rate


def test_a_result_that_does_not_support_the_escape_rate_is_doubted():
    assert escape_rate_warning(0, 736, 0.005) is None
    assert escape_rate_warning(1, 736, 0.005) == (
        "an escape rate of 0.5 % is not supported by this result: escapes 1 of 736 (0.1 %, 95 % CI "
        "0.0-0.8 %)."
    )
    doubt = escape_rate_warning(9, 57, 0.005)
    assert "is not supported by this result: escapes 9 of 57 (15.8 %" in doubt
    assert "At least 736 are needed." in doubt
    assert "escapes 0 of 0 (no rate)" in escape_rate_warning(0, 0, 0.005)


def test_few_images_and_useless_scores_are_warned_of():
    _, warnings = choose_thresholds(*separated(30, 9))
    assert len(warnings) == 1
    assert "rest on 9 defective and 30 good validation images" in warnings[0]
    _, warnings = choose_thresholds(np.full(40, 0.5), np.arange(40) < 20)
    assert len(warnings) == 1
    assert "none of the 20 good validation images would be called good" in warnings[0]


@pytest.mark.check(33)
def test_validation_without_defective_images_calls_them_all_good():
    scores = np.linspace(0.1, 0.6, 50)
    for options in ({}, {"max_escape_rate": 0.01}, {"cost_ratio": 50.0}):
        thresholds, warnings = choose_thresholds(scores, np.zeros(50, bool), **options)
        assert thresholds.rule == "above_good"
        assert 0.6 < thresholds.low == thresholds.high < 0.61
        assert "no defective images (50 in all)" in warnings[0]


@pytest.mark.check(33)
def test_validation_without_good_images_stays_just_below_the_defective_ones():
    scores = np.linspace(0.4, 0.9, 50)
    thresholds, warnings = choose_thresholds(scores, np.ones(50, bool), cost_ratio=50.0)
    assert thresholds.rule == "below_defective"
    assert 0.39 < thresholds.low == thresholds.high < 0.4
    assert "no good images (50 in all)" in warnings[0]


@pytest.mark.check(33)
@pytest.mark.parametrize(
    ("scores", "defective"),
    [
        ([], False),
        ([0.0], True),
        ([0.0, 0.0], True),
        ([0.0, 1.0], True),
        ([0.0], False),
        ([1.0], False),
    ],
)
def test_one_sided_validation_never_calls_everything_defective(scores, defective):
    thresholds, warnings = choose_thresholds(scores, [defective] * len(scores))
    assert verdict(0.0, thresholds) == "good"
    assert verdict(1.0, thresholds) == "defective"
    assert len(warnings) == 1


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
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        choose_thresholds(*separated(3, 3), **options)


@pytest.mark.check(60)
@pytest.mark.parametrize("given", [(0.1, None), (None, 2.0), (0.1, 2.0)])
def test_only_one_rule_can_be_asked_for(given):
    with pytest.raises(ConfigError, match=r" and --best-f1 exclude each other\. Give one of them"):
        check_options(*given, best_f1=True)
    check_options(None, None, best_f1=True)


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1, 1.1], [-0.1, 0.2], [0.1], [[0.1, 0.2]]])
def test_senseless_scores_are_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        choose_thresholds(scores, [True, False])
