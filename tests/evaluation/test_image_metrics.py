import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from defectkit.evaluation.image_metrics import (
    calibration_error,
    escape_and_overkill_rates,
    image_metrics,
)
from defectkit.evaluation.rates import clopper_pearson
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import outcome, verdict

ROUND_SCORES = st.integers(0, 20).map(lambda n: n / 20)  # many ties, and both ends
SCORED = st.lists(st.tuples(ROUND_SCORES | st.floats(0, 1), st.booleans()), min_size=2, max_size=40)


def split(pairs):
    scores, defective = zip(*pairs, strict=True)
    return np.array(scores), np.array(defective)


def test_image_metrics_of_a_known_case():
    scores = [0.1, 0.4, 0.9, 0.2, 0.5, 0.7, 0.8]
    defective = [False, False, False, True, True, True, True]
    result = image_metrics(scores, defective, Thresholds(low=0.3, high=0.6, rule="f1"))
    assert list(result) == [
        *("average_precision", "auroc", "threshold_low", "threshold_high"),
        *("escapes", "overkills", "reviews", "n_defective", "n_good"),
        *("escape_rate", "overkill_rate", "calibration_error"),
    ]
    assert (result["escapes"], result["overkills"], result["reviews"]) == (1, 1, 2)
    assert (result["n_defective"], result["n_good"]) == (4, 3)
    assert (result["threshold_low"], result["threshold_high"]) == (0.3, 0.6)
    assert result["escape_rate"] == clopper_pearson(1, 4)
    assert result["overkill_rate"] == clopper_pearson(1, 3)
    assert result["auroc"] == 7 / 12
    json.dumps(result, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(SCORED, ROUND_SCORES, ROUND_SCORES)
def test_image_metrics_count_the_outcomes(pairs, one, other):
    thresholds = Thresholds(low=min(one, other), high=max(one, other), rule="f1")
    result = image_metrics(*split(pairs), thresholds)
    outcomes = [outcome(verdict(score, thresholds), defective) for score, defective in pairs]
    for name in ("escape", "overkill", "review"):
        assert result[name + "s"] == outcomes.count(name)


@pytest.mark.check(17)
def test_one_defect_in_1000_images_comes_with_its_uncertainty():
    scores = np.linspace(0, 1, 1000)
    result = image_metrics(scores, scores == 1.0, Thresholds(low=0.999, high=0.999, rule="f1"))
    assert (result["escapes"], result["n_defective"], result["average_precision"]) == (0, 1, 1.0)
    assert result["escape_rate"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.975)}


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1, 1.1], [-0.1, 0.2], [0.1], [[0.1, 0.2]]])
def test_senseless_scores_are_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        image_metrics(scores, [True, False], Thresholds(low=0.5, high=0.5, rule="f1"))


SCORES_AND_TRUTH = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0]), st.booleans()),
    min_size=1,
    max_size=30,
)


@given(cases=SCORES_AND_TRUTH)
def test_rates_by_threshold_agree_with_the_metrics(cases):
    scores, truth = (np.array(column) for column in zip(*cases, strict=True))
    for cut, escapes, overkills in zip(*escape_and_overkill_rates(scores, truth), strict=True):
        if cut > 1:
            assert np.isnan(escapes) or escapes == 1
            assert np.isnan(overkills) or overkills == 0
            continue
        result = image_metrics(scores, truth, Thresholds(low=cut, high=cut, rule="default"))
        for ours, theirs in ((escapes, "escape_rate"), (overkills, "overkill_rate")):
            value = result[theirs]["value"]
            assert np.isnan(ours) if value is None else ours == pytest.approx(value, abs=1e-12)


def test_the_calibration_error_is_that_of_groups_of_equally_many_images():
    random = np.random.default_rng(0)
    scores = random.random(20_000)
    truth = random.random(20_000) < scores
    assert calibration_error(scores, truth) < 0.01
    assert calibration_error(scores**2, truth) == pytest.approx(1 / 6, abs=0.01)
    shared, rate = calibration_curve(truth, scores**2, n_bins=10, strategy="quantile")
    assert calibration_error(scores**2, truth) == pytest.approx(np.mean(np.abs(shared - rate)))
    assert calibration_error(np.array([0.25]), np.array([True])) == 0.75
    assert calibration_error(np.array([]), np.array([], bool)) is None
