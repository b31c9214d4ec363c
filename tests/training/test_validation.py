from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from trial import Tiny

from defectkit.data.dataset import ImageRecord
from defectkit.evaluation.prediction import predict
from defectkit.evaluation.region_tuning import RegionTuning
from defectkit.training.validation import choose_watched, validate


def test_validation_says_what_scikit_learn_says(trial):
    run = trial()
    network = Tiny().eval()
    validation = validate(run.approach, network, run.records, watch=2)
    predictions = list(predict(run.approach, network, run.records))
    truth = [one.record.defective for one in predictions]
    scores = [one.finding.score for one in predictions]
    assert validation.image_ap == pytest.approx(average_precision_score(truth, scores))
    pixels = np.concatenate([one.truth.mask.ravel() for one in predictions])
    found = np.concatenate([one.finding.defect_map.ravel() for one in predictions])
    expected = average_precision_score(pixels, found)
    assert validation.pixel_ap == pytest.approx(expected, abs=2e-3)
    assert validation.quality == pytest.approx((validation.image_ap + validation.pixel_ap) / 2)
    called = found >= validation.tuning.pixel_threshold
    dice = 2 * (called & pixels).sum() / (called.sum() + pixels.sum())
    assert validation.dice == pytest.approx(dice, abs=5e-3)
    regions = RegionTuning()
    for one in predictions:
        regions.update(one.finding.defect_map, one.truth)
    expected = regions.choose(validation.tuning, validation.scores >= validation.thresholds.low)
    assert (validation.tuning, list(validation.tuning_warnings)) == expected
    assert len(validation.watched) == 2
    assert any("10 of either" in warning for warning in validation.warnings)


def record(name: str, *classes: str) -> ImageRecord:
    return ImageRecord(
        image_id=name, path=Path(name), height=9, width=9, channels=1, sha256="", group="",
        split="val", rles=dict.fromkeys(classes, "1 1"), regions=(),
    )  # fmt: skip


def test_watched_are_all_classes_first_and_one_good_image():
    records = [
        *(record(f"a{index}", "a") for index in range(5)),
        *(record(f"good{index}") for index in range(5)),
        *(record(f"b{index}", "b") for index in range(2)),
    ]
    chosen = [one.image_id for one in choose_watched(records, 6)]
    assert chosen == ["a0", "b0", "a1", "b1", "a2", "good0"]
    assert [one.image_id for one in choose_watched(records, 2)] == ["a0", "good0"]
    assert choose_watched(records, 0) == []
    assert [one.image_id for one in choose_watched(records[5:7], 6)] == ["good0", "good1"]
    only = [one.image_id for one in choose_watched(records[:2], 6)]
    assert only == ["a0", "a1"]
