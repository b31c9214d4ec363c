import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.metrics import average_precision_score, roc_auc_score

from defectkit.evaluation.ranking import auroc, average_precision


@pytest.fixture(autouse=True)
def fast_sklearn():
    """Its checks of its arguments would take most of the time of 1,000 cases."""
    with config_context(assume_finite=True, skip_parameter_validation=True):
        yield


@pytest.mark.check(8)
def test_rankings_agree_with_sklearn_on_1000_random_cases(tally):
    rng = np.random.default_rng(0)
    for _ in range(tally.number(short=1000, full=1000)):
        tally.tried += 1
        count = int(rng.integers(2, 60))
        truth = rng.random(count) < rng.random()
        truth[:2] = True, False
        scores = rng.random(count).round(int(rng.integers(1, 4)))  # one decimal: many ties
        precision, area = average_precision(truth, scores), auroc(truth, scores)
        assert precision == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
        assert area == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        assert 0.0 <= precision <= 1.0
        assert 0.0 <= area <= 1.0


@pytest.mark.check(29)
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30), st.randoms())
def test_rankings_do_not_depend_on_the_order(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for metric in (average_precision, auroc):
        assert metric(*zip(*pairs, strict=True)) == metric(*zip(*shuffled, strict=True))


@pytest.mark.parametrize(
    ("truth", "scores", "precision", "area"),
    [
        ([0, 0, 1], [0.1, 0.2, 0.9], 1.0, 1.0),
        ([1, 0, 0], [0.1, 0.2, 0.9], 1 / 3, 0.0),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 0.5, 0.5),
        ([1, 1], [0.1, 0.2], None, None),
        ([0, 0], [0.1, 0.2], None, None),
        ([], [], None, None),
    ],
)
def test_rankings_of_known_cases(truth, scores, precision, area):
    got = average_precision(truth, scores)
    assert got == (None if precision is None else pytest.approx(precision, abs=1e-15))
    assert auroc(truth, scores) == area


@pytest.mark.check(17)
def test_one_defect_in_1000_images_is_as_good_as_its_rank():
    truth = np.zeros(1000, bool)
    truth[500] = True
    scores = np.linspace(1, 0, 1000)
    assert average_precision(truth, scores) == 1 / 501
    assert average_precision(truth, np.full(1000, 0.5)) == 1 / 1000


@pytest.mark.check(32)
def test_shuffled_scores_are_worth_the_share_of_defective_images():
    rng = np.random.default_rng(1)
    truth = np.arange(20000) % 5 == 0
    assert average_precision(truth, rng.random(20000)) == pytest.approx(0.2, abs=0.02)
    assert auroc(truth, rng.random(20000)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("metric", [average_precision, auroc])
def test_rankings_refuse_what_has_no_order(metric):
    with pytest.raises(ValueError, match="scores must be finite"):
        metric([True, False], [0.5, math.nan])
    with pytest.raises(ValueError, match=r"defective \(2,\) and scores \(3,\) must both be"):
        metric([True, False], [0.1, 0.2, 0.3])
