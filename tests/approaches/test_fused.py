import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import ndimage
from small_sources import draw_image
from tiny_training import train_tiny

import defectkit
from defectkit.approaches.box_findings import make_box_finding
from defectkit.approaches.fused import REACH
from defectkit.approaches.image_mix import ImageMix, add_novelty
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.errors import ModelError
from defectkit.evaluation.calibration import choose_novelty_threshold
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import predict
from defectkit.evaluation.ranked_boxes import ranked_boxes
from defectkit.evaluation.region_matching import class_confusion, match_regions
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge
from defectkit.files import read_csv, read_json, sha256_file
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.models.weights import read_weights
from defectkit.regions import Region, label_regions
from defectkit.reporting.inspection_tables import InspectionTables, rows_of

SMALL = ("novelty.bank=200", "model.weights=auto")


def fuse(data, out, run, **options):
    settings = (*SMALL, f"novelty.fuse={run}")
    return train_tiny(data, out, *settings, approach="novelty", **options).run


@pytest.fixture(scope="module")
def run(dataset_folder, run_folder, tmp_path_factory):
    """The tiny U-Net and novelty in one model, without the run that it was taken from."""
    folder = tmp_path_factory.mktemp("fused")
    earlier = shutil.copytree(run_folder, folder / "earlier")
    fused = fuse(dataset_folder, folder / "fused", earlier)
    shutil.rmtree(earlier)
    return fused


@pytest.fixture
def model(run):
    return defectkit.load(run, device="cpu")


@pytest.fixture
def earlier(run_folder):
    return defectkit.load(run_folder, device="cpu")


@pytest.fixture
def blind(model):
    """The fused model with a U-Net that gives every pixel a score of 0."""
    head = model.network.trained.body.segmentation_head[0]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-200.0)
    return model


def test_a_place_is_found_that_the_trained_approach_gives_0(blind):
    for index in range(0, 20, 2):
        image, masks = draw_image(index)
        (truth,) = masks.values()
        own = blind.approach.trained.find(blind.network.trained, [image[..., None]])[0]
        assert not own.score_map.any()
        finding = blind.find(image)
        assert finding.mask[truth].mean() > 0.5
        assert max(region.score for region in finding.regions) == pytest.approx(
            finding.score_map.max(), abs=0.2
        )
        assert finding.score_map[:, truth].max() >= blind.approach.tuning.pixel_threshold
        assert finding.class_scores.max() >= blind.approach.tuning.pixel_threshold
        # The U-Net tells no class there, and so does nothing else.
        assert {region.class_id for region in finding.regions} == {""}
        np.testing.assert_array_equal(*finding.score_map)
        assert np.unique(finding.region_map).tolist() == [*range(len(finding.regions) + 1)]


def test_what_the_trained_approach_finds_stays_as_it_is(model, earlier):
    n_found = 0
    for index in range(20):
        image, _ = draw_image(index)
        known, fused = earlier.find(image), model.find(image)
        n_known = len(known.regions)
        n_found += n_known
        assert fused.regions[:n_known] == known.regions
        np.testing.assert_array_equal(fused.region_map[known.mask], known.region_map[known.mask])
        assert (fused.score_map >= known.score_map).all()
        assert (fused.class_scores >= known.class_scores).all()
        for row, column in np.argwhere(known.mask)[:1]:
            near = (slice(max(row - REACH, 0), row + REACH + 1), slice(column, column + 1))
            np.testing.assert_array_equal(fused.score_map[:, *near], known.score_map[:, *near])
    assert n_found > 3


def test_novel_places_are_added_beyond_the_reach_of_what_is_known(model):
    image = np.concatenate([draw_image(index)[0] for index in (0, 2, 4)], axis=1)[..., None]
    approach, network = model.approach, model.network
    (known,) = approach.trained.find(network.trained, [image])
    tuning = Tuning(pixel_threshold=float(known.defect_map.max()), novelty_threshold=0.9)
    trained = replace(approach.trained, tuning=tuning)  # finds its highest score alone
    (known,) = trained.find(network.trained, [image])
    (novel,) = approach.novelty.find(network.novelty, [image])
    (fused,) = replace(approach, trained=trained, tuning=tuning).find(network, [image])
    beyond = ndimage.distance_transform_cdt(~known.mask, "chessboard") > REACH
    added_map, added = label_regions((novel.defect_map >= 0.9) & beyond)
    assert len(known.regions) == 1
    assert len(added) > 0
    assert [one.box_xywh for one in fused.regions[1:]] == [one.box_xywh for one in added]
    np.testing.assert_array_equal(
        fused.region_map, np.where(added_map > 0, added_map + 1, known.region_map)
    )
    np.testing.assert_array_equal(fused.score_map[:, ~beyond], known.score_map[:, ~beyond])


def test_what_good_validation_images_rarely_reach_is_novel(model, earlier, dataset_folder):
    records = Dataset.load(dataset_folder).split("val")
    known = [earlier.find(record.path).score for record in records]
    fused = [model.find(record.path) for record in records]
    defective = [record.defective for record in records]
    novelty, network = model.approach.novelty, model.network.novelty
    images = [record.read_image(1) for record in records]
    novelties = [novelty.find(network, [image])[0].score for image in images]
    threshold = model.approach.tuning.novelty_threshold
    assert threshold == pytest.approx(choose_novelty_threshold(novelties, defective))
    scores = [add_novelty(k, n, threshold) for k, n in zip(known, novelties, strict=True)]
    assert [one.score for one in fused] == pytest.approx(scores)
    assert model.thresholds.low == pytest.approx(choose_thresholds(scores, defective)[0].low)
    assert max(n for n, bad in zip(novelties, defective, strict=True) if not bad) <= threshold
    assert min(n for n, bad in zip(novelties, defective, strict=True) if bad) > threshold


def test_all_else_is_tuned_as_before(model, earlier):
    added = {"novelty_threshold": model.approach.tuning.novelty_threshold, "image_mix": ImageMix()}
    assert model.approach.tuning == earlier.approach.tuning.model_copy(update=added)
    assert "tuning_warnings" in model.info
    assert not model.info["tuning_warnings"]


def test_validation_is_of_the_model_that_is_written(run, model, dataset_folder):
    pixels = PixelMetrics(
        classes=model.approach.found_classes, threshold=model.approach.tuning.pixel_threshold
    )
    for one in predict(model.approach, model.network, Dataset.load(dataset_folder).split("val")):
        pixels.update(one.finding.score_map, one.truth)
    told, expected = model.info["validation"], pixels.result()
    assert told["pixel_average_precision"] == pytest.approx(expected["average_precision"])
    assert told["dice"] == pytest.approx(expected["dice"])
    (row,) = read_csv(run / "history.csv")
    assert float(row["val_dice"]) == pytest.approx(told["dice"], abs=1e-4)


def test_the_novelty_threshold_becomes_the_pixel_threshold(blind):
    image, _ = draw_image(0)
    (novel,) = blind.approach.novelty.find(blind.network.novelty, [image[..., None]])
    tuning = blind.approach.tuning
    is_novel = novel.defect_map >= tuning.novelty_threshold
    found = blind.find(image).defect_map >= tuning.pixel_threshold
    assert is_novel.any()
    assert np.count_nonzero(is_novel != found) < 10  # by rounding


def test_without_a_threshold_the_map_is_that_of_the_trained_approach(model, earlier):
    untuned = replace(model.approach, tuning=UNTUNED)
    image, _ = draw_image(0)
    (finding,) = untuned.find(model.network, [image[..., None]])
    known = earlier.find(image)
    np.testing.assert_array_equal(finding.score_map, known.score_map)
    assert finding.regions == known.regions
    assert finding.score == pytest.approx(known.score)


def test_nothing_is_found_outside_of_the_scope(blind):
    image, masks = draw_image(0)
    (truth,) = masks.values()
    for scope in (Scope(roi=~truth), Scope(ignored=truth)):
        finding = blind.find(image, scope)
        assert not finding.score_map[:, truth].any()
        assert not finding.mask[truth].any()


def test_the_model_needs_nothing_of_the_earlier_run(run, earlier, tmp_path, cli):
    moved = shutil.copytree(run / "model", tmp_path / "elsewhere" / "model")
    model, image = defectkit.load(moved, device="cpu"), draw_image(0)[0]
    trained = model.approach.trained
    assert trained.tuning == earlier.approach.tuning
    np.testing.assert_array_equal(
        trained.find(model.network.trained, [image[..., None]])[0].score_map,
        earlier.find(image).score_map,
    )
    write_png(tmp_path / "image.png", image)
    inspected = cli("inspect", moved, tmp_path / "image.png", "--out", tmp_path / "out")
    assert inspected.code == 0, inspected.err
    (row,) = read_csv(tmp_path / "out" / "findings.csv")[:1]
    assert float(row["score"]) == pytest.approx(model.find(image).score, abs=1e-4)


def test_the_earlier_run_is_known_by_its_identity(model, run_folder):
    identity = read_json(run_folder / "run.json")["identity"]
    assert model.approach.trained_run == model.info["trained"]["run"] == identity


@pytest.mark.parametrize("damaged", [None, "model.safetensors", "model.json"])
def test_a_finished_run_is_resumed_without_the_earlier_one(
    run, dataset_folder, tmp_path, monkeypatch, damaged
):
    copied = shutil.copytree(run, tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    if damaged:
        (copied / "model" / damaged).unlink()
    summary = defectkit.train(data=dataset_folder, out=copied, device="cpu", resume=True)
    assert summary.run == copied
    for name in ("model.safetensors", "model.json"):
        assert sha256_file(copied / "model" / name) == sha256_file(run / "model" / name)


def test_an_unfinished_run_needs_the_earlier_one(run, dataset_folder, tmp_path):
    copied = shutil.copytree(run, tmp_path / "copied")
    shutil.rmtree(copied / "model")
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(ModelError, match=r"earlier does not exist\. Check the path"):
        defectkit.train(data=dataset_folder, out=copied, device="cpu", resume=True)


def test_a_fused_model_is_no_start_for_an_encoder(run):
    with pytest.raises(ModelError, match=r"is fused of two networks, .* Give the run that novelty"):
        read_weights(str(run))


@pytest.mark.slow
def test_it_is_evaluated_and_compared_like_any_run(run, run_copy, cli, tmp_path):
    compared = cli("compare", run, run_copy, "--out", tmp_path / "out", "--device", "cpu")
    assert compared.code == 0, compared.err
    metrics = read_json(run / "evaluation" / "test" / "metrics.json")
    assert metrics["class_confusion"]["classes"] == ["1", "2"]
    fused, _ = read_csv(tmp_path / "out" / "comparison.csv")
    assert (fused["approach"], fused["network"]) == ("novelty + segment", "patch_core + unet")
    report = (run / "evaluation" / "test" / "report.html").read_text()
    assert "novelty + segment" in report
    assert "patch_core + unet" in report


def test_a_finished_run_is_the_same_again(run, run_folder, dataset_folder, tmp_path):
    told = io.StringIO()
    again = fuse(
        dataset_folder, tmp_path / "run", run_folder, console=Console(file=told, width=300)
    )
    assert f"fused with {run_folder}: segment, epoch" in told.getvalue()
    assert "novelty + segment: patch_core on " in told.getvalue()
    assert " + unet on " in told.getvalue()
    weights = "model/model.safetensors"
    assert sha256_file(again / weights) == sha256_file(run / weights)


@pytest.mark.slow
def test_boxes_of_a_detector_stay(dataset_folder, tmp_path):
    box = train_tiny(dataset_folder, tmp_path / "box", "train.epochs=1", approach="box").run
    model = defectkit.load(fuse(dataset_folder, tmp_path / "fused", box), device="cpu")
    detector = defectkit.load(box, device="cpu")
    for index in (0, 2):
        image, _ = draw_image(index)
        known, fused = detector.find(image), model.find(image)
        n_known, n_detections = len(known.regions), len(known.detections)
        assert fused.regions[:n_known] == known.regions
        assert fused.detections[:n_detections] == known.detections
        assert fused.detections[n_detections:] == fused.regions[n_known:]


BOX = Region(class_id="2", score=0.9, box_xywh=(2, 3, 4, 5), area=20)


@pytest.fixture
def beside_a_box(model):
    """What is found beside the box of a detector, whose scores are 0 outside of it."""
    image = np.concatenate([draw_image(index)[0] for index in (0, 2)], axis=1)[..., None]
    (novel,) = model.approach.novelty.find(model.network.novelty, [image])
    tuning = Tuning(novelty_threshold=0.9)
    known = make_box_finding([BOX], ("1", "2"), image.shape[:2], tuning=tuning)
    return replace(model.approach, tuning=tuning)._fuse(known, novel, EVERYWHERE)


def test_novel_places_beside_boxes_have_a_mask_but_no_class(beside_a_box):
    first, *added = beside_a_box.regions
    assert first == BOX
    assert added
    assert beside_a_box.detections == beside_a_box.regions
    for number, one in enumerate(added, start=2):
        assert one.class_id == ""
        np.testing.assert_array_equal(one.mask, beside_a_box.region_map[one.window] == number)
        np.testing.assert_array_equal(*beside_a_box.score_map[:, *one.window][:, one.mask])


def test_boxes_of_novel_places_are_ranked_by_their_class(beside_a_box):
    tuning = Tuning(novelty_threshold=0.9)
    assert ranked_boxes(beside_a_box, ("1", "2"), tuning) == [BOX]
    named = tuple(replace(one, class_id="2") for one in beside_a_box.regions)
    finding = replace(beside_a_box, regions=named, detections=named)
    assert ranked_boxes(finding, ("1", "2"), tuning) == list(named)


def test_what_is_found_without_a_class_is_found_but_not_confused(beside_a_box):
    true = np.stack([np.zeros_like(beside_a_box.mask), beside_a_box.mask])
    truth = LabeledTruth(true, ("1", "2"))
    matches = match_regions(beside_a_box, truth, image_id="a.png")
    found = [one for one in matches if one.kind == "true"]
    assert all(one.found for one in found)
    n_added = len(beside_a_box.regions) - 1
    assert sorted(one.found_class for one in found) == [*[""] * n_added, "2"]
    assert class_confusion(matches, ("1", "2"))["counts"] == [[0, 0, 0], [0, 1, 0]]
    pixels = PixelMetrics(classes=("1", "2"), threshold=0.5)
    pixels.update(beside_a_box.score_map, truth)
    result = pixels.result()
    assert result["dice"] == pytest.approx(1.0, abs=0.01)
    assert result["iou_by_class"]["1"] is None
    assert result["iou_by_class"]["2"] == pytest.approx(BOX.area / true.sum())


def test_tables_have_what_is_found_without_a_class(beside_a_box, tmp_path):
    judgment = judge(0.9, Thresholds(low=0.5, high=0.5, rule="f1"))
    with InspectionTables(tmp_path) as tables:
        tables.add(rows_of("a.png", judgment, beside_a_box, ("1", "2")))
    assert [row["class_id"] for row in read_csv(tmp_path / "findings.csv")] == ["", "2"]
    classes = [row["class_id"] for row in read_csv(tmp_path / "regions.csv")]
    assert classes == [one.class_id for one in beside_a_box.regions]
