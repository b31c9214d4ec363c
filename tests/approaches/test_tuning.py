import pytest
from pydantic import ValidationError

from defectkit.approaches.tuning import UNTUNED, Tuning, read_tuning


def test_what_was_written_is_read():
    tuning = Tuning(pixel_threshold=0.25, min_area=7)
    assert read_tuning({"tuning": tuning.model_dump()}) == tuning
    assert read_tuning({"tuning": {}}) == UNTUNED


def test_models_of_earlier_versions_have_a_pixel_threshold_alone():
    assert read_tuning({"pixel_threshold": 0.25}) == Tuning(pixel_threshold=0.25)


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValidationError, match="min_area"):
        read_tuning({"tuning": {"min_area": -1}})
