import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from exported_models import write_exported
from file_hashes import hashes_of, hashes_of_results, mark
from PIL import Image
from resealing import reseal
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image
from defectkit.deployment.evaluate_images import Evaluation
from defectkit.errors import ConfigError, DatasetError, ImageError, ModelError
from defectkit.evaluation.box_metrics import BoxMetrics
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.threshold_rule import ThresholdRule
from defectkit.files import read_csv, read_json
from defectkit.regions import Region
from defectkit.reporting.glossary import GLOSSARY
from defectkit.results_marker import MARKER, Marker

INTERVAL = {"value", "low", "high"}


@pytest.fixture(scope="module")
def evaluated(run_folder, tmp_path_factory, quiet) -> tuple[Path, Evaluation]:
    """A copy of the tiny run, evaluated on test; do not change."""
    run = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("evaluated") / "run"))
    return run, defectkit.evaluate(run, device="cpu", console=quiet)


def test_the_report_is_opened_when_it_is_complete(run_copy, cli, monkeypatch):
    seen = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: bool(seen.append(address)) or True)
    page = run_copy / "evaluation" / "test" / "report.html"
    told = cli("evaluate", run_copy, "--device", "cpu", "--open")
    assert told.code == 0, told.err
    assert seen == [page.as_uri()]
    assert page.is_file()
    assert cli("evaluate", run_copy, "--device", "cpu").code == 0
    assert len(seen) == 1


def test_an_evaluation_holds_exactly_its_files(evaluated, dataset_folder):
    run, _ = evaluated
    out = run / "evaluation" / "test"
    files = set(hashes_of_results(out))
    overlays = {name for name in files if name.startswith("overlays/")}
    assert files - overlays == {
        "images.csv",
        "metrics.json",
        "region_recall.png",
        "regions.csv",
        "report.html",
        "scores.png",
    }
    assert len(overlays) == len(Dataset.load(dataset_folder).split("test"))
    assert [path.name for path in (run / "evaluation").iterdir()] == ["test"]


def test_the_tables_of_an_evaluation_are_those_of_its_files(evaluated):
    run, evaluation = evaluated
    assert evaluation.folder == run / "evaluation" / "test"
    rows = read_csv(evaluation.folder / "images.csv")
    images = evaluation.images
    assert list(images.columns) == list(rows[0])
    assert images["image_id"].tolist() == [row["image_id"] for row in rows]
    assert images["defective"].tolist() == [row["defective"] == "1" for row in rows]
    assert [f"{score:.9g}" for score in images["score"]] == [row["score"] for row in rows]
    assert images["true_pixels"].tolist() == [int(row["true_pixels"]) for row in rows]
    assert images.dtypes[["image_id", "verdict", "outcome"]].tolist() == [object] * 3
    rows = read_csv(evaluation.folder / "regions.csv")
    regions = evaluation.regions
    assert list(regions.columns) == list(rows[0])
    for name in ("image_id", "kind", "class_id"):
        assert regions[name].tolist() == [row[name] for row in rows]
    true = regions[regions["kind"] == "true"]
    assert (true["coverage"] >= 0.1).tolist() == true["found"].tolist()


def test_metrics_json_has_exactly_the_agreed_keys(evaluated):
    run, evaluation = evaluated
    metrics = read_json(run / "evaluation" / "test" / "metrics.json")
    about = {"format_version", "evaluated", "tables", "seal"}
    assert about <= metrics.keys()
    metrics = {key: value for key, value in metrics.items() if key not in about}
    assert metrics == json.loads(json.dumps(evaluation.metrics))
    detection = metrics.pop("detection")  # the report has a plot of it
    assert set(detection) == {"by_area", "by_length"}
    assert all(one["n"] == metrics["region"]["recall"]["total"] for one in detection.values())
    assert set(metrics) == {"image", "pixel", "region", "class_confusion", "box", "speed", "drift"}
    confusion = metrics.pop("class_confusion")  # the report has a table for it
    assert confusion["classes"] == ["1", "2"]
    for section, numbers in metrics.items():
        assert numbers.keys() == GLOSSARY[section].keys(), "the report must explain every number"
    assert set(metrics["image"]) == {
        "average_precision",
        "auroc",
        "threshold_low",
        "threshold_high",
        "escapes",
        "overkills",
        "reviews",
        "n_defective",
        "n_good",
        "escape_rate",
        "overkill_rate",
        "calibration_error",
    }
    assert set(metrics["image"]["escape_rate"]) == INTERVAL
    assert set(metrics["image"]["overkill_rate"]) == INTERVAL
    assert set(metrics["pixel"]) == {
        "average_precision",
        "dice",
        "mean_iou",
        "mean_iou_classes",
        "iou_by_class",
        "dice_defective_mean",
        "kaggle_dice",
        "kaggle_dice_floor",
        "aupro_30",
        "aupro_05",
    }
    assert set(metrics["pixel"]["iou_by_class"]) == {"1", "2"}
    assert set(metrics["region"]) == {
        "recall",
        "recall_by_area",
        "precision",
        "false_alarms_per_image",
        "false_alarms_per_good_image",
        "good_images_with_false_alarms",
        "all_regions",
    }
    for name in ("precision", "good_images_with_false_alarms"):
        assert set(metrics["region"][name]) == INTERVAL | {"count", "total"}
    recalls = [metrics["region"]["recall"], *metrics["region"]["recall_by_area"].values()]
    assert all(set(recall) == INTERVAL | {"found", "total"} for recall in recalls)
    assert set(metrics["box"]) == {"map_50", "map_50_95"}
    assert set(metrics["speed"]) == {
        "ms_per_image_median",
        "ms_per_image_p95",
        "images_per_second",
        "device",
        "threads",
    }


def test_images_csv_agrees_with_the_metrics_and_with_scikit_learn(evaluated, dataset_folder):
    run, evaluation = evaluated
    image = evaluation.metrics["image"]
    rows = read_csv(run / "evaluation" / "test" / "images.csv")
    assert list(rows[0]) == [
        "image_id",
        "group",
        "split",
        "defective",
        "score",
        "verdict",
        "outcome",
        "score_1",
        "score_2",
        "true_pixels",
        "found_pixels",
        "hit_pixels",
        "brightness",
        "contrast",
    ]
    records = {record.image_id: record for record in Dataset.load(dataset_folder).split("test")}
    assert {row["image_id"]: row["defective"] for row in rows} == {
        name: str(int(record.defective)) for name, record in records.items()
    }
    assert all(row["group"] == records[row["image_id"]].group for row in rows)
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("escape") == image["escapes"]
    assert outcomes.count("overkill") == image["overkills"]
    assert outcomes.count("review") == image["reviews"]
    truth = [int(row["defective"]) for row in rows]
    scores = [float(row["score"]) for row in rows]
    assert (sum(truth), len(truth) - sum(truth)) == (image["n_defective"], image["n_good"])
    assert image["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    assert image["auroc"] == pytest.approx(roc_auc_score(truth, scores))


def test_the_pixels_of_images_csv_make_up_the_pooled_dice(evaluated, dataset_folder):
    run, evaluation = evaluated
    metrics = evaluation.metrics
    rows = read_csv(run / "evaluation" / "test" / "images.csv")
    sums = {
        name: sum(int(row[f"{name}_pixels"]) for row in rows) for name in ("true", "found", "hit")
    }
    records = Dataset.load(dataset_folder).split("test")
    assert sums["true"] == sum(int(r.read_masks(["1", "2"]).any(axis=0).sum()) for r in records)
    dice = 2 * sums["hit"] / (sums["true"] + sums["found"])
    assert metrics["pixel"]["dice"] == pytest.approx(dice)


@pytest.mark.check(20)
def test_trained_on_crops_and_scored_at_native_size_by_hand(run_copy, dataset_folder, quiet):
    model = defectkit.load(run_copy, device="cpu")
    assert model.approach.config.data.crop == 64  # smaller than the images, of 96x96
    scores, truths = [], []
    for record in Dataset.load(dataset_folder).split("test"):
        finding = model.find(read_image(record.path))
        truth = record.read_masks(["1", "2"]).any(axis=0)
        assert finding.score_map.shape[1:] == truth.shape == (96, 96)
        scores.append(finding.score_map.max(axis=0).ravel())
        truths.append(truth.ravel())
    score, truth = np.concatenate(scores), np.concatenate(truths)
    threshold = float(np.median(score))  # that of so short a training may find all or nothing
    info = run_copy / "model" / "model.json"
    reseal(info, tuning={"pixel_threshold": threshold})
    pixel = defectkit.evaluate(run_copy, device="cpu", console=quiet).metrics["pixel"]
    found = score >= threshold
    assert pixel["average_precision"] == pytest.approx(
        average_precision_score(truth, score), abs=1e-3
    )  # scores are kept on 65,536 levels
    assert pixel["dice"] == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_boxes_are_those_of_the_findings_and_of_the_true_regions(evaluated, dataset_folder):
    run, evaluation = evaluated
    metrics = evaluation.metrics
    model = defectkit.load(run, device="cpu")
    boxes = BoxMetrics(classes=model.approach.classes)
    rows = read_csv(dataset_folder / "defects.csv")
    for record in Dataset.load(dataset_folder).split("test"):
        true = [
            Region(
                class_id=row["class_id"],
                box_xywh=tuple(int(row[key]) for key in ("x", "y", "width", "height")),
                area=int(row["area"]),
            )
            for row in rows
            if row["image_id"] == record.image_id
        ]
        boxes.update(model.find(record.read_image(1)).regions, true)
    assert metrics["box"] == boxes.result()
    assert metrics["box"]["map_50"] is not None


def test_the_worst_images_come_first(evaluated):
    run, _ = evaluated
    out = run / "evaluation" / "test"
    rows = read_csv(out / "images.csv")
    urgency = ["escape", "overkill", "review", "hit", "pass"]
    ranks = [urgency.index(row["outcome"]) for row in rows]
    assert ranks == sorted(ranks)
    by_outcome = {name: [r for r in rows if r["outcome"] == name] for name in urgency}
    for escaped in (by_outcome["escape"], by_outcome["hit"]):
        scores = [float(row["score"]) for row in escaped]
        assert scores == sorted(scores)
    names = sorted(path.name for path in (out / "overlays").iterdir())
    assert [name.split("-")[1] for name in names] == [row["outcome"] for row in rows]


def test_the_report_names_every_overlay_it_shows(evaluated):
    run, _ = evaluated
    out = run / "evaluation" / "test"
    report = (out / "report.html").read_text()
    assert "run: test split" in report
    assert all(row["image_id"] in report for row in read_csv(out / "images.csv"))


def test_the_page_is_given_the_numbers_of_the_other_files(evaluated):
    run, evaluation = evaluated
    text = (evaluation.folder / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    thresholds = read_json(run / "model" / "model.json")["thresholds"]
    assert [data["low"], data["high"]] == [thresholds["low"], thresholds["high"]]
    image = evaluation.metrics["image"]
    assert [data["low"], data["high"]] == [image["threshold_low"], image["threshold_high"]]
    shown = data["images"]
    for name in ("score", "defective"):
        assert shown[name] == evaluation.images[name].tolist()
    groups = [shown["names"][number] for number in shown["group"]]
    assert groups == evaluation.images["group"].tolist()
    assert shown["id"] == evaluation.images["image_id"].tolist()
    details = re.search(r'id="image-details"[^>]*>\s*(.*?)\s*</script>', text, re.DOTALL)[1]
    regions = [one for line in details.splitlines() for one in json.loads(line).get("regions", [])]
    assert sorted(one["area"] for one in regions) == sorted(evaluation.regions["area"])
    assert all(one["path"] for one in regions)
    assert not (evaluation.folder / "report_pictures").exists()  # all are within the page
    for picture, overlay in zip(shown["picture"], shown["overlay"], strict=True):
        assert f'id="picture:{picture}"' in text
        assert (evaluation.folder / "overlays" / overlay).is_file()


def test_overlays_are_not_smaller_than_their_images(evaluated):
    run, _ = evaluated
    for path in (run / "evaluation" / "test" / "overlays").iterdir():
        with Image.open(path) as overlay:
            assert overlay.width >= 96
            assert overlay.height > 96  # the header strip comes on top


def test_what_is_missed_in_an_escape_is_not_found_unless_all_regions_are_listed(run_copy, quiet):
    thresholds = {"low": 1.0, "high": 1.0, "rule": "f1"}
    tuning = {"pixel_threshold": 0.01}
    reseal(run_copy / "model" / "model.json", tuning=tuning, thresholds=thresholds)
    results = {}
    for all_regions in (False, True):
        evaluation = defectkit.evaluate(
            run_copy, all_regions=all_regions, device="cpu", console=quiet
        )
        region = evaluation.metrics["region"]
        results[all_regions] = evaluation.metrics
        assert region["all_regions"] is all_regions
        assert (region["recall"]["found"] > 0) == all_regions
        assert (region["precision"]["total"] > 0) == all_regions
        assert set(evaluation.images["verdict"]) == {"good"}
        confusion = np.array(evaluation.metrics["class_confusion"]["counts"])
        assert confusion.sum() == region["recall"]["total"]
        assert confusion[:, -1].sum() == region["recall"]["total"] - region["recall"]["found"]
    for section in ("image", "pixel", "box"):
        assert results[False][section] == results[True][section]


def test_regions_csv_has_every_true_region_once(evaluated, dataset_folder):
    run, evaluation = evaluated
    metrics = evaluation.metrics
    rows = read_csv(run / "evaluation" / "test" / "regions.csv")
    test_ids = {record.image_id for record in Dataset.load(dataset_folder).split("test")}
    expected = [
        tuple(row[key] for key in ("image_id", "class_id", "x", "y", "width", "height", "area"))
        for row in read_csv(dataset_folder / "defects.csv")
        if row["image_id"] in test_ids
    ]
    true = [row for row in rows if row["kind"] == "true"]
    got = [
        tuple(row[key] for key in ("image_id", "class_id", "x", "y", "width", "height", "area"))
        for row in true
    ]
    assert sorted(got) == sorted(expected)
    recall = metrics["region"]["recall"]
    assert recall["total"] == len(true)
    assert recall["found"] == sum(row["found"] == "yes" for row in true)


def test_evaluation_changes_neither_data_nor_model(run_copy, source_csv, quiet):
    data, run = hashes_of(source_csv.parent), hashes_of(run_copy)
    defectkit.evaluate(run_copy, device="cpu", console=quiet)
    assert hashes_of(source_csv.parent) == data
    after = hashes_of(run_copy)
    assert {name: after[name] for name in run} == run


@pytest.mark.check(52)
@pytest.mark.parametrize("marked", [True, False])
def test_a_second_evaluation_gives_the_same_and_leaves_no_old_overlay(evaluated, quiet, marked):
    run, evaluation = evaluated
    metrics = evaluation.metrics
    folder = run / "evaluation" / "test"
    stray, mine = (folder / "overlays" / name for name in ("1-escape-old.png", "mine.png"))
    shutil.copy(next(stray.parent.iterdir()), stray)
    shutil.copy(stray, mine)
    if marked:
        mark(folder, [*Marker.read(folder).files, "overlays/1-escape-old.png"], "evaluation")
    else:  # As by an earlier version.
        (folder / MARKER).unlink()
    again = defectkit.evaluate(run, device="cpu", console=quiet).metrics
    assert not stray.exists()
    assert mine.exists()
    mine.unlink()
    assert [again[key] for key in ("image", "pixel", "region")] == [
        metrics[key] for key in ("image", "pixel", "region")
    ]


def test_max_escape_rate_takes_thresholds_from_validation_and_keeps_them(
    run_copy, dataset_folder, quiet
):
    model = defectkit.load(run_copy, device="cpu")
    records = Dataset.load(dataset_folder).split("val")
    scores = [model.find(read_image(record.path)).score for record in records]
    options = {"max_escape_rate": 0.7, "confidence": 0.8, "max_review_rate": 0.3}
    expected, _ = choose_thresholds(
        scores,
        [record.defective for record in records],
        ThresholdRule(**options),
        groups=[record.group for record in records],
    )

    metrics = defectkit.evaluate(run_copy, **options, device="cpu", console=quiet).metrics
    kept = read_json(run_copy / "model" / "model.json")["thresholds"]
    assert kept["rule"] == "max_escape_rate=0.7, confidence=0.8, max_review_rate=0.3"
    assert kept == pytest.approx(expected.to_dict())
    assert metrics["image"]["threshold_low"] == kept["low"]
    assert metrics["image"]["threshold_high"] == kept["high"]
    assert defectkit.load(run_copy, device="cpu").thresholds.to_dict() == kept

    again = defectkit.evaluate(run_copy, device="cpu", console=quiet).metrics
    assert again["image"] == metrics["image"]


def test_both_rates_give_two_thresholds_and_what_is_not_shown_is_said(run_copy, cli):
    options = ("--max-escape-rate", "0.7", "--max-overkill-rate", "0.01", "--device", "cpu")
    told = " ".join(cli("evaluate", run_copy, *options).err.split())
    rule = "max_escape_rate=0.7, confidence=0.95, not shown, max_overkill_rate=0.01, not shown"
    assert f"chosen on validation by {rule}" in told
    assert "support no overkill rate below" in told
    assert "an overkill rate of 1 % is not shown by this result" in told
    kept = read_json(run_copy / "model" / "model.json")["thresholds"]
    assert kept["rule"] == rule
    assert kept["low"] <= kept["high"]


def test_cost_ratio_gives_one_threshold(run_copy, quiet):
    metrics = defectkit.evaluate(run_copy, cost_ratio=50, device="cpu", console=quiet).metrics
    assert metrics["image"]["threshold_low"] == metrics["image"]["threshold_high"]
    assert read_json(run_copy / "model" / "model.json")["thresholds"]["rule"] == "cost_ratio=50"


def test_other_splits_keep_the_earlier_thresholds_and_that_is_said(run_copy, capsys):
    console = Console(width=400)
    defectkit.evaluate(run_copy, device="cpu", cost_ratio=50, console=console)
    assert "earlier thresholds" not in capsys.readouterr().out
    defectkit.evaluate(run_copy, split="val", device="cpu", cost_ratio=2, console=console)
    said = "the evaluation of test has the earlier thresholds: evaluate it again"
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_best_f1_takes_the_first_thresholds_again(run_copy, quiet):
    first = read_json(run_copy / "model" / "model.json")
    defectkit.evaluate(run_copy, cost_ratio=500, device="cpu", console=quiet)
    defectkit.evaluate(run_copy, best_f1=True, device="cpu", console=quiet)
    again = read_json(run_copy / "model" / "model.json")
    assert again["thresholds"] == pytest.approx(first["thresholds"])
    assert again["warnings"] == first["warnings"]


def test_bad_options_change_nothing(run_copy, quiet):
    before = hashes_of(run_copy / "model")
    with pytest.raises(ConfigError, match="max.escape.rate"):
        defectkit.evaluate(run_copy, max_escape_rate=1.5, device="cpu", console=quiet)
    with pytest.raises(ConfigError, match="cost.ratio"):
        defectkit.evaluate(run_copy, max_escape_rate=0.1, cost_ratio=3, console=quiet)
    assert hashes_of(run_copy / "model") == before


def test_other_splits_have_their_own_folders(run_copy, quiet):
    val = defectkit.evaluate(run_copy, split="val", device="cpu", console=quiet).metrics
    assert (run_copy / "evaluation" / "val" / "report.html").is_file()
    # The same split and network as in training's own validation.
    recorded = read_json(run_copy / "model" / "model.json")["validation"]
    assert val["image"]["average_precision"] == pytest.approx(recorded["image_average_precision"])
    assert val["pixel"]["average_precision"] == pytest.approx(
        recorded["pixel_average_precision"], abs=1e-6
    )
    assert val["pixel"]["dice"] == pytest.approx(recorded["dice"], abs=1e-3)


def test_all_splits_are_evaluated_together_and_told_apart(run_copy, dataset_folder, cli):
    told = cli("evaluate", run_copy, "--split", "all", "--device", "cpu")
    assert told.code == 0
    assert "warning: the model was trained on the images of train, so this result" in told.err
    records = Dataset.load(dataset_folder).records
    folder = run_copy / "evaluation" / "all"
    rows = read_csv(folder / "images.csv")
    assert {row["image_id"]: row["split"] for row in rows} == {
        one.image_id: one.split for one in records
    }
    by_split = read_json(folder / "metrics.json")["by_split"]
    for split, counted in by_split.items():
        own = [row for row in rows if row["split"] == split]
        defective = [row for row in own if row["defective"] == "1"]
        assert counted["n_defective"] == len(defective)
        assert counted["n_good"] == len(own) - len(defective)
        escapes = sum(row["outcome"] == "escape" for row in own)
        assert counted["escapes"] == escapes
        assert f"{escapes} of {len(defective)} │" in told.err
    assert list(by_split) == ["train", "val", "test"]
    assert "Images by split" in (folder / "report.html").read_text()


def test_what_is_missing_is_said_plainly(run_copy, dataset_copy, tmp_path, quiet):
    with pytest.raises(ModelError, match="has no model .*defectkit train"):
        defectkit.evaluate(tmp_path, device="cpu", console=quiet)
    for path in (dataset_copy.parent / "Train").iterdir():
        path.unlink()
    with pytest.raises(ImageError, match="cannot read the image .*No such file"):
        defectkit.evaluate(run_copy, data=dataset_copy, device="cpu", console=quiet)
    facts = run_copy / "run.json"
    reseal(facts, dataset_folder="/gone")
    with pytest.raises(DatasetError, match="gone does not exist"):
        defectkit.evaluate(run_copy, device="cpu", console=quiet)
    facts.write_text("{")
    with pytest.raises(ModelError, match=r"run\.json is damaged .*--data"):
        defectkit.evaluate(run_copy, device="cpu", console=quiet)
    facts.unlink()
    with pytest.raises(ModelError, match=r"is not a run \(it has no run.json\).*--data"):
        defectkit.evaluate(run_copy, device="cpu", console=quiet)


def test_a_model_folder_alone_is_evaluated_if_its_dataset_is_named(run_copy, dataset_folder, quiet):
    metrics = defectkit.evaluate(
        run_copy / "model", data=dataset_folder, device="cpu", console=quiet
    ).metrics
    assert metrics["image"]["n_good"] > 0
    assert (run_copy / "model" / "evaluation" / "test" / "metrics.json").is_file()


def test_an_exported_model_is_evaluated_on_the_dataset_that_is_named(
    tmp_path, dataset_folder, quiet
):
    dataset = Dataset.load(dataset_folder)
    config = {"approach": "segment", "model": {"architecture": "unet"}}
    folder = write_exported(
        tmp_path / "exported",
        channels=1,
        classes=dataset.classes,
        dataset=dataset.fingerprint,
        config=config,
    )
    with pytest.raises(ModelError, match="exported is not a run .*Name its dataset with --data"):
        defectkit.evaluate(folder, console=quiet)
    evaluation = defectkit.evaluate(
        folder, data=dataset_folder, cost_ratio=50.0, device="cpu", console=quiet
    )
    assert evaluation.folder == folder / "evaluation" / "test"
    assert len(evaluation.images) == len(dataset.split("test"))
    assert evaluation.metrics["speed"]["device"].startswith("cpu (OpenVINO")
    model = defectkit.load(folder)
    assert model.thresholds.rule == "cost_ratio=50"
    for record in dataset.split("test"):
        score = evaluation.images.set_index("image_id").loc[record.image_id, "score"]
        assert model.find(record.read_image(1)).score == score
