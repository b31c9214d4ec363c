import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from untrained import untrained_model

from defectkit.deployment.evaluate_images import Evaluation
from defectkit.deployment.export import export_model
from defectkit.evaluation.thresholds import Thresholds
from defectkit.reporting.evaluation_summary import export_command, print_evaluation

DETECTION = {"n": 40, "a90": 400.4, "a90_95": 1210.0, "missing": ""}


def printed(
    low=0.25, high=0.75, warnings=(), dice=0.5, classes=("1", "2"), pitch=None, lot="",
    overlays="overlays", drift=None, splits=None, export="", **detection
):  # fmt: skip
    metrics = {
        "image": {
            "average_precision": 0.9, "auroc": 0.8, "escapes": 2, "n_defective": 57,
            "overkills": 0, "n_good": 43, "reviews": 5,
        },
        "pixel": {"dice": dice, "average_precision": 0.6, "mean_iou": None,
                  "mean_iou_classes": len(classes)},
        "region": {
            "recall": {"value": 0.75, "found": 30, "total": 40}, "false_alarms_per_image": 0.1,
            "precision": {"value": 0.6, "count": 33, "total": 55},
            "false_alarms_per_good_image": 0.05,
            "good_images_with_false_alarms": {"value": 0.04, "count": 2, "total": 50},
        },
        "detection": {"by_area": {**DETECTION, **detection}},
        "class_confusion": {
            "classes": list(classes), "counts": [[3] * (len(classes) + 1) for _ in classes],
        },
        "box": {"map_50": 0.7},
        "speed": {"ms_per_image_median": 12.5, "device": "cpu"},
        "drift": {"against_validation": drift}, "by_split": splits,
    }  # fmt: skip
    evaluation = Evaluation(
        metrics=metrics,
        images=pd.DataFrame({"image_id": ["a"] * 100}),
        regions=pd.DataFrame(),
        folder=Path("out"),
    )
    console = Console(file=io.StringIO(), width=120)
    thresholds = Thresholds(low=low, high=high, rule="f1")
    print_evaluation(
        console,
        evaluation,
        thresholds,
        warnings,
        pixel_pitch=pitch,
        lot=lot,
        overlays=overlays,
        export=export,
    )
    return " ".join(console.file.getvalue().split())


def test_rates_come_with_counts_and_intervals():
    text = printed()
    assert "100 images" in text
    assert "escapes 2 of 57 (3.5 %, 95 % CI 0.4-12.1 %)" in text
    assert "overkills 0 of 43 (0.0 %" in text
    assert "reviews 5 of 100 (5.0 %" in text
    assert (
        "thresholds 0.2500 and 0.7500, chosen on validation for the best F1 of the verdicts" in text
    )
    assert "30 of 40 defects found" in text
    assert "region precision │ 0.600 │ 33 of 55 listed regions lie on a defect" in text
    assert "... per good image │ 0.050 │ in 2 of 50 good images" in text
    assert "overlays in out/overlays, report in out/report.html" in text
    one = printed(low=0.5, high=0.5)
    assert "reviews" not in one
    assert "threshold 0.5000, chosen on validation for the best F1 of the verdicts" in one


def test_a_few_classes_are_told_apart_in_a_table():
    assert "labeled class │ 1 │ 2 │ missed" in printed().replace("┃", "│")
    for classes in (["1"], map(str, range(9))):
        assert "labeled class" not in printed(classes=list(classes))


def test_how_many_found_defects_got_another_class_is_a_line():
    told = "named as another class: 6 of 12 found defects, most often class [a] as class b"
    assert told in printed(classes=["[a]", "b"])
    assert "another class" not in printed(classes=["1"])


def test_another_lot_is_named_and_its_drift_told():
    drift = {"contrast of good images": {"median": 25.04, "validation_median": 0.31}}
    text = printed(lot="another lot, [b]", drift=drift)
    assert text.startswith("another lot, [b]: not the dataset that the model was trained on")
    told = "medians here and (in validation): contrast of good images 25 (0.31) overlays in"
    assert told in text
    assert "another lot" not in printed(drift=drift)
    assert "medians" not in printed(drift=drift)
    assert "medians" not in printed(lot="another lot")


def test_splits_that_are_evaluated_together_are_told_apart():
    counts = {"escapes": 1, "n_defective": 3, "overkills": 2, "n_good": 9, "reviews": 4}
    splits = {
        "train": {**counts, "average_precision": None}, "val": {**counts, "average_precision": 0.5}
    }  # fmt: skip
    text = printed(splits=splits)
    assert "│ train │ - │ 1 of 3 │ 2 of 9 │ 4 │ 12 │" in text
    assert "│ val │ 0.500 │ 1 of 3" in text


def test_overlays_are_told_as_they_were_drawn():
    assert "3 overlays (some) in out/overlays, report in" in printed(overlays="3 overlays (some)")
    assert "overlays" not in printed(overlays="")


def test_a_metric_without_a_value_is_a_dash():
    assert "mean IoU │ - │" in printed()
    assert "pixel Dice │ 0.500 │" in printed()
    assert "pixel Dice │ - │" in printed(dice=None)


def test_the_mean_over_classes_says_how_many():
    assert "overlap, mean over the 2 classes that are labeled or found" in printed()
    assert "overlap, mean over the 1 class that is labeled or found" in printed(classes=["1"])


def test_warnings_are_printed_as_they_are():
    assert "warning: few [bold] images" in printed(warnings=["few [bold] images"])


def test_the_area_that_is_found_nine_times_in_ten_is_told_where_it_is_known():
    told = "defects of 400 pixels or more are found with 90 %, with a confidence of 95 % those of"
    assert f"{told} 1,210 pixels overlays" in printed()
    assert "400 pixels (4 mm²) or more are found" in printed(pitch=0.1)
    assert "found with 90 %; too few groups" in printed(a90_95=None, missing="too few groups")
    text = printed(a90=None, missing="too few")
    assert "the area from which 90 % of the defects are found cannot be told: too few" in text
    assert "90 %" not in printed(n=0)


def test_the_way_to_less_time_per_image_is_told_last():
    text = printed(export="defectkit export 'my [run]'")
    assert text.endswith("report.html next, for less time per image: defectkit export 'my [run]'")
    assert "next" not in printed()


@pytest.mark.slow
def test_a_model_is_exported_only_where_that_saves_time(tmp_path):
    run = tmp_path / "my run"
    segment = ("approach=segment", "model.architecture=segnet", "model.encoder=test_resnet")
    model = untrained_model(*segment)
    assert export_command(run, model) == f"defectkit export '{run}'"
    detector = untrained_model("approach=box", "model.architecture=localizer")
    assert export_command(run, detector) == ""
    exported = export_model(model, kind="openvino", precision="f32", folder=run).model
    assert export_command(run, exported) == ""
    (run / "exported").mkdir(parents=True)
    assert export_command(run, model) == ""
    model.network.to("meta")  # as one that computes on a GPU
    assert export_command(tmp_path, model) == ""
