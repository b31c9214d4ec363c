import json
import math

import pytest

from defectkit.errors import ModelError
from defectkit.evaluation.thresholds import Thresholds


@pytest.mark.parametrize(
    "pair", [(0.6, 0.5), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.nan)]
)
def test_thresholds_refuse_disorder(pair):
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        Thresholds(low=pair[0], high=pair[1], rule="f1")


def test_thresholds_survive_json():
    thresholds = Thresholds(low=0.1, high=0.7, rule="max_escape_rate=0.1")
    assert Thresholds.from_dict(json.loads(json.dumps(thresholds.to_dict()))) == thresholds


@pytest.mark.parametrize(
    "content",
    [
        {"low": 0.2, "high": 0.1, "rule": "f1"},
        {"low": 0.2, "rule": "f1"},
        {"low": "x", "high": 1, "rule": ""},
        {"low": None, "high": 1, "rule": ""},
    ],
)
def test_damaged_thresholds_are_named(content):
    with pytest.raises(
        ModelError, match=r"thresholds .* cannot be used .*Copy the model folder again"
    ):
        Thresholds.from_dict(content)
