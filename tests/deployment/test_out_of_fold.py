import shutil
from dataclasses import replace

import pytest

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.out_of_fold import SCORES_TABLE, validate_out_of_fold
from defectkit.files import read_csv
from defectkit.training.validation import validate


def test_folds_are_validated_by_their_own_models_and_chosen_for_together(
    run_folder, dataset_folder, tmp_path
):
    dataset, model = Dataset.load(dataset_folder), defectkit.load(run_folder, device="cpu")
    val = dataset.split("val")
    halves = [
        replace(dataset, records=tuple(val[start:end])) for start, end in ((0, 2), (2, len(val)))
    ]
    other = shutil.copytree(run_folder, tmp_path / "other")
    folds = [(run_folder, halves[0]), (other, halves[1])]
    ours = validate_out_of_fold(tmp_path, model.approach, folds)
    whole = validate(model.approach, model.network, val)  # as if it were one
    assert ours.scores.tolist() == whole.scores.tolist()
    assert (ours.thresholds, ours.tuning, ours.images) == (whole.thresholds, whole.tuning, 5)
    assert (ours.image_ap, ours.pixel_ap) == (whole.image_ap, pytest.approx(whole.pixel_ap))
    rows = read_csv(tmp_path / SCORES_TABLE)
    assert [row["fold"] for row in rows] == ["1", "1", "2", "2", "2"]
    assert [row["image_id"] for row in rows] == [record.image_id for record in val]
    assert [float(row["score"]) for row in rows] == ours.scores.tolist()
