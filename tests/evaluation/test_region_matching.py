import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy import ndimage

from defectkit.approaches.box_findings import make_box_finding
from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.rates import clopper_pearson
from defectkit.evaluation.region_matching import (
    COLUMNS,
    RegionMatch,
    class_confusion,
    detection_metrics,
    match_regions,
    region_length,
    region_metrics,
)
from defectkit.findings import Finding
from defectkit.regions import Region, label_regions

CLASSES = ("a", "b")


def finding_of(found, regions=()):
    """A finding with the found mask ``found``."""
    return Finding(
        score_map=found[None].astype(np.float32),
        region_map=label_regions(found)[0],
        regions=tuple(regions),
        score=float(found.any()),
        class_scores=np.zeros(1, np.float32),
    )


def match(found, truth, regions=()):
    return match_regions(finding_of(found, regions), LabeledTruth(truth, CLASSES), image_id="image")


def true_rows(rows):
    return [row for row in rows if row.kind == "true"]


def false_alarms(rows):
    return [row for row in rows if row.kind == "false_alarm"]


def boxes_of(shape, *boxes_xywh):
    mask = np.zeros(shape, bool)
    for x, y, width, height in boxes_xywh:
        mask[y : y + height, x : x + width] = True
    return mask


def parts(mask):
    """Return a mask for each 8-connected region, by another library."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [labels == label for label in range(1, count + 1)]


def box_xywh(part):
    ys, xs = np.nonzero(part)
    x, y = int(xs.min()), int(ys.min())
    return x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1


def slow_match(predicted, truth):
    """Return the rows' contents with one mask for each region, overlaps by pycocotools."""
    marked = parts(predicted)
    true = []
    for class_id, layer in zip(CLASSES, truth, strict=True):
        for part in parts(layer):
            codes = [
                coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in (part, *marked)
            ]
            overlaps = coco.iou(codes[:1], codes[1:], [0] * len(marked)) if marked else [0.0]
            coverage = np.mean(predicted[part])
            true.append((class_id, box_xywh(part), part.sum(), coverage, np.max(overlaps)))
    free = [part for part in marked if not np.any(truth.any(axis=0) & part)]
    return sorted(true), sorted((box_xywh(part), part.sum()) for part in free)


@settings(max_examples=200, deadline=None)
@given(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
        lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, (2, *shape)))
    )
)
def test_rows_agree_with_one_mask_per_region_and_pycocotools(masks):
    predicted, truth = masks
    rows = match(predicted, truth)
    true, alarms = true_rows(rows), false_alarms(rows)
    expected_true, expected_alarms = slow_match(predicted, truth)
    assert sorted((row.region.box_xywh, row.region.area) for row in alarms) == expected_alarms
    found = sorted(
        (row.region.class_id, row.region.box_xywh, row.region.area, row.coverage, row.best_overlap)
        for row in true
    )
    assert [row[:3] for row in found] == [row[:3] for row in expected_true]
    # Regions with equal boxes and areas may change places within the sorted list, overlaps too.
    for row, expected in zip(found, expected_true, strict=True):
        assert row[3:] == pytest.approx(expected[3:], abs=1e-12)
    assert all(0.0 <= row.best_overlap <= 1.0 for row in true)
    assert match(predicted, truth.astype(np.uint8) * 255) == rows


@pytest.mark.parametrize(("covered", "found"), [(0, False), (2, False), (3, True), (30, True)])
def test_a_tenth_of_its_pixels_makes_a_region_found(covered, found):
    truth = np.stack([boxes_of((10, 40), (5, 5, 30, 1)), np.zeros((10, 40), bool)])
    (row,) = true_rows(match(boxes_of((10, 40), (5, 5, covered, 1)), truth))
    assert (row.found, row.coverage) == (found, covered / 30)
    assert row.best_overlap == covered / 30


def test_several_predicted_regions_together_find_a_region_but_overlap_is_of_the_best():
    truth = np.stack([boxes_of((10, 40), (0, 0, 40, 1)), np.zeros((10, 40), bool)])
    (row,) = true_rows(match(boxes_of((10, 40), (0, 0, 2, 1), (10, 0, 3, 1)), truth))
    assert row.found
    assert (row.coverage, row.best_overlap) == (5 / 40, 3 / 40)


def test_touching_one_true_pixel_of_any_class_is_no_false_alarm():
    truth = np.stack([boxes_of((20, 20), (0, 0, 5, 5)), boxes_of((20, 20), (10, 10, 5, 5))])
    predicted = boxes_of((20, 20), (4, 4, 3, 3), (14, 14, 6, 6), (16, 0, 2, 3))
    (alarm,) = false_alarms(match(predicted, truth))
    assert alarm.region == Region(box_xywh=(16, 0, 2, 3), area=6)
    assert (alarm.score, alarm.true_fraction) == (None, 0.0)


@pytest.mark.parametrize(("width", "right"), [(9, True), (10, True), (11, False)])
def test_a_tenth_of_its_pixels_makes_a_found_region_right(width, right):
    truth = np.stack([boxes_of((20, 30), (3, 3, 1, 5)), np.zeros((20, 30), bool)])
    (row,) = [row for row in match(boxes_of((20, 30), (3, 3, width, 5)), truth)
              if row.kind != "true"]  # fmt: skip
    assert (row.kind, row.right) == ("found", right)
    assert row.true_fraction == pytest.approx(1 / width)


def test_a_mask_of_all_pixels_finds_everything_and_is_right_nowhere():
    rng = np.random.default_rng(3)
    rows, defective = [], {}
    for name in map(str, range(20)):
        x, y = rng.integers(0, 40, 2).tolist()
        truth = np.zeros((2, 50, 50), bool)
        if int(name) % 2:
            truth[0] = boxes_of((50, 50), (x, y, 10, 10))
        whole = finding_of(np.ones((50, 50), bool))
        rows += match_regions(whole, LabeledTruth(truth, CLASSES), image_id=name)
        defective[name] = bool(truth.any())
    result = region_metrics(rows, defective)
    assert result["recall"]["value"] == 1.0
    assert result["precision"] == {"count": 0, "total": 20, **clopper_pearson(0, 20)}
    assert result["false_alarms_per_good_image"] == 1.0
    good = {"count": 10, "total": 10, **clopper_pearson(10, 10)}
    assert result["good_images_with_false_alarms"] == good


def test_false_alarms_on_good_images_count_apart():
    rows = [false_alarm("good"), false_alarm("good"), false_alarm("bad"), true_region(20, 0.5)]
    result = region_metrics(rows, {"good": False, "clean": False, "bad": True, "i": True})
    assert result["false_alarms_per_image"] == 0.75
    assert result["false_alarms_per_good_image"] == 1.0
    good = {"count": 1, "total": 2, **clopper_pearson(1, 2)}
    assert result["good_images_with_false_alarms"] == good
    assert result["precision"] == {"count": 0, "total": 3, **clopper_pearson(0, 3)}


# --- classes ------------------------------------------------------------------------------------


def classes_found(truth, scores, detections=()):
    finding = make_finding(scores, CLASSES, tuning=Tuning())
    if detections:
        finding = make_box_finding(detections, CLASSES, scores.shape[1:], tuning=Tuning())
    rows = match_regions(finding, LabeledTruth(truth, CLASSES), image_id="i")
    return [row.found_class for row in true_rows(rows)], class_confusion(rows, CLASSES)


def test_a_true_region_has_the_class_of_the_found_one_that_overlaps_it_best():
    truth, scores = np.zeros((2, 30, 60), bool), np.zeros((2, 30, 60), np.float32)
    truth[0, 2:10, 2:20] = True
    scores[1, 2:10, 2:6], scores[0, 2:10, 8:20] = 0.9, 0.8  # the larger part is right
    truth[0, 15:25, 2:12] = True
    scores[1, 15:25, 2:12] = 0.9  # the wrong class
    truth[1, 15:25, 30:50] = True
    scores[0, 24, 49] = 0.9  # a pixel is not enough to be found
    truth[1, 2:10, 40:50] = True  # missed
    found, confusion = classes_found(truth, scores)
    assert found == ["a", "b", None, "a"]
    assert confusion == {"classes": ["a", "b"], "counts": [[1, 1, 0], [0, 0, 2]]}


def test_the_classes_of_overlapping_detections_are_told_apart():
    truth = np.zeros((2, 30, 60), bool)
    truth[0, 2:12, 2:22], truth[1, 10:20, 20:40] = True, True
    detections = [
        Region(class_id="b", score=0.9, box_xywh=(20, 10, 20, 10), area=200),
        Region(class_id="a", score=0.7, box_xywh=(2, 2, 20, 10), area=200),
        Region(class_id="b", score=0.6, box_xywh=(2, 2, 8, 10), area=80),
    ]
    found, confusion = classes_found(truth, np.zeros((2, 30, 60), np.float32), detections)
    assert found == ["a", "b"]
    assert confusion["counts"] == [[1, 0, 0], [0, 1, 0]]


def test_a_false_alarm_takes_class_and_score_from_the_region_that_it_is():
    scores = np.zeros((2, 30, 30), np.float32)
    scores[0, 10:14, 10:14] = 0.75
    scores[1, 2:5, 20:26] = 0.875
    scores[0, 20:22, 3:9] = 1.0  # a hit
    finding = make_finding(scores, CLASSES, tuning=Tuning(min_area=1))
    truth = np.stack([boxes_of((30, 30), (3, 20, 6, 2)), np.zeros((30, 30), bool)])
    rows = match_regions(finding, LabeledTruth(truth, CLASSES), image_id="image")
    assert [
        (row.region.class_id, row.score, row.region.box_xywh) for row in false_alarms(rows)
    ] == [
        ("b", 0.875, (20, 2, 6, 3)),
        ("a", 0.75, (10, 10, 4, 4)),
    ]


def test_perfect_and_empty_predictions():
    truth = np.stack([boxes_of((9, 9), (0, 0, 2, 2), (5, 5, 3, 3)), np.zeros((9, 9), bool)])
    for predicted, value in ((truth[0], 1.0), (np.zeros((9, 9), bool), 0.0)):
        rows = match(predicted, truth)
        overlaps = [(row.coverage, row.best_overlap) for row in true_rows(rows)]
        assert overlaps == [(value, value)] * 2
        result = region_metrics(rows, {"image": True})
        assert (result["recall"]["value"], result["false_alarms_per_image"]) == (value, 0.0)
        assert result["precision"]["value"] == (value or None)


def true_region(area, coverage):
    region = Region(class_id="a", box_xywh=(0, 0, area, 1), area=area)
    return RegionMatch(
        image_id="i", kind="true", region=region, coverage=coverage, best_overlap=0.0
    )


def false_alarm(image_id="i"):
    region = Region(box_xywh=(0, 0, 1, 1), area=1)
    return RegionMatch(image_id=image_id, kind="false_alarm", region=region, true_fraction=0.0)


def images(count):
    """That many defective images, one of them called "i"."""
    return dict.fromkeys([*"i"[:count], *map(str, range(1, count))], True)


def test_region_metrics_of_a_known_case():
    areas = (1, 63, 64, 255, 256, 1023, 1024, 4095, 4096, 10**6)
    rows = [true_region(area, 0.1 if index % 5 else 0.09) for index, area in enumerate(areas)]
    result = region_metrics([*rows, *[false_alarm()] * 3], images(6))
    assert result["recall"] == {"found": 8, "total": 10, **clopper_pearson(8, 10)}
    assert result["false_alarms_per_image"] == 0.5
    bins = {name: (r["found"], r["total"]) for name, r in result["recall_by_area"].items()}
    assert bins == {
        "0-63": (1, 2),
        "64-255": (2, 2),
        "256-1023": (1, 2),
        "1024-4095": (2, 2),
        "4096+": (2, 2),
    }
    json.dumps(result, allow_nan=False)


def test_region_metrics_without_anything_claim_nothing():
    result = region_metrics([], {})
    assert result["recall"] == {"found": 0, "total": 0, "value": None, "low": 0.0, "high": 1.0}
    assert result["false_alarms_per_image"] is None
    assert result["precision"]["value"] is None
    assert result["false_alarms_per_good_image"] is None
    assert result["good_images_with_false_alarms"]["value"] is None
    assert set(result["recall_by_area"]) == {"0-63", "64-255", "256-1023", "1024-4095", "4096+"}
    assert region_metrics([], images(4))["false_alarms_per_image"] == 0.0


def test_a_true_region_has_a_length_at_any_angle():
    mask = np.zeros((60, 60), np.uint8)
    cv2.line(mask, (5, 5), (50, 50), 1, 1)
    assert region_length(mask.astype(bool)) == pytest.approx(1 + 45 * 2**0.5)
    assert region_length(np.ones((1, 1), bool)) == 1.0
    assert region_length(np.ones((3, 8), bool)) == 8.0
    truth = np.stack([boxes_of((9, 9), (0, 0, 2, 5)), np.zeros((9, 9), bool)])
    assert [row.length for row in true_rows(match(truth[0], truth))] == [5.0]


def test_detection_takes_the_sizes_and_groups_of_the_true_regions():
    rows = [
        replace(true_region(area, float(area > 20)), image_id=str(area % 20), length=area / 2)
        for area in range(1, 41)
    ]
    rows[22], rows[14] = replace(rows[22], coverage=0.0), replace(rows[14], coverage=0.5)
    rows.append(false_alarm())
    result = detection_metrics(rows, {str(number): f"tile {number % 12}" for number in range(20)})
    for by, unit in (("by_area", 1), ("by_length", 2)):
        assert (result[by]["n"], result[by]["n_groups"]) == (40, 12)
        assert result[by]["sizes"][0] * unit == pytest.approx(1)
        assert result[by]["sizes"][-1] * unit == pytest.approx(40)
    assert result["by_area"]["a90"] == pytest.approx(2 * result["by_length"]["a90"], rel=1e-3)


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(0)
    rows = [true_region(int(a), float(rng.random() / 5)) for a in rng.integers(1, 9000, 50)]
    rows += [false_alarm()] * 7
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    assert region_metrics(shuffled, images(20)) == region_metrics(rows, images(20))


def test_rows_have_the_columns_of_the_file():
    region = Region(class_id="b", box_xywh=(4, 3, 2, 1), area=2)
    alarm = RegionMatch(image_id="=i", kind="false_alarm", region=region, score=0.25)
    cells = ["=i", "false_alarm", "b", 4, 3, 2, 1, 2, *[None] * 6, 0.25]
    assert alarm.row() == dict(zip(COLUMNS, cells, strict=True))
    cells = ["i", "true", "a", 0, 0, 30, 1, 30, None, True, 0.1, 0.0, None, None, None]
    assert true_region(30, 0.1).row() == dict(zip(COLUMNS, cells, strict=True))
    assert false_alarm().row()["class_id"] == ""


def test_many_regions_are_matched_without_a_table_of_all_pairs():
    checks = np.zeros((400, 400), bool)
    checks[::2, ::2] = True  # 40,000 regions on each side: a full table would take 12 GB
    rows = true_rows(match(checks, np.stack([checks, np.zeros_like(checks)])))
    assert len(rows) == 40_000
    assert {(row.coverage, row.best_overlap) for row in rows} == {(1.0, 1.0)}


@pytest.mark.parametrize("size", [(4, 5), (3, 4)])
def test_sizes_that_differ_are_refused(size):
    with pytest.raises(ValueError, match=r"truth \(2, .*\) and finding \(4, 4\) differ in size"):
        match(np.zeros((4, 4), bool), np.zeros((2, *size), bool))
