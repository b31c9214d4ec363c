import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit
from scipy.special import logit as exact_logit

from defectkit.approaches.image_mix import MAX_LOGIT, ImageMix, add_novelty, logit, sigmoid

weights = st.floats(0.01, 10)
scores = st.floats(0, 1)
logits = st.floats(-1e6, 1e6)


@given(score=st.floats(1e-5, 1 - 1e-5))
def test_logits_are_those_of_scipy(score):
    assert logit(score) == pytest.approx(exact_logit(score), abs=1e-9)
    assert sigmoid(logit(score)) == pytest.approx(score, abs=1e-9)


@given(value=logits)
def test_no_logit_is_too_large(value):
    assert sigmoid(value) == pytest.approx(expit(value), abs=1e-12)
    assert abs(logit(sigmoid(value))) <= MAX_LOGIT


@given(one=scores, other=scores, whole=logits, first=weights, second=weights, bias=st.floats(-9, 9))
def test_a_higher_score_of_either_never_lowers_the_mix(one, other, whole, first, second, bias):
    mix = ImageMix(map_weight=first, image_weight=second, bias=bias)
    low, high = sorted((one, other))
    assert 0.0 <= mix.score(low, whole) <= mix.score(high, whole) <= 1.0
    assert mix.score(low, whole) <= mix.score(low, whole + 1)


def test_with_one_weight_the_score_is_that_witness():
    assert ImageMix(map_weight=1.0, image_weight=0.0).score(0.3, 99) == pytest.approx(0.3)
    assert ImageMix(map_weight=0.0, image_weight=1.0).score(0.3, exact_logit(0.8)) == pytest.approx(
        0.8
    )


def test_without_a_judgment_of_the_whole_the_map_has_its_own_weight():
    mix = ImageMix(map_weight=9.0, bias=9.0, alone_weight=2.0, alone_bias=-1.0)
    assert exact_logit(mix.score(0.6, None)) == pytest.approx(2 * exact_logit(0.6) - 1)


def test_in_models_of_earlier_versions_the_map_takes_the_place_of_the_whole():
    stored = {"map_weight": 0.75, "image_weight": 1.5, "bias": -0.5}
    mix = ImageMix.model_validate(stored)
    assert mix.score(0.6, None) == mix.score(0.6, exact_logit(0.6)) != 0.6
    given = {**stored, "alone_weight": 2.0, "alone_bias": 1.0}
    assert ImageMix.model_validate(given).model_dump() == given
    with pytest.raises(ValidationError, match="valid number"):
        ImageMix.model_validate({**stored, "image_weight": "1.5"})


@pytest.mark.parametrize(
    "wrong", [{"map_weight": -1}, {"bias": math.nan}, {"image_weight": math.inf}]
)
def test_weights_that_make_no_score_are_refused(wrong):
    with pytest.raises(ValidationError, match="greater than or equal|finite"):
        ImageMix(**wrong)
    with pytest.raises(ValidationError, match="above 0"):
        ImageMix(map_weight=0.0, image_weight=0.0)


@given(score=scores, novelty=scores, threshold=st.floats(0.5, 1))
def test_novelty_raises_a_score_and_never_lowers_it(score, novelty, threshold):
    fused = add_novelty(score, novelty, threshold)
    assert sigmoid(logit(score)) - 1e-12 <= fused <= 1.0
    assert fused <= add_novelty(score, max(novelty, threshold), threshold)
    assert add_novelty(score, novelty, None) == score


def test_the_odds_of_both_add_up():
    assert add_novelty(0.0, 0.7, 0.7) == pytest.approx(0.5, abs=1e-5)
    assert add_novelty(0.75, 0.7, 0.7) == pytest.approx(0.8)  # odds of 3 and 1
    assert add_novelty(0.6, 0.01, 0.7) == pytest.approx(0.6, abs=2e-3)
