import numpy as np
import pytest

from defectkit.evaluation.rates import clopper_pearson
from defectkit.evaluation.reliability import reliability_bins


def test_bins_have_equally_many_images_and_the_exact_interval():
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    defective = rng.random(200) < scores
    bins = reliability_bins(scores, defective, range(200))
    assert [one["total"] for one in bins] == [20] * 10
    assert sum(one["count"] for one in bins) == defective.sum()
    order = np.argsort(scores)
    assert [one["score"] for one in bins] == pytest.approx(scores[order].reshape(10, 20).mean(1))
    for one in bins:
        expected = clopper_pearson(one["count"], one["total"])
        assert {name: one[name] for name in expected} == pytest.approx(expected)


def test_images_of_one_group_count_as_one():
    scores, defective = np.repeat(np.arange(10) / 10, 12), np.repeat(np.arange(10) % 2 == 1, 12)
    for images_per_group in (1, 3, 12):
        groups = (np.arange(120) // images_per_group).tolist()
        for number, one in enumerate(reliability_bins(scores, defective, groups)):
            trials = 12 // images_per_group
            expected = clopper_pearson(trials if number % 2 else 0, trials)
            assert one["total"] == 12
            assert {name: one[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_images_are_bins_of_their_own(n):
    assert len(reliability_bins(np.full(n, 0.5), np.zeros(n, bool), range(n))) == n
