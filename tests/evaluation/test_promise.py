import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from defectkit.evaluation.promise import (
    allowed_escapes,
    contradicts_rate,
    least_rate,
    needed_units,
    shows_rate,
)

RATES = st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.348, 0.5, 0.9])
CONFIDENCES = st.sampled_from([0.5, 0.9, 0.95, 0.99])


@settings(deadline=None)
@given(st.integers(1, 800), RATES, CONFIDENCES)
def test_so_many_escapes_and_no_more_show_the_rate(n, rate, confidence):
    counts = np.arange(n + 1)
    shown = counts[binom.cdf(counts, n, rate) <= 1 - confidence + 1e-12]
    assert allowed_escapes(n, rate, confidence) == (shown.max() if shown.size else None)


@settings(deadline=None)
@given(st.integers(1, 400), RATES, CONFIDENCES, st.data())
def test_a_rate_is_shown_where_the_exact_interval_ends_below_it(n, rate, confidence, data):
    escapes = data.draw(st.integers(0, n))
    # The upper end of a two-sided interval of 2 C - 1 is that of a one-sided one of C.
    test = binomtest(escapes, n, rate, alternative="less")
    if abs(test.pvalue - (1 - confidence)) > 1e-9:
        assert shows_rate(escapes, n, rate, confidence) == (test.pvalue <= 1 - confidence)


@pytest.mark.parametrize(("n", "rate"), [(7, 0.35), (20, 0.14), (59, 0.05), (299, 0.01)])
def test_known_numbers_of_images(n, rate):
    assert round(least_rate(n), 2) == rate
    assert allowed_escapes(n, least_rate(n) + 1e-6) == 0
    assert allowed_escapes(n, least_rate(n) - 1e-6) is None


@settings(deadline=None)
@given(st.floats(1e-4, 0.9), CONFIDENCES)
def test_the_units_needed_are_the_least(rate, confidence):
    needed = needed_units(rate, confidence)
    assert shows_rate(0, needed, rate * (1 + 1e-9), confidence)
    assert needed == 1 or not shows_rate(0, needed - 1, rate * (1 - 1e-9), confidence)


def test_nothing_shows_a_rate_of_0_or_anything_without_images():
    assert needed_units(0.0) is None
    assert allowed_escapes(10**6, 0.0) is None
    assert allowed_escapes(0, 0.5) is None
    assert least_rate(0) == 1.0


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (59, 0.05), (100, 0.01), (300, 0.2)])
def test_escapes_contradict_a_rate_that_lies_below_their_interval(n, rate, confidence):
    for escapes in range(n + 1):
        # Both of its ends leave out 1 - confidence.
        interval = binomtest(escapes, n).proportion_ci(2 * confidence - 1, method="exact")
        assert contradicts_rate(escapes, n, rate, confidence) == (interval.low > rate), escapes
        assert not (
            contradicts_rate(escapes, n, rate, confidence)
            and shows_rate(escapes, n, rate, confidence)
        )
    assert not contradicts_rate(0, 0, rate, confidence)
