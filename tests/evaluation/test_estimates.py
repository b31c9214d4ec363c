"""What is called significant must be rare by chance, however many differences are tested."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.evaluation.estimates import estimate_metric, holm, two_sided_p

P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12)


def estimate(values, resampled, **changes):
    options = {"sign": 1, "fraction": True, "groups": 40} | changes
    return estimate_metric(values, [np.asarray(one, float) for one in resampled], **options)


def test_holm_corrects_a_known_example():
    # Worked by hand: 0.005 x 4; 0.01 x 3; 0.03 x 2; 0.04 x 1, but no smaller than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_rejects_what_its_steps_reject(p_values, level):
    """The procedure as Holm words it: from the smallest on, until one is above level / (m - i)."""
    expected = [False] * len(p_values)
    for step, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] * (len(p_values) - step) > level:
            break
        expected[place] = True
    assert [value <= level for value in holm(p_values)] == expected


def test_the_p_value_counts_the_rarer_side_twice_and_one_more():
    assert two_sided_p(np.array([-1.0] * 97 + [1.0] * 2)) == 2 * 3 / 100
    assert two_sided_p(np.array([1.0] * 99 + [np.nan])) == 2 / 100
    assert two_sided_p(np.zeros(99)) == 1.0
    assert two_sided_p(np.full(9, np.nan)) is None


def test_p_values_of_chance_are_uniform():
    rng = np.random.default_rng(0)
    means = rng.standard_normal((1000, 1)) / 6
    values = [two_sided_p(row) for row in means + rng.standard_normal((1000, 400)) / 6]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.04)


@pytest.mark.parametrize(
    ("resampled", "changes", "interval"),
    [
        ([1.0] * 50, {"groups": 7}, (pytest.approx(0.590, abs=1e-3), 1.0)),
        ([0.0] * 50, {"groups": 7}, (0.0, pytest.approx(0.410, abs=1e-3))),
        ([0.5] * 50, {}, None),
        ([0.0] * 50, {"fraction": False}, None),
        ([np.nan] * 50, {}, None),
    ],
)
def test_a_metric_without_spread_is_not_called_certain(resampled, changes, interval):
    (one,) = estimate([0.5], [resampled], **changes)
    assert one.interval == interval


@pytest.mark.parametrize(("groups", "significant"), [(5, False), (6, True)])
def test_few_groups_show_no_significant_difference(groups, significant):
    _, worse = estimate([0.9, 0.5], [[0.9] * 999, [0.5] * 999], groups=groups)
    assert worse.to_best.significant == significant


def test_the_lower_value_of_a_count_is_the_better():
    worse, best = estimate([3.0, 1.0], [[3.0, 4.0], [1.0, 1.5]], sign=-1, fraction=False)
    assert best.to_best is None
    assert worse.to_best.value == 2.0
    assert (worse.to_best.low, worse.to_best.high) == (pytest.approx(2.0125), pytest.approx(2.4875))
