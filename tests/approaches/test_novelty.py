import io

import numpy as np
import pytest
from rich.console import Console
from small_sources import draw_image
from tiny_training import train_tiny

import defectkit
from defectkit.approaches.build import build_approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.errors import DatasetError
from defectkit.files import read_csv, read_json, sha256_file
from defectkit.labels.scope import Scope

SMALL = ("novelty.bank=200", "model.weights=auto")


def train(data, out, *settings, **options):
    return train_tiny(data, out, *SMALL, *settings, approach="novelty", **options).run


@pytest.fixture(scope="module")
def run(dataset_folder, tmp_path_factory):
    return train(dataset_folder, tmp_path_factory.mktemp("novelty") / "run")


@pytest.fixture(scope="module")
def good_alone(tmp_path_factory, quiet):
    """A dataset of 16 good images, without any label."""
    folder = tmp_path_factory.mktemp("good")
    lines = ["ImageId,EncodedPixels"]
    for index in range(1, 33, 2):
        write_png(folder / "Train" / f"{index}.png", draw_image(index)[0])
        lines.append(f"{index}.png,")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    defectkit.prepare(folder / "train.csv", out=folder / "dataset", console=quiet)
    return folder / "dataset"


def test_it_ranks_defects_that_it_never_saw(run, quiet):
    evaluation = defectkit.evaluate(run, device="cpu", console=quiet)
    assert evaluation.metrics["image"]["auroc"] == 1.0
    assert evaluation.metrics["pixel"]["average_precision"] > 0.5
    (row,) = read_csv(run / "history.csv")
    assert (row["epoch"], "train_loss" in row) == ("1", False)


def test_several_classes_are_not_told_apart(run):
    model = defectkit.load(run, device="cpu")
    assert (model.approach.classes, model.approach.found_classes) == (("1", "2"), ("",))
    finding = model.find(draw_image(0)[0])
    assert finding.score_map.shape == (1, 96, 96)
    assert finding.class_scores == np.float32(finding.witnesses[0])
    assert finding.regions
    assert {region.class_id for region in finding.regions} == {""}


def test_an_evaluation_claims_nothing_of_classes(run, cli):
    told = cli("evaluate", run, "--device", "cpu")
    folder = run / "evaluation" / "test"
    metrics = read_json(folder / "metrics.json")
    assert metrics["class_confusion"] is None
    assert metrics["box"]["map_50"] > 0.5
    assert {name for name, value in metrics["pixel"].items() if value is None} == {
        *("mean_iou", "mean_iou_classes", "iou_by_class", "kaggle_dice", "kaggle_dice_floor")
    }
    assert "of the classes, which the approach does not tell apart" in " ".join(told.err.split())
    assert "labeled class" not in told.err + (folder / "report.html").read_text()
    assert not [name for name in read_csv(folder / "images.csv")[0] if name.startswith("score_")]
    regions = read_csv(folder / "regions.csv")
    by_kind = {
        kind: {(one["class_id"], one["found_class"]) for one in regions if one["kind"] == kind}
        for kind in ("true", "found")
    }
    assert by_kind == {"true": {("1", ""), ("2", "")}, "found": {("", "")}}
    assert metrics["region"]["recall"]["found"] > 0


def test_tables_of_an_inspection_have_no_class(run, dataset_folder, tmp_path, quiet):
    images = Dataset.load(dataset_folder).folder.parent / "Train"
    defectkit.inspect(run, images, out=tmp_path / "out", device="cpu", console=quiet)
    findings = read_csv(tmp_path / "out" / "findings.csv")
    found = [one for one in findings if one["rle"]]
    assert len({one["image_id"] for one in found}) == len(found) > 0  # one mask of each image
    assert {one["class_id"] for one in findings} == {""}
    assert {one["class_id"] for one in read_csv(tmp_path / "out" / "regions.csv")} == {""}


def test_suspects_claim_no_class(run, tmp_path, quiet):
    suspects = defectkit.suspects(run, out=tmp_path / "out", device="cpu", console=quiet)
    by_model = [one for one in suspects if one.kind in ("class", "unlabeled")]
    assert {(one.kind, one.class_id) for one in by_model} <= {("unlabeled", "")}


def test_data_without_any_defect_go_all_the_way(good_alone, tmp_path, cli):
    told = io.StringIO()
    run = train(good_alone, tmp_path / "run", console=Console(file=told, width=300))
    assert "for one pass" in told.getvalue()
    info = read_json(run / "model" / "model.json")
    assert info["classes"] == ["defect"]
    assert info["thresholds"]["rule"] == "above_good"
    assert info["tuning"]["pixel_threshold"] == info["thresholds"]["low"]
    evaluated = cli("evaluate", run, "--device", "cpu")
    assert evaluated.code == 0
    assert "overkills" in evaluated.err
    assert (run / "evaluation" / "test" / "report.html").is_file()
    model = defectkit.load(run, device="cpu")
    for index in range(0, 20, 2):
        image, masks = draw_image(index)
        finding = model.find(image)
        assert finding.score >= model.thresholds.high
        (truth,) = masks.values()
        assert finding.mask[truth].mean() > 0.5


def test_other_approaches_are_refused_and_novelty_is_suggested(good_alone, tmp_path):
    with pytest.raises(DatasetError, match="no defective image.*Use --approach novelty"):
        train_tiny(good_alone, tmp_path / "run")


def test_a_run_is_the_same_again_and_when_resumed(run, dataset_folder, tmp_path):
    again = train(dataset_folder, tmp_path / "run")
    weights = "model/model.safetensors"
    assert sha256_file(again / weights) == sha256_file(run / weights)
    model = again / "model" / "model.json"
    defectkit.evaluate(again, split="val", max_escape_rate=0.5)
    chosen = model.read_bytes()
    train(dataset_folder, again, resume=True)
    assert model.read_bytes() == chosen  # it is finished: what was chosen since then stays
    (again / weights).unlink()
    train(dataset_folder, again, resume=True)
    assert sha256_file(again / weights) == sha256_file(run / weights)


def test_large_images_are_inspected_in_tiles(run):
    model = defectkit.load(run, device="cpu")
    image = np.tile(draw_image(1)[0], (2, 3))
    image[100:130, 150:190] = 230
    config = load_config(None, ["approach=novelty", "infer.tile=96", "infer.overlap=32"])
    tiled = build_approach(config, classes=model.approach.classes, channels=1)
    whole, parts = (
        one.find(model.network, [image[..., None]])[0] for one in (model.approach, tiled)
    )
    assert whole.score_map.shape == parts.score_map.shape == (1, 192, 288)
    assert not np.array_equal(whole.score_map, parts.score_map)
    for finding in (whole, parts):
        assert np.unravel_index(finding.defect_map.argmax(), (192, 288)) > (90, 140)
        assert finding.defect_map[105:125, 155:185].min() > 0.5


def test_nothing_is_found_outside_of_the_scope(run):
    model = defectkit.load(run, device="cpu")
    image, masks = draw_image(0)
    (truth,) = masks.values()
    finding = model.find(image, Scope(roi=~truth))
    assert not finding.score_map[:, truth].any()
