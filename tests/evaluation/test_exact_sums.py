from fractions import Fraction

import numpy as np
import pytest

from defectkit.evaluation.exact_sums import add_exactly, merge_exactly, totals

pytestmark = pytest.mark.check(63)


def zeros(size: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(size, np.int64), np.zeros(size, np.int64)


def drawn(seed: int, count: int = 2000) -> np.ndarray:
    """Weights as those of pixels: sums of 1 / area."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 50, (count, 3)) / rng.integers(1, 2**28, (count, 3))


def test_sums_are_those_of_fractions():
    values = drawn(0)
    high, low = zeros()
    for row in values:
        add_exactly(high, low, np.arange(3), row)
    exact = [sum(map(Fraction, column.tolist()), Fraction()) for column in values.T]
    pairs = zip(high.tolist(), low.tolist(), strict=True)
    assert [Fraction(one, 2**30) + Fraction(rest, 2**83) for one, rest in pairs] == exact
    np.testing.assert_array_max_ulp(totals(high, low), np.array([float(one) for one in exact]), 1)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_no_order_and_no_partition_can_be_seen(parts):
    values = drawn(1)
    one = zeros()
    for row in values:
        add_exactly(*one, np.arange(3), row)
    rng = np.random.default_rng(2)
    several = [zeros() for _ in range(parts)]
    for row in rng.permutation(values):
        add_exactly(*several[rng.integers(parts)], np.arange(3), row)
    merged = zeros()
    for part in several:
        merge_exactly(*merged, *part)
    np.testing.assert_array_equal(merged, one)
    plain, other = values.sum(axis=0), sum(rng.permutation(values))
    assert (plain != other).any()  # as plain sums do


def test_places_are_added_to_alone():
    high, low = zeros()
    add_exactly(high, low, np.array([2, 0]), np.array([0.1, 2.0**30]))
    np.testing.assert_array_equal(totals(high, low), [2.0**30, 0.0, 0.1])


@pytest.mark.parametrize("value", [2.0**-31, -1.0, 2.0**31, np.nan, np.inf])
def test_what_would_be_rounded_is_refused(value):
    with pytest.raises(ValueError, match=r"values must be 0 or in \[2\^-30, 2\^30\]"):
        add_exactly(*zeros(), np.array([0]), np.array([value]))
