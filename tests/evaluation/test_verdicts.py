import numpy as np
import pytest

from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge, list_regions, outcome, verdict


def test_a_score_on_a_threshold_is_on_its_upper_side():
    thresholds = Thresholds(low=0.3, high=0.6, rule="f1")
    verdicts = [verdict(score, thresholds) for score in (0.0, 0.2999, 0.3, 0.5999, 0.6, 1.0)]
    assert verdicts == ["good", "good", "review", "review", "defective", "defective"]


def test_a_single_threshold_leaves_nothing_to_review():
    thresholds = Thresholds(low=0.5, high=0.5, rule="f1")
    assert [verdict(score, thresholds) for score in (0.4999, 0.5)] == ["good", "defective"]


def test_outcomes():
    table = {(v, d): outcome(v, d) for v in ("good", "review", "defective") for d in (True, False)}
    assert table == {
        ("good", True): "escape",
        ("good", False): "pass",
        ("review", True): "review",
        ("review", False): "review",
        ("defective", True): "hit",
        ("defective", False): "overkill",
    }


@pytest.mark.parametrize(
    ("cut", "all_regions", "listed"),
    [(0.5, False, True), (0.9, False, False), (0.9, True, True), (0.5, True, True)],
)
def test_regions_are_listed_where_the_verdict_is_not_good(cut, all_regions, listed):
    scores = np.zeros((1, 20, 20), np.float32)
    scores[0, 5:12, 5:12] = 0.75
    finding = make_finding(scores, ("1",), tuning=Tuning())
    for low in (cut, 0.0):  # below the high threshold it is for review
        thresholds = Thresholds(low=low, high=cut, rule="f1")
        shown = list_regions(finding, judge(finding.score, thresholds), all_regions=all_regions)
        expected = listed or low == 0.0
        assert (len(shown.regions), shown.mask.any()) == (int(expected), expected)
        assert shown.score == finding.score
        np.testing.assert_array_equal(shown.score_map, finding.score_map)
