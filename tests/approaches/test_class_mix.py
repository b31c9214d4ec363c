import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from defectkit.approaches.class_mix import SHAPE_FACTS, ClassMix, score_log_odds, shape_facts
from defectkit.approaches.tuning import Tuning, read_tuning
from defectkit.regions import Region

SIZE = (50, 100)
BY_AREA = ClassMix(shape_coefficients=((0.0,) * SHAPE_FACTS, (-6.0, 1.0) + (0.0,) * 7))


def region(area, scores, box=(10, 10, 40, 20)):
    return Region(box_xywh=box, area=area, class_scores=scores)


@given(scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5))
def test_without_shapes_the_highest_score_decides(scores):
    log_odds = ClassMix().log_odds(region(9, tuple(scores)), SIZE)
    assert np.isfinite(log_odds).all()
    if max(scores) > 0:
        assert scores[log_odds.argmax()] == max(scores)


def test_a_large_region_is_of_the_class_of_large_ones_unless_its_scores_contradict():
    doubt, certain = (0.3, 0.29), (0.3, 1e-4)
    assert BY_AREA.log_odds(region(100, doubt), SIZE).argmax() == 0
    assert BY_AREA.log_odds(region(800, doubt), SIZE).argmax() == 1
    assert BY_AREA.log_odds(region(800, certain), SIZE).argmax() == 0
    deaf = BY_AREA.model_copy(update={"score_weight": 0.0})
    assert deaf.log_odds(region(800, certain), SIZE).argmax() == 1


def test_scores_count_by_their_ratio_and_rule_no_class_out():
    np.testing.assert_allclose(score_log_odds([0.2, 0.1]), score_log_odds([0.6, 0.3]))
    assert score_log_odds([0.2, 0.0])[1] == pytest.approx(np.log(1e-6))
    np.testing.assert_array_equal(score_log_odds([0.0, 0.0]), np.log([1e-6, 1e-6]))


@pytest.mark.parametrize(
    ("box", "borders"),
    [
        ((10, 10, 40, 20), [0, 0, 0, 0]),
        ((10, 0, 40, 20), [1, 0, 0, 0]),
        ((0, 10, 40, 20), [0, 1, 0, 0]),
        ((10, 30, 40, 20), [0, 0, 1, 0]),
        ((60, 10, 40, 20), [0, 0, 0, 1]),
        ((0, 0, 100, 50), [1, 1, 1, 1]),
    ],
)
def test_the_shape_tells_size_sides_fill_and_the_borders_that_are_reached(box, borders):
    facts = shape_facts(region(80, (), box), SIZE)
    log_area = np.log(80)
    filled = np.log(80 / (box[2] * box[3]))
    np.testing.assert_allclose(facts, [1, log_area, log_area**2, np.log(2), filled, *borders])
    assert len(facts) == SHAPE_FACTS


def test_upright_and_lying_regions_have_the_same_sides():
    lying, upright = region(80, (), (9, 9, 20, 10)), region(80, (), (9, 9, 10, 20))
    np.testing.assert_allclose(shape_facts(lying, SIZE), shape_facts(upright, SIZE))


def test_a_model_stores_it_as_json_does_and_an_earlier_one_has_none():
    tuning = Tuning(class_mix=BY_AREA)
    stored = tuning.model_dump(mode="json")
    assert read_tuning({"tuning": stored}) == tuning
    del stored["class_mix"]
    assert read_tuning({"tuning": stored}).class_mix == ClassMix()


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_weight": -1.0},
        {"score_weight": 0.0, "shape_weight": 0.0},
        {"shape_coefficients": [[1.0]]},
        {"shape_coefficients": [[float("nan")] * SHAPE_FACTS]},
        {"shape": 1.0},
    ],
)
def test_values_that_are_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        ClassMix.model_validate(wrong)
