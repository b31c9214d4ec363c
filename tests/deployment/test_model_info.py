import pytest
from bounds import unbounded
from pydantic import ValidationError

from defectkit.deployment.model_info import ModelInfo
from defectkit.evaluation.drift import MAX_LEVELS

INFO = {"classes": ["1"], "channels": 1, "thresholds": {"low": 0.5}, "config": {}, "epoch": 1}


@pytest.mark.check(58)
def test_every_entry_that_is_checked_is_bounded():
    assert unbounded(ModelInfo) == []


@pytest.mark.parametrize(
    "changed",
    [{"groups": 0}, {"score": [1.5]}, {"brightness": [float("nan")]}, {"contrast": []},
     {"independent": {"score": 0.5}}, {"score": [0.5] * (MAX_LEVELS + 1)}],
)  # fmt: skip
def test_levels_that_cannot_be_are_refused(changed):
    independent = dict.fromkeys(("score", "brightness", "contrast"), 2.5)
    good = {
        "images": 3, "groups": 2, "independent": independent,
        "score": [0.5], "brightness": [0.0], "contrast": [255.0],
    }  # fmt: skip
    ModelInfo.model_validate({**INFO, "validation_levels": {"good": good, "defective": good}})
    with pytest.raises(ValidationError, match="validation_levels"):
        ModelInfo.model_validate({**INFO, "validation_levels": {"good": {**good, **changed}}})
    with pytest.raises(ValidationError, match="validation_levels"):
        ModelInfo.model_validate({**INFO, "validation_levels": {"other": good}})


@pytest.mark.parametrize(
    ("scores", "defective"),
    [([0.5, 1.5], [True, False]), ([0.5], [True, False]), ([0.5], [1]), (["0.5"], [True])],
)
def test_scores_that_cannot_be_are_refused(scores, defective):
    good = {"scores": [0.5, 1.0], "defective": [True, False]}
    ModelInfo.model_validate({**INFO, "out_of_fold": good})
    bad = {"scores": scores, "defective": defective}
    with pytest.raises(ValidationError, match="out_of_fold"):
        ModelInfo.model_validate({**INFO, "out_of_fold": bad})
