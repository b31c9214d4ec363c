from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import defectkit
from defectkit.approaches.box_findings import make_box_finding
from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.data.dataset import Dataset
from defectkit.deployment.evaluate_images import URGENCY, evaluate_images
from defectkit.evaluation.prediction import predict
from defectkit.evaluation.region_matching import COLUMNS
from defectkit.evaluation.thresholds import Thresholds
from defectkit.labels import rle
from defectkit.regions import Region


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
    evaluation = evaluate(model, records, tmp_path, seen.append)
    assert [judged.prediction.record for judged in seen] == records
    rows = evaluation.images.set_index("image_id")
    for judged in seen:
        prediction, judgment, matches = judged.prediction, judged.judgment, judged.matches
        row = rows.loc[prediction.record.image_id]
        assert list(judged.row) == evaluation.images.columns.tolist()
        assert list(judged.row.values())[1:] == row.tolist()
        assert judgment.score == row["score"] == prediction.finding.score
        assert (judgment.verdict, judgment.outcome) == (row["verdict"], row["outcome"])
        assert judgment.thresholds == model.thresholds
        own = evaluation.regions[evaluation.regions["image_id"] == prediction.record.image_id]
        assert [match.kind for match in matches] == own["kind"].tolist()
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
    model = replace(model, approach=replace(model.approach, tuning=Tuning(pixel_threshold=1.0)))
    good = [record for record in records if not record.defective]
    regions = evaluate(model, good, tmp_path).regions
    assert list(regions.columns) == list(COLUMNS)
    assert len(regions) == 0


@dataclass
class Scripted:
    """An approach that finds what it is told, and something wrong in the last ten columns."""

    approach: Any
    kind: str
    truths: dict[bytes, np.ndarray]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.approach, name)

    def find(self, _: Any, images: Any, scopes: Any = ()) -> list:
        findings = []
        for image, scope in zip(images, scopes, strict=True):
            masks = self.truths[image.tobytes()]
            options = {"tuning": Tuning(), "scope": scope}
            scores = masks.astype(np.float32) * np.float32(0.9)
            scores[0, 20:40, -10:] = 1.0
            if self.kind == "segment":
                findings.append(make_finding(scores, self.classes, **options))
                continue
            boxes = [(self.classes[0], (86, 20, 10, 20), 1.0)]
            for index in np.flatnonzero(masks.any(axis=(1, 2))):
                rows, columns = np.nonzero(masks[index])
                box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
                boxes.append((self.classes[index], tuple(map(int, box)), 0.9))
            regions = [
                Region(class_id=name, score=score, box_xywh=box, area=box[2] * box[3])
                for name, box, score in boxes
            ]
            findings.append(make_box_finding(regions, self.classes, (96, 96), **options))
        return findings


@pytest.mark.check(48)
@pytest.mark.parametrize("kind", ["segment", "box"])
@pytest.mark.parametrize("scoped", ["roi", "ignored", ""])
def test_a_model_that_is_wrong_only_where_nothing_counts_is_perfect(
    model, dataset_folder, tmp_path, kind, scoped
):
    records = [
        replace(record, **scope_of(scoped))
        for record in Dataset.load(dataset_folder).records
        if all(x + width <= 86 for x, _, width, _ in (one.box_xywh for one in record.regions))
    ]
    truths = {r.read_image(1).tobytes(): r.read_masks(model.approach.classes) for r in records}
    scripted = Scripted(model.approach, kind, truths)
    model = replace(model, approach=scripted, thresholds=Thresholds(low=0.5, high=0.5, rule="f1"))
    metrics = evaluate(model, records, tmp_path).metrics
    right = bool(scoped)
    assert (metrics["image"]["overkills"] == 0) == right
    assert metrics["image"]["escapes"] == 0
    assert (metrics["region"]["false_alarms_per_image"] == 0) == right
    for section, name in (
        ("image", "auroc"),
        ("pixel", "average_precision"),
        ("pixel", "dice"),
        ("pixel", "mean_iou"),
        ("pixel", "kaggle_dice"),
        ("region", "recall"),
        ("box", "map_50_95"),
    ):
        value = metrics[section][name]
        value = value["value"] if isinstance(value, dict) else value
        assert (value == pytest.approx(1.0)) == (right or name == "recall"), name


def scope_of(kind: str) -> dict[str, str]:
    ignored = np.zeros((96, 96), bool)
    ignored[:, -10:] = True
    return {"roi": {"roi": "0,0,86,96"}, "ignored": {"ignored": rle.encode(ignored)}}.get(kind, {})
