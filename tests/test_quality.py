"""The benchmark scores as ``evaluate`` does, compares as it says, and runs from end to end."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.deployment.bundle import TrainedModel
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.ranking import auroc, average_precision
from defectkit.evaluation.region_matching import match_regions, region_metrics
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.pipelines import synth
from defectkit.regions import label_regions

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("a", "b")
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def quality(benchmark_module):
    return SimpleNamespace(
        scores=benchmark_module("quality_scores"),
        table=benchmark_module("quality_table"),
        predictions=benchmark_module("competitors.predictions"),
    )


@pytest.fixture
def competitors(monkeypatch):
    """The modules of ``benchmarks/competitors``, by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "competitors"))
    return importlib.import_module


def draw_image(rng, *, defective):
    """Probabilities, truth and mask of an image with blocks of 4x4 pixels."""
    blocks = (2, 6, 5)
    truth = rng.random(blocks) < (0.15 if defective else 0.0)
    logits = 3 * truth + rng.normal(-2, 1.5, blocks)
    probabilities, truth = (
        np.kron(layer, np.ones((1, 4, 4))) for layer in (1 / (1 + np.exp(-logits)), truth)
    )
    return probabilities.astype(np.float32), truth.astype(np.uint8)


def result_of(quality, images, *, threshold=0.7, groups=None):
    """A result of ``score`` for pairs of probabilities and truth, without files."""
    rows = []
    for number, (probabilities, masks) in enumerate(images):
        truth = LabeledTruth(masks, CLASSES)
        prediction = quality.predictions.ImagePrediction(
            probabilities=probabilities,
            mask=probabilities.max(axis=0) >= THRESHOLD,
            score=float(probabilities.max()),
        )
        rows.append(
            {
                "image_id": str(number),
                "group": groups[number] if groups else str(number),
                "defective": bool(masks.any()),
                "score": prediction.score,
                **quality.scores.count_pixels(prediction, truth, THRESHOLD),
                **quality.scores.count_regions(prediction, truth),
            }
        )
    facts = {"epochs": 3, "ms_per_image": 10.0}
    about = {"commit": "abc1234", "date": "2026-11-26", "machine": "2 processors (some)"}
    content = {"classes": list(CLASSES), "thresholds": [threshold, threshold], "images": rows}
    content |= {"pixel_ap": 0.5, "facts": facts, "max_time": "25m", "processors": 1, **about}
    return quality.scores.Scores(json.loads(json.dumps(content)))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [draw_image(rng, defective=number % 2 == 0) for number in range(24)]


def ones(count):
    return np.ones((1, count), np.int64)


def test_predictions_are_read_as_they_were_written(quality, images, tmp_path):
    writer = quality.predictions.Writer(tmp_path)
    for number, (probabilities, masks) in enumerate(images[:3]):
        one = quality.predictions.ImagePrediction(
            probabilities=probabilities, mask=masks[0] != 0, score=0.1 * number
        )
        writer.add(f"{number}.png", one)
    writer.finish(classes=CLASSES, pixel_threshold=0.5, thresholds=(0.2, 0.3), epochs=4)
    read = list(quality.predictions.read_predictions(tmp_path))
    assert [image_id for image_id, _ in read] == ["0.png", "1.png", "2.png"]
    for number, (_, one) in enumerate(read):
        probabilities, masks = images[number]
        assert one.probabilities.dtype == np.float32
        logits = [np.log(p / (1 - p)) for p in (one.probabilities, probabilities)]
        assert np.abs(logits[0] - logits[1]).max() <= quality.predictions.STEP / 2 + 1e-5
        assert np.array_equal(one.mask, masks[0] != 0)
        assert one.score == 0.1 * number
    assert quality.predictions.read_head(tmp_path)["facts"] == {"epochs": 4}


def test_certain_probabilities_can_be_written(quality, tmp_path):
    writer = quality.predictions.Writer(tmp_path)
    certain = np.array([[[0.0, 1.0]]], np.float32)
    mask = np.array([[False, True]])
    writer.add(
        "x", quality.predictions.ImagePrediction(probabilities=certain, mask=mask, score=1.0)
    )
    writer.finish(classes=["a"], pixel_threshold=0.5, thresholds=(0.5, 0.5))
    [(_, one)] = quality.predictions.read_predictions(tmp_path)
    assert one.probabilities == pytest.approx(certain, abs=1e-6)


@pytest.mark.parametrize("pixel_threshold", [0.0, 1e-9, 0.3, 0.5003, 0.97, 1.0])
def test_pixels_that_reach_the_threshold_still_do_when_both_are_rounded(
    quality, tmp_path, pixel_threshold
):
    writer = quality.predictions.Writer(tmp_path)
    exact = np.full((1, 1, 1), pixel_threshold, np.float32)
    mask = np.array([[True]])
    writer.add("x", quality.predictions.ImagePrediction(probabilities=exact, mask=mask, score=1.0))
    writer.finish(classes=["a"], pixel_threshold=pixel_threshold, thresholds=(0.5, 0.5))
    [(_, one)] = quality.predictions.read_predictions(tmp_path)
    threshold = quality.predictions.read_head(tmp_path)["pixel_threshold"]
    assert (one.probabilities >= threshold).all()
    assert threshold == pytest.approx(pixel_threshold, abs=0.003)


COUNTED = np.zeros((40, 40), bool)
COUNTED[:20] = True


@pytest.mark.parametrize(("top", "score"), [(4, 1.0), (30, 0.0)])
def test_the_script_scores_an_image_by_the_pixels_that_count(competitors, top, score):
    script = competitors("script")
    found = np.zeros((2, 40, 40), np.float32)
    found[1, top : top + 8, 4:36] = 1.0
    for counted in (None, COUNTED):
        probabilities, value = script.predict_image(lambda _: found, None, counted)
        expected = 1.0 if counted is None else score
        assert value == pytest.approx(expected, abs=0.05)
        assert probabilities.max() == expected


@pytest.mark.parametrize(("top", "score"), [(4, 0.9), (30, 0.0)])
def test_mask_rcnn_scores_an_image_by_the_detections_that_count(competitors, top, score):
    masks = torch.zeros(1, 1, 40, 40)
    masks[..., top : top + 8, 4:36] = 1.0
    masks[..., 10, 10] = max(masks[..., 10, 10], 0.1)  # a trace is no pixel of the mask
    found = {"labels": torch.tensor([2]), "scores": torch.tensor([0.9]), "masks": masks}
    image = np.zeros((40, 40, 3), np.uint8)
    for counted in (None, COUNTED):
        probabilities, value = competitors("mask_rcnn").predict(
            lambda _: [found], image, counted, classes=2
        )
        expected = 0.9 if counted is None else score
        assert (value, probabilities.max()) == pytest.approx((expected, expected))


def test_predictions_of_scripts_are_asked_for_the_pixels_that_count(
    competitors, dataset_folder, tmp_path, monkeypatch
):
    """On validation, where the thresholds are chosen, and on test."""
    asked = []

    def predict(image, counted):
        asked.append(counted)
        return np.full((2, *image.shape[:2]), 0.5, np.float32), 0.5

    scope = Scope(roi=np.ones((96, 96), bool))
    monkeypatch.setattr(ImageRecord, "read_scope", lambda _: scope)
    peers, dataset = competitors("peers"), Dataset.load(dataset_folder)
    peers.write_predictions(peers.Job(dataset, tmp_path, 1.0, 0), predict)
    assert len(asked) == len(dataset.split("val")) + len(dataset.split("test"))
    assert all(counted is scope.counted for counted in asked)


def test_metrics_are_those_of_evaluate(quality, images):
    scores = result_of(quality, images, threshold=0.0)
    pixels = PixelMetrics(classes=CLASSES, threshold=THRESHOLD)
    matches = []
    for number, (probabilities, masks) in enumerate(images):
        truth = LabeledTruth(masks, CLASSES)
        pixels.update(probabilities, truth)
        finding = Finding(
            score_map=probabilities,
            region_map=label_regions(probabilities.max(axis=0) >= THRESHOLD)[0],
            regions=(),
            score=float(probabilities.max()),
            class_scores=probabilities.max(axis=(1, 2)),
        )
        matches += match_regions(finding, truth, image_id=str(number))
    wanted, counts = pixels.result(), ones(len(images))
    region = region_metrics(
        matches, {str(n): bool(masks.any()) for n, (_, masks) in enumerate(images)}
    )
    defective, values = scores.defective, scores.scores
    assert scores.dice(counts)[0] == pytest.approx(wanted["dice"])
    assert scores.mean_iou(counts)[0] == pytest.approx(wanted["mean_iou"])
    ious = dict(zip(CLASSES, scores.iou_by_class(counts)[0], strict=True))
    assert ious == pytest.approx(wanted["iou_by_class"])
    assert scores.pixel_ap(counts)[0] == pytest.approx(wanted["average_precision"], abs=0.01)
    assert scores.image_ap(counts)[0] == pytest.approx(average_precision(defective, values))
    assert scores.auroc(counts)[0] == pytest.approx(auroc(defective, values))
    recall = region["recall"]
    assert 0 < recall["found"] < recall["total"]
    assert scores.region_recall(counts)[0] == pytest.approx(recall["value"])
    in_good = [m for m in matches if m.kind == "false_alarm" and not defective[int(m.image_id)]]
    assert in_good
    assert scores.false_alarms(counts)[0] == pytest.approx(len(in_good) / np.sum(~defective))


@pytest.mark.parametrize(("covered", "found"), [(3, False), (4, True)])
def test_a_tenth_of_a_region_must_be_covered(quality, covered, found):
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[0, :5] = 1
    mask = np.zeros((8, 8), bool)
    mask[0, :covered] = True
    assert quality.scores.match_mask(mask, LabeledTruth(masks, CLASSES)) == ([found], 0)


def test_drawing_an_image_twice_is_having_it_twice(quality, images):
    counts = np.array([[0, 2, 1, 3] * 6])
    scores = result_of(quality, images)
    repeated = [image for image, count in zip(images, counts[0], strict=True) for _ in range(count)]
    other = result_of(quality, repeated)
    for metric in quality.scores.METRICS:
        value = metric.function(scores, counts)[0]
        assert value == pytest.approx(metric.function(other, ones(len(repeated)))[0]), metric.name


def test_pixels_that_do_not_count_are_left_out(quality):
    probabilities, masks = np.full((2, 8, 8), 0.9, np.float32), np.zeros((2, 8, 8), np.uint8)
    masks[0, :4] = 1
    inspected = np.zeros((8, 8), bool)
    inspected[:4] = True
    truth = LabeledTruth(masks, CLASSES, Scope(roi=inspected))
    prediction = quality.predictions.ImagePrediction(
        probabilities=probabilities, mask=probabilities[0] >= THRESHOLD, score=0.9
    )
    counted = quality.scores.count_pixels(prediction, truth, THRESHOLD)
    assert counted["areas"] == [[32, 0, 32], [32, 0, 32], [32, 0, 32]]
    assert counted["negative"] == [[], []]
    masks[0] = 0
    truth = LabeledTruth(masks, CLASSES, Scope(roi=~inspected))
    lower_half = quality.predictions.ImagePrediction(
        probabilities=probabilities, mask=inspected, score=0.9
    )
    assert quality.scores.count_regions(lower_half, truth)["false_alarms"] == 0


def test_regions_of_images_that_are_called_good_do_not_count(quality, images):
    counts = ones(len(images))
    shown, hidden = (result_of(quality, images, threshold=value) for value in (0.0, 1.0))
    assert shown.region_recall(counts)[0] > 0
    assert shown.false_alarms(counts)[0] > 0
    assert hidden.region_recall(counts)[0] == 0
    assert hidden.false_alarms(counts)[0] == 0
    assert hidden.all_false_alarms(counts)[0] == shown.false_alarms(counts)[0]
    assert hidden.escapes == np.sum(hidden.defective)
    assert not any(found for *_, found in hidden.regions())
    assert any(found for *_, found in hidden.regions(listed=False))


def test_recall_is_searched_up_to_the_allowed_false_alarms(quality):
    """A defect of 0.6 and one of 0.9; half of the good images have a mark of 0.8."""
    images = []
    for probability, defective in ((0.9, True), (0.6, True), *[(0.8, False), (0.1, False)] * 2):
        masks = np.zeros((2, 12, 12), np.uint8)
        masks[0, 4:8, 4:8] = defective
        layer = np.full((12, 12), 0.01, np.float32)
        layer[4:8, 4:8] = probability
        images.append((np.stack([layer, layer / 2]), masks))
    every = result_of(quality, images, threshold=0.0)
    assert every.recall_at_false_alarms(ones(6))[0] == 0.5
    # Where the images with the mark are never drawn, both defects are found.
    assert every.recall_at_false_alarms(np.array([[1, 1, 0, 1, 0, 1]]))[0] == 1.0
    # Without a good image nothing is known.
    assert np.isnan(every.recall_at_false_alarms(np.array([[1, 1, 0, 0, 0, 0]]))[0])


def test_a_result_does_not_differ_from_itself(quality, images):
    scores = result_of(quality, images)
    for metric in quality.scores.METRICS:
        found = quality.table.compare({0: scores}, {0: scores}, metric, "itself")
        assert (found.value, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def worse(images, wrong):
    """The same with the probabilities of the images ``wrong`` mirrored."""
    return [
        (1 - probabilities, masks) if number in wrong else (probabilities, masks)
        for number, (probabilities, masks) in enumerate(images)
    ]


def quiet(images):
    """The same without anything found in good images."""
    return [(p if masks.any() else np.full_like(p, 0.01), masks) for p, masks in images]


@pytest.mark.parametrize(
    ("name", "better", "poorer"),
    [
        ("Pixels: Dice", list, lambda images: worse(images, range(0, 24, 3))),
        ("Regions: false alarms a good image", quiet, list),
    ],
)
def test_what_is_better_is_ahead(quality, images, name, better, poorer):
    metric = next(metric for metric in quality.scores.METRICS if metric.name == name)
    good, bad = ({0: result_of(quality, change(images))} for change in (better, poorer))
    ahead = quality.table.compare(good, bad, metric, "x")
    behind = quality.table.compare(bad, good, metric, "x")
    assert ahead.value == -behind.value > 0
    assert ahead.ratio < 1
    assert ahead.interval[0] > 0 > behind.interval[1]
    assert ahead.p_value == behind.p_value < 0.01


def test_groups_are_drawn_and_not_images(quality, images):
    """Each image three times is no more evidence than once, where the three are one group."""
    counts = [number for number in range(len(images)) for _ in range(3)]
    dice = next(m for m in quality.scores.METRICS if m.name == "Pixels: Dice")
    widths = []
    for groups in (None, [str(number) for number in counts]):
        pair = [
            result_of(quality, [some[number] for number in counts], groups=groups)
            for some in (images, worse(images, (0, 6)))
        ]
        low, high = quality.table.compare({0: pair[0]}, {0: pair[1]}, dice, "x").interval
        widths.append(high - low)
    assert widths[1] > 1.4 * widths[0]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        *(("Images: average precision", 3), ("Images: AUROC", 3)),
        *(("Pixels: average precision", 3), ("Pixels: Dice", 3)),
        *(("Pixels: mean IoU of the classes", 3), ("Regions: found", 3)),
        ("Regions: found at ≤ 0.3 false alarms a good image", 3),
        ("Regions: false alarms a good image", 12),
    ],
)
def test_no_p_value_is_smaller_than_the_groups_of_a_metric_allow(
    quality, images, monkeypatch, name, groups
):
    """Images with even numbers are defective: they are of 3 groups, in both seeds the same."""
    monkeypatch.setattr(quality.table, "two_sided_p", lambda _: 1e-9)
    names = [f"bad {number % 3}" if number % 2 == 0 else str(number) for number in range(24)]
    one, other = (result_of(quality, some, groups=names) for some in (images, worse(images, [0])))
    metric = next(metric for metric in quality.scores.METRICS if metric.name == name)
    found = quality.table.compare({0: one, 1: one}, {0: other, 1: other}, metric, "x")
    assert found.p_value == 2.0 ** (1 - groups)


def test_a_value_that_some_seeds_lack_is_the_mean_of_the_others(quality, images):
    known, unknown = (result_of(quality, some) for some in (images, images[::2]))
    other = result_of(quality, worse(images, [0]))
    auroc = [float(one.auroc(ones(24))[0]) for one in (known, other)]
    results = {"segment": {0: known, 1: unknown, 2: other}, "patch": {0: known, 1: unknown}}
    text = quality.table.section("some", results, peers=["patch"])
    row = next(line for line in text.splitlines() if line.startswith("| Images: AUROC"))
    assert row == (
        f"| Images: AUROC | {np.mean(auroc):.3f} (2 of 3 seeds) ± {np.std(auroc, ddof=1):.3f}"
        f"<br>{auroc[0]:.3f} - {auroc[1]:.3f} | {auroc[0]:.3f} (1 of 2 seeds) ± -"
        f"<br>{auroc[0]:.3f} - |"
    )


def test_a_script_of_another_commit_is_refused(benchmark_module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quality.py", "data", "--competitors", "script@c83d1f2"])
    with pytest.raises(SystemExit):
        benchmark_module("quality").read_options()
    told = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "script@c83d1f2: a script is that of this checkout: name it script" in told
    monkeypatch.setattr(sys, "argv", ["quality.py", "data", "--competitors", "segment@c83d1f2"])
    assert benchmark_module("quality").read_options().competitors == ["segment@c83d1f2"]


def test_a_setting_needs_the_run_that_is_trained_without_it(benchmark_module, monkeypatch, capsys):
    names = ["fast:infer.flip=true@c83d1f2", "fast@c83d1f2"]
    monkeypatch.setattr(sys, "argv", ["quality.py", "data", "--competitors", names[0], "fast"])
    quality = benchmark_module("quality")
    with pytest.raises(SystemExit):
        quality.read_options()
    told = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert f"{names[0]}: name {names[1]} too, which is trained" in told
    monkeypatch.setattr(sys, "argv", ["quality.py", "data", "--competitors", *names])
    assert quality.read_options().competitors == names
    job, trained = (quality.Job(name, 1, Path("out"), "25m", 1) for name in names)
    assert (job.setting, job.trained) == ("infer.flip=true", trained)
    assert (trained.setting, trained.trained) == ("", trained)


@pytest.mark.slow
def test_another_setting_has_the_same_weights_and_thresholds_of_its_own(
    competitors, run_folder, dataset_folder, tmp_path
):
    ours, out = competitors("ours"), tmp_path / "mirrored"
    epochs = ours.change_setting(run_folder, "infer.flip=true", dataset_folder, out)
    assert epochs == len((run_folder / "history.csv").read_text().splitlines()) - 1
    trained, mirrored = (TrainedModel.load(run, device="cpu") for run in (run_folder, out))
    weights, same = trained.network.state_dict(), mirrored.network.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert (trained.approach.config.infer.flip, mirrored.approach.config.infer.flip) == (
        False,
        True,
    )
    assert mirrored.thresholds != trained.thresholds


def test_the_table_shows_what_is_there(quality, images):
    good, bad = result_of(quality, images), result_of(quality, worse(images, range(0, 24, 3)))
    results = {"segment": {0: good, 1: good}, "script": {0: bad}}
    text = quality.table.section("some, 25m", results, peers=["script"])
    dice = good.dice(ones(len(images)))[0]
    assert f"{dice:.3f} ± 0.000<br>{dice:.3f} {dice:.3f}" in text
    assert "### segment beside the others" in text
    assert "### script beside the others" not in text
    assert "**▲**" in text
    assert "**▼**" not in text
    assert "| script | abc1234 | 2026-11-26 | 0 | 3 | 10 |" in text
    assert all(line.count("|") == 4 for line in text.splitlines() if line.startswith("| … class"))


def test_marks_are_of_corrected_p_values(quality, images, monkeypatch):
    good, bad = result_of(quality, images), result_of(quality, worse(images, range(0, 24, 3)))
    monkeypatch.setattr(quality.table, "holm", lambda p_values: [1.0] * len(p_values))
    results = {"segment": {0: good}, "script": {0: bad}}
    assert "**▲**" not in quality.table.section("some", results, peers=["script"])


def test_results_of_other_images_are_refused(quality, images):
    metric = quality.scores.METRICS[0]
    pair = [{0: result_of(quality, some)} for some in (images, images[1:])]
    with pytest.raises(ValueError, match="of different images: remove the older"):
        quality.table.compare(*pair, metric, "x")


@pytest.mark.slow
def test_from_end_to_end(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("model: {weights: none}\ndata: {crop: 64, workers: 0}\n", encoding="utf-8")
    table = tmp_path / "quality.md"
    competitors = (str(config), "script", "script_crops", "mask_rcnn")
    ended = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "quality.py", "--smoke", "--table", table),
            *("--competitors", *competitors),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    text = table.read_text(encoding="utf-8")
    assert all(f"| {name} | " in text for name in competitors)


@pytest.mark.parametrize("new_split", [False, True])
def test_a_given_split_is_followed_unless_a_new_one_is_asked_for(
    benchmark_module, tmp_path, new_split
):
    quality = benchmark_module("quality")
    source, names = tmp_path / "source", [f"{number:04}.png" for number in range(20)]
    synth.run(source, images=20, size=128, console=Console(quiet=True))
    rows = "".join(f"{name},{'test' if name < '0015' else 'train'}\n" for name in names)
    (source / "images.csv").write_text("ImageId,split\n" + rows)
    quality.prepare(source, tmp_path / "dataset", 0, new_split=new_split)
    records = Dataset.load(tmp_path / "dataset").records
    given = {record.image_id: record.split for record in records}
    assert (sum(split == "test" for split in given.values()) == 15) is not new_split
