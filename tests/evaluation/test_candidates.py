import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import gaussian_kde, norm

from defectkit.approaches.image_mix import MAX_LOGIT
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.threshold_rule import ThresholdRule

COSTLY = ThresholdRule(cost_ratio=50.0)


def both_kinds(pairs):
    scores, defective = zip(*pairs, strict=True)
    return (np.array(scores), np.array(defective)) if len(set(defective)) == 2 else None


def expected_errors(scores, defective, cut):
    """Return how many escapes and overkills SciPy's kernel estimate expects at a threshold."""
    cut, logits = (np.clip(logit(each), -MAX_LOGIT, MAX_LOGIT) for each in (cut, scores))
    below = []
    for kind in (logits[defective], logits[~defective]):
        deviation, quartiles = np.std(kind), np.subtract(*np.quantile(kind, (0.75, 0.25))) / 1.34
        width = 0.9 * (min(deviation, quartiles) or deviation) * len(kind) ** -0.2
        if width < 1e-6:
            below.append(np.sum(kind < cut))
            continue
        estimate = gaussian_kde(kind, bw_method=width / np.std(kind, ddof=1))
        below.append(len(kind) * estimate.integrate_box_1d(-np.inf, cut))
    return below[0], np.sum(~defective) - below[1]


def halfway(scores):
    """Return the thresholds halfway between neighboring scores."""
    ends = np.unique([*scores, 0.0, 1.0])
    logits = np.clip(logit(ends), -MAX_LOGIT, MAX_LOGIT)
    return expit((logits[1:] + logits[:-1]) / 2)


SPREAD = st.lists(
    st.tuples(st.floats(0.01, 0.99).map(lambda score: round(score, 3)), st.booleans()),
    min_size=2,
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(SPREAD)
def test_the_default_has_the_best_f1_that_is_to_be_expected(pairs):
    assume(both := both_kinds(pairs))
    scores, defective = both

    def f1(cut):
        escapes, overkills = expected_errors(scores, defective, cut)
        hits = np.sum(defective) - escapes
        return 2 * hits / (2 * hits + escapes + overkills)

    thresholds, _ = choose_thresholds(scores, defective)
    assert thresholds.rule == "f1"
    assert thresholds.low == thresholds.high
    assert f1(thresholds.low) == pytest.approx(max(map(f1, halfway(scores))), rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(SPREAD, st.sampled_from([0.02, 0.3, 1.0, 3.0, 50.0, 1e6]))
def test_cost_ratio_has_the_least_cost_that_is_to_be_expected(pairs, ratio):
    assume(both := both_kinds(pairs))
    scores, defective = both

    def cost(cut):
        escapes, overkills = expected_errors(scores, defective, cut)
        return ratio * escapes + overkills

    thresholds, _ = choose_thresholds(scores, defective, ThresholdRule(cost_ratio=ratio))
    assert thresholds.rule == f"cost_ratio={ratio:g}"
    assert thresholds.low == thresholds.high
    least = min(map(cost, halfway(scores)))
    assert cost(thresholds.low) == pytest.approx(least, rel=1e-6, abs=1e-6 * max(ratio, 1.0))


def test_few_images_choose_well_for_the_next_ones():
    costs, f1s, distance = [], [], 3.0
    cuts = np.linspace(-4, 7, 1101)

    def cost(cut):
        return 50 * 0.2 * norm.cdf(cut - distance) + 0.8 * norm.sf(cut)

    def f1(cut):
        hits = 0.2 * norm.sf(cut - distance)
        return 2 * hits / (hits + 0.8 * norm.sf(cut) + 0.2)

    defective = np.arange(100) < 20
    for seed in range(100):
        scores = expit(np.random.default_rng(seed).normal(distance * defective))
        costs.append(cost(logit(choose_thresholds(scores, defective, COSTLY)[0].low)))
        f1s.append(f1(logit(choose_thresholds(scores, defective)[0].low)))
    # The best threshold for the lot itself costs 1.95 of the least, and has 0.983 of the best F1.
    assert np.mean(costs) < 1.4 * cost(cuts).min()
    assert np.mean(f1s) > 0.988 * f1(cuts).max()


def test_many_images_are_smoothed_by_their_quantiles():
    defective = np.arange(25_000) < 5_000
    scores = expit(np.random.default_rng(6).normal(3.0 * defective))
    chosen = logit(choose_thresholds(scores, defective)[0].low)
    cuts = np.linspace(1, 3, 401)
    errors = 0.2 * norm.cdf(cuts - 3) + 0.8 * norm.sf(cuts)
    hits = 0.2 * norm.sf(cuts - 3)
    assert chosen == pytest.approx(cuts[np.argmax(hits / (2 * hits + errors))], abs=0.1)
