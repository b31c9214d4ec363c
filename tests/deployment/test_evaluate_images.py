from dataclasses import replace

import pytest

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.evaluate_images import URGENCY, evaluate_images
from defectkit.evaluation.operating_points import Thresholds
from defectkit.evaluation.prediction import predict
from defectkit.evaluation.region_matching import COLUMNS


@pytest.fixture(scope="module")
def model(run_folder):
    return defectkit.load(run_folder, device="cpu")


@pytest.fixture(scope="module")
def records(dataset_folder):
    return Dataset.load(dataset_folder).split("test")


def evaluate(model, records, folder, on_image=lambda *_: None):
    predictions = predict(model.approach, model.network, records)
    return evaluate_images(model, predictions, folder=folder, on_image=on_image)


def test_each_prediction_is_handed_on_with_its_judgment(model, records, tmp_path):
    seen = []
    evaluation = evaluate(model, records, tmp_path, lambda *pair: seen.append(pair))
    assert [prediction.record for prediction, _ in seen] == records
    rows = evaluation.images.set_index("image_id")
    for prediction, judgment in seen:
        row = rows.loc[prediction.record.image_id]
        assert judgment.score == row["score"] == prediction.finding.score
        assert (judgment.verdict, judgment.outcome) == (row["verdict"], row["outcome"])
        assert judgment.thresholds == model.thresholds
        assert row["true_pixels"] == prediction.truth.mask.sum()
        assert [row["score_1"], row["score_2"]] == prediction.finding.class_scores.tolist()
    assert list(tmp_path.iterdir()) == []
    assert evaluation.folder == tmp_path


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_the_thresholds_are_those_of_the_model(model, records, tmp_path, cut):
    model = replace(model, thresholds=Thresholds(low=cut, high=cut, rule="f1"))
    image = evaluate(model, records, tmp_path).metrics["image"]
    n_defective = sum(record.defective for record in records)
    expected = (0, len(records) - n_defective) if cut == 0.0 else (n_defective, 0)
    assert (image["escapes"], image["overkills"]) == expected


def test_the_worst_images_come_first(model, records, tmp_path):
    scores = [model.find(record.read_image(1)).score for record in records]
    cut = sorted(scores)[len(scores) // 2]
    model = replace(model, thresholds=Thresholds(low=cut, high=cut, rule="f1"))
    images = evaluate(model, records, tmp_path).images
    ranks = images["outcome"].map(URGENCY)
    assert ranks.tolist() == sorted(ranks)
    for outcome, own in images.groupby("outcome"):
        ascending = outcome in ("escape", "hit")
        assert own["score"].tolist() == sorted(own["score"], reverse=not ascending)


def test_without_a_region_the_table_has_its_columns(model, records, tmp_path):
    model = replace(model, approach=replace(model.approach, pixel_threshold=1.0))
    good = [record for record in records if not record.defective]
    regions = evaluate(model, good, tmp_path).regions
    assert list(regions.columns) == list(COLUMNS)
    assert len(regions) == 0
