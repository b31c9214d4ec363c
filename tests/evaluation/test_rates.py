import pytest
from scipy.stats import binomtest

from defectkit.evaluation.rates import clopper_pearson, counted_rate, describe_rate


@pytest.mark.check(32)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_clopper_pearson_agrees_with_scipys_exact_test(confidence):
    for trials in (1, 2, 7, 57, 1000):
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            interval = clopper_pearson(successes, trials, confidence)
            expected = binomtest(successes, trials).proportion_ci(confidence, "exact")
            assert interval["value"] == successes / trials
            assert interval["low"] == pytest.approx(expected.low, abs=1e-9)
            assert interval["high"] == pytest.approx(expected.high, abs=1e-9)


def test_clopper_pearson_without_trials_knows_nothing():
    assert clopper_pearson(0, 0) == {"value": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (0, -1), (1, 2, 1.0), (1, 2, 0.0)])
def test_clopper_pearson_refuses_the_impossible(arguments):
    with pytest.raises(ValueError, match="must be in"):
        clopper_pearson(*arguments)


def test_a_counted_rate_has_its_counts():
    assert counted_rate(2, 57) == {"count": 2, "total": 57, **clopper_pearson(2, 57)}


def test_a_rate_is_described_with_counts_and_interval():
    assert describe_rate("escapes", 2, 57) == "escapes 2 of 57 (3.5 %, 95 % CI 0.4-12.1 %)"
    assert describe_rate("overkills", 0, 0) == "overkills 0 of 0 (no rate)"
