"""Levels keep the order of scores, and as much of their differences as they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.evaluation.score_levels import LEVELS, levels_of, lowest_score

SCORES = st.floats(0, 1, width=32) | st.floats(2.0**-24, 1 - 2.0**-24).map(np.float32)


def scores(*values):
    return np.array(values, np.float32)


@given(SCORES, SCORES)
def test_a_larger_score_has_no_smaller_level(one, other):
    low, high = levels_of(scores(*sorted((one, other))))
    assert low <= high


def test_the_ends_have_their_levels():
    almost = np.nextafter(np.float32(1), np.float32(0))
    assert levels_of(scores(0, 1e-38, 1e-12)).tolist() == [0, 0, 0]
    assert levels_of(scores(almost, 1)).tolist() == [LEVELS - 4096 - 1, LEVELS - 1]
    assert levels_of(np.zeros((2, 3), np.float32)).shape == (2, 3)


def test_logits_that_differ_by_a_quarter_of_a_thousandth_never_share_a_level():
    given_scores = (1 / (1 + np.exp(-np.arange(-27, 16, 0.00027)))).astype(np.float32)
    exact = given_scores.astype(np.float64)
    apart = np.diff(np.log(exact / (1 - exact))) >= 0.00025  # Near 1, float32 makes some equal.
    assert apart.mean() > 0.7
    assert (np.diff(levels_of(given_scores).astype(int))[apart] >= 1).all()


def test_the_last_thousands_of_scores_below_1_have_levels_of_their_own():
    last = (np.float32(1).view(np.int32) - np.arange(4096, dtype=np.int32)).view(np.float32)
    assert (np.diff(levels_of(last).astype(int)) < 0).all()


def test_the_scores_are_left_as_they_are():
    given_scores = scores(0.25, 0.5)
    levels_of(given_scores)
    assert given_scores.tolist() == [0.25, 0.5]


@given(st.integers(0, LEVELS - 1))
def test_the_lowest_score_of_a_level_is_where_it_begins(level):
    lowest = np.float32(lowest_score(level))
    below = np.nextafter(lowest, np.float32(-1))
    assert levels_of(scores(lowest))[0] >= level
    assert below < 0 or levels_of(scores(below))[0] < level


@pytest.mark.parametrize("level", [-1, LEVELS])
def test_other_levels_are_refused(level):
    with pytest.raises(ValueError, match=rf"level must be in 0..262143 but got {level}"):
        lowest_score(level)
