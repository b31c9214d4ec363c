import pytest
from bounds import unbounded
from pydantic import ValidationError

from defectkit.deployment.model_info import ModelInfo

INFO = {"classes": ["1"], "channels": 1, "thresholds": {"low": 0.5}, "config": {}, "epoch": 1}


@pytest.mark.check(58)
def test_every_entry_that_is_checked_is_bounded():
    assert unbounded(ModelInfo) == []


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
