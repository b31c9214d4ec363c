import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapie.risk_control import BinaryClassificationController
from scipy.special import expit, logit
from scipy.stats import binom, norm

from defectkit.approaches.image_mix import MAX_LOGIT
from defectkit.evaluation.operating_points import (
    choose_thresholds,
    lowest_of_groups,
    rate_warning,
)
from defectkit.evaluation.threshold_rule import ThresholdRule
from defectkit.evaluation.verdicts import verdict

ROUND_SCORES = st.integers(0, 20).map(lambda n: n / 20)  # many ties, and both ends
COSTLY = ThresholdRule(cost_ratio=50.0)
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


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.99]), st.sampled_from([0.5, 0.8, 0.95]))
def test_the_low_threshold_is_the_largest_that_shows_the_escape_rate(pairs, rate, confidence):
    assume(both := both_kinds(pairs))
    scores, defective = both
    rule = ThresholdRule(max_escape_rate=rate, confidence=confidence)
    thresholds, warnings = choose_thresholds(scores, defective, rule)
    n = int(np.sum(defective))
    promised = binom.cdf(0, n, rate) <= 1 - confidence + 1e-12
    shown = [k for k in range(n) if binom.cdf(k, n, rate) <= 1 - confidence + 1e-12]
    allowed = max(shown, default=0)

    def escapes(cut):
        return np.sum(defective & (scores < cut))

    assert escapes(thresholds.low) <= allowed
    larger = [
        cut for cut in every_cut(scores) if np.any((scores >= thresholds.low) & (scores < cut))
    ]
    assert all(escapes(cut) > allowed for cut in larger)
    best_f1 = choose_thresholds(scores, defective)[0].low
    assert thresholds.high == max(thresholds.low, best_f1)
    assert thresholds.rule == rule.describe(shown=promised)
    assert any("is not promised" in warning for warning in warnings) != promised


def test_images_of_one_group_count_once():
    scores = np.array([0.1, 0.2, 0.3] + [0.35] * 9 + [0.5 + 0.01 * i for i in range(20)])
    defective = np.arange(len(scores)) >= 3
    groups = ["good"] * 3 + ["one tile"] * 9 + [f"tile {i}" for i in range(20)]
    rule = ThresholdRule(max_escape_rate=0.22)  # shown by 1 of 21, and by 2 of 29
    low = choose_thresholds(scores, defective, rule, groups=groups)[0].low
    assert 0.35 < low < 0.5
    assert choose_thresholds(scores, defective, rule)[0].low < 0.35
    numbers = {"a": 0.3, "b": 0.2}
    found = lowest_of_groups(np.array([0.3, 0.5, 0.2]), ["a", "a", "b"])
    assert found.tolist() == sorted(numbers.values())


def test_what_mapie_controls_is_promised():
    random = np.random.default_rng(0)
    defective = np.arange(300) < 150
    scores = np.clip(random.normal(np.where(defective, 0.7, 0.3), 0.15), 0, 1)
    cuts = np.linspace(0, 1, 101)
    controller = BinaryClassificationController(
        lambda given: np.column_stack([1 - given[:, 0], given[:, 0]]),
        risk="recall",
        target_level=0.9,
        confidence_level=0.95,
        list_predict_params=cuts,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(scores[:, None], defective.astype(int))
    controlled = max(controller.valid_predict_params)
    low = choose_thresholds(scores, defective, ThresholdRule(max_escape_rate=0.1))[0].low
    # Its bound (Hoeffding and Bentkus) is not exact, and its thresholds are 0.01 apart.
    assert controlled <= low + 1e-9
    assert low - controlled < 0.05


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_the_promise_is_kept_in_so_many_lots_as_it_says(rate):
    random = np.random.default_rng(1)
    n, kept = 100, 0
    for _ in range(500):
        scores = np.concatenate([random.random(n), random.random(20) * 0.1])
        low = choose_thresholds(scores, np.arange(n + 20) < n, ThresholdRule(max_escape_rate=rate))[
            0
        ].low
        kept += low <= rate  # Of uniform scores, so large is the share below it.
    assert kept / 500 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize("review", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("prevalence", [None, 0.5])
def test_no_more_images_are_reviewed_than_asked(review, prevalence):
    random = np.random.default_rng(2)
    defective = np.arange(1000) < 100
    scores = np.clip(random.normal(np.where(defective, 0.7, 0.3), 0.15), 0, 0.99)
    rule = ThresholdRule(max_escape_rate=0.1, max_review_rate=review, prevalence=prevalence)
    thresholds, _ = choose_thresholds(scores, defective, rule)
    between = (scores >= thresholds.low) & (scores < thresholds.high)
    share = np.mean(between)
    if prevalence:
        share = (np.mean(between[defective]) + np.mean(between[~defective])) / 2
    assert share <= review + 1e-9
    assert share > review - 0.02 or review == 1.0
    if review == 1.0:
        assert thresholds.high > scores.max()


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_both_rates_are_kept_in_so_many_lots_as_promised(rate):
    random = np.random.default_rng(4)
    n, escapes_kept, overkills_kept = 100, 0, 0
    rule = ThresholdRule(max_escape_rate=rate, max_overkill_rate=rate)
    for _ in range(400):
        scores = np.concatenate([0.2 + 0.8 * random.random(n), 0.8 * random.random(n)])
        thresholds, warnings = choose_thresholds(scores, np.arange(2 * n) < n, rule)
        assert not warnings
        assert thresholds.low <= thresholds.high
        escapes_kept += (thresholds.low - 0.2) / 0.8 <= rate
        overkills_kept += 1 - thresholds.high / 0.8 <= rate
    for kept in (escapes_kept, overkills_kept):
        assert kept / 400 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)
        assert kept < 400  # It is no more careful than it need be.


def test_groups_of_good_images_count_once_and_too_few_promise_no_overkill_rate():
    scores = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.6])
    groups = ["a", "b", "c", "c", "d", "d"]
    rule = ThresholdRule(max_escape_rate=0.5, max_overkill_rate=0.3, confidence=0.6)
    thresholds, warnings = choose_thresholds(scores, np.arange(6) < 2, rule, groups=groups)
    assert 0.6 < thresholds.high < 0.8  # none may be an overkill
    assert thresholds.rule.endswith("max_overkill_rate=0.3, not shown")
    assert (
        "2 groups with good images support no overkill rate below 36.8 % with a confidence of "
        "60 %: 30 % is not promised. At least 3 are needed."
    ) in warnings


def test_where_a_good_image_has_a_score_of_1_no_threshold_is_above_it():
    scores = np.array([0.9, 0.8, 0.1, 1.0])
    rule = ThresholdRule(max_escape_rate=0.9, max_overkill_rate=0.3)
    thresholds, _ = choose_thresholds(scores, np.arange(4) < 2, rule)
    assert 0.9 < thresholds.high <= 1.0


def test_the_prevalence_at_the_line_moves_the_threshold():
    random = np.random.default_rng(3)
    defective = np.arange(2000) < 1000
    scores = np.clip(random.normal(np.where(defective, 0.6, 0.4), 0.15), 0, 1)
    rare = ThresholdRule(cost_ratio=10.0, prevalence=0.01)
    even = ThresholdRule(cost_ratio=10.0)
    low = choose_thresholds(scores, defective, rare)[0].low
    assert low > choose_thresholds(scores, defective, even)[0].low

    def cost(cut):
        escapes, overkills = np.mean(scores[defective] < cut), np.mean(scores[~defective] >= cut)
        return 10 * 0.01 * escapes + 0.99 * overkills

    assert cost(low) < 1.05 * min(map(cost, every_cut(scores)))
    best = choose_thresholds(scores, defective, ThresholdRule(prevalence=0.01))[0].low

    def f1(cut):
        hits, overkills = 0.01 * norm.sf(cut, 0.6, 0.15), 0.99 * norm.sf(cut, 0.4, 0.15)
        return 2 * hits / (hits + overkills + 0.01)

    assert f1(best) > 0.95 * f1(np.linspace(0, 1, 1001)).max()


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([{}, {"max_escape_rate": 0.7}, {"cost_ratio": 5.0}]))
def test_thresholds_lie_halfway_between_neighboring_scores(pairs, options):
    assume(both := both_kinds(pairs))
    thresholds, _ = choose_thresholds(*both, ThresholdRule(**options))
    scores = both[0]
    for threshold in (thresholds.low, thresholds.high):
        below, above = scores[scores < threshold], scores[scores >= threshold]
        lower, upper = max(below, default=0.0), min(above, default=1.0)
        middle = expit(np.clip(logit([lower, upper]), -MAX_LOGIT, MAX_LOGIT).mean())
        assert threshold == pytest.approx(middle if lower < middle <= upper else upper, abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(SCORED, st.randoms())
def test_the_order_of_the_images_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert choose_thresholds(*split(pairs)) == choose_thresholds(*split(shuffled))


def test_separated_scores_are_parted_in_the_middle():
    for options in ({}, {"max_escape_rate": 0.0}, {"cost_ratio": 1.0}):
        thresholds, _ = choose_thresholds(*separated(30, 30), ThresholdRule(**options))
        assert thresholds.low == thresholds.high == pytest.approx(0.5)
    # Where escapes cost much, more room is left for the next defective images.
    assert choose_thresholds(*separated(30, 30), COSTLY)[0].low < 0.4


def test_scores_at_both_ends_are_parted_in_the_middle_too():
    for options in ({}, {"max_escape_rate": 0.0}, {"cost_ratio": 50.0}):
        thresholds, _ = choose_thresholds(
            [0.0, 0.0, 1.0], [False, False, True], ThresholdRule(**options)
        )
        assert thresholds.low == thresholds.high == 0.5


def test_enough_images_that_part_well_give_no_warning():
    assert choose_thresholds(*separated(10, 10))[1] == []
    rule = ThresholdRule(max_escape_rate=0.005)
    assert choose_thresholds(*separated(10, 598), rule)[1] == []


def test_an_escape_rate_that_the_images_cannot_show_is_warned_of():
    rule = ThresholdRule(max_escape_rate=0.005)
    thresholds, warnings = choose_thresholds(*separated(10, 57), rule)
    assert thresholds.rule == "max_escape_rate=0.005, confidence=0.95, not shown"
    assert warnings == [
        "57 defective images support no escape rate below 5.12 % with a confidence of 95 %: 0.5 % "
        "is not promised. At least 598 are needed."
    ]
    scores, defective = separated(10, 57)
    groups = [f"{number // 8}" for number in range(67)]
    _, warnings = choose_thresholds(scores, defective, rule, groups=groups)
    assert "8 groups with defective images support no escape rate below 31.2 %" in warnings[-1]
    assert len(choose_thresholds(*separated(10, 597), rule)[1]) == 1
    _, warnings = choose_thresholds(*separated(10, 5000), ThresholdRule(max_escape_rate=0.0))
    assert "No number of images can show it." in warnings[0]


def test_a_result_that_does_not_show_the_escape_rate_is_doubted():
    assert rate_warning(0, 598, 0.005, "escape", 0.95) is None
    assert rate_warning(1, 598, 0.005, "escape", 0.95) == (
        "an escape rate of 0.5 % is not shown by this result: groups with an escape 1 of 598 "
        "(0.2 %, 95 % CI 0.0-0.9 %)."
    )
    doubt = rate_warning(9, 57, 0.005, "escape", 0.95)
    assert "is not shown by this result: groups with an escape 9 of 57 (15.8 %" in doubt
    assert "At least 598 are needed." in doubt
    assert "groups with an escape 0 of 0 (no rate)" in rate_warning(0, 0, 0.005, "escape", 0.95)
    doubt = rate_warning(2, 3, 0.5, "overkill", 0.95)
    assert "an overkill rate of 50 % is not shown by this result: groups with an overkill" in doubt
    assert "3 groups with good images support no overkill rate below 63.2 %" in doubt


def test_few_images_and_useless_scores_are_warned_of():
    _, warnings = choose_thresholds(*separated(30, 9))
    assert len(warnings) == 1
    assert "rest on 9 defective and 30 good validation images" in warnings[0]
    assert "train with --folds 5" in warnings[0]
    _, warnings = choose_thresholds(np.full(40, 0.5), np.arange(40) < 20)
    assert len(warnings) == 1
    assert "none of the 20 good validation images would be called good" in warnings[0]


@pytest.mark.check(33)
def test_validation_without_defective_images_calls_them_all_good():
    scores = np.linspace(0.1, 0.6, 50)
    for options in ({}, {"max_escape_rate": 0.01}, {"cost_ratio": 50.0}):
        thresholds, warnings = choose_thresholds(
            scores, np.zeros(50, bool), ThresholdRule(**options)
        )
        assert thresholds.rule == "above_good"
        assert 0.6 < thresholds.low == thresholds.high < 0.61
        assert "no defective images (50 in all)" in warnings[0]


@pytest.mark.check(33)
def test_validation_without_good_images_stays_just_below_the_defective_ones():
    scores = np.linspace(0.4, 0.9, 50)
    thresholds, warnings = choose_thresholds(
        scores, np.ones(50, bool), ThresholdRule(cost_ratio=50.0)
    )
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


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1, 1.1], [-0.1, 0.2], [0.1], [[0.1, 0.2]]])
def test_senseless_scores_are_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        choose_thresholds(scores, [True, False])
