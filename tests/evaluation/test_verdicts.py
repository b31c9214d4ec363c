from defectkit.evaluation.operating_points import Thresholds
from defectkit.evaluation.verdicts import outcome, verdict


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
