"""Regions that the thresholds leave out must be ranked below those that they keep."""

import numpy as np
import pytest
from scipy import ndimage

from defectkit.approaches.tuning import Tuning
from defectkit.evaluation.box_metrics import MAX_DETECTIONS, BoxMetrics
from defectkit.evaluation.ranked_boxes import DEPTH, HALVINGS, ranked_boxes
from defectkit.findings import Finding
from defectkit.regions import Region, label_regions

CLASSES = ("a", "b")


def finding_of(score_map, *, threshold=0.5, regions=True, detections=()):
    score_map = np.asarray(score_map, np.float32)
    region_map, found = label_regions(score_map.max(axis=0) >= threshold)
    found = [
        Region(box_xywh=one.box_xywh, area=one.area, class_id="a",
               score=float(score_map.max(axis=0)[one.window].max()))
        for one in found
    ]  # fmt: skip
    return Finding(
        score_map=score_map,
        region_map=region_map if regions else np.zeros_like(region_map),
        regions=tuple(found) if regions else (),
        score=float(score_map.max()),
        class_scores=score_map.max(axis=(1, 2)),
        detections=detections,
    )


def ranked(finding, *, threshold=0.5, min_area=1):
    return ranked_boxes(finding, CLASSES, Tuning(pixel_threshold=threshold, min_area=min_area))


def boxes_of(finding, **options):
    return [(one.box_xywh, one.class_id) for one in ranked(finding, **options)]


def test_a_region_below_the_threshold_is_ranked_with_its_class_and_score():
    scores = np.zeros((2, 20, 30))
    scores[0, 2:6, 3:9] = 0.9
    scores[1, 10:14, 20:27] = 0.3
    scores[1, 11, 22] = 0.32
    first, second = ranked(finding_of(scores))
    assert (first.box_xywh, first.class_id) == ((3, 2, 6, 4), "a")
    assert (second.box_xywh, second.area, second.class_id) == ((20, 10, 7, 4), 28, "b")
    assert second.score == pytest.approx(0.3)  # one pixel of 28 is higher


def test_a_region_is_outlined_below_its_peak_so_that_noise_is_no_region():
    rng = np.random.default_rng(2)
    logits = np.full((20, 30), -9.0)
    logits[5:13, 6:20] = -2 + 0.5 * rng.random((8, 14))
    scores = np.stack([1 / (1 + np.exp(-logits)), np.zeros_like(logits)])
    assert boxes_of(finding_of(scores)) == [((6, 5, 14, 8), "a")]


def test_what_surrounds_a_region_is_none_of_its_own():
    scores = np.zeros((2, 20, 30))
    scores[0, 1:15, 1:25] = 0.2
    scores[0, 2:6, 3:9] = 0.9
    assert boxes_of(finding_of(scores)) == [((3, 2, 6, 4), "a")]


def test_two_peaks_on_one_slope_are_two_regions():
    scores = np.zeros((2, 20, 30))
    scores[0, 4:16, 2:28] = 0.05
    scores[0, 6:10, 4:9] = 0.4
    scores[0, 6:10, 20:26] = 0.21
    assert boxes_of(finding_of(scores)) == [((4, 6, 5, 4), "a"), ((20, 6, 6, 4), "a")]


@pytest.mark.parametrize(("factor", "found"), [(1.01, True), (0.99, False)])
def test_the_ranking_ends_at_the_lowest_peak(factor, found):
    lowest = factor / 2 ** (HALVINGS - DEPTH)  # of the odds of the threshold, which are 1
    scores = np.zeros((2, 8, 8))
    scores[0, 2:5, 2:5] = lowest / (1 + lowest)
    assert bool(ranked(finding_of(scores))) == found


def test_small_regions_count_where_they_have_grown():
    scores = np.zeros((2, 20, 30))
    scores[0, 5:11, 5:11] = 0.1
    scores[0, 7:9, 7:9] = 0.4
    scores[0, 15:17, 20:22] = 0.3
    assert boxes_of(finding_of(scores), min_area=5) == [((5, 5, 6, 6), "a")]


def test_a_region_that_another_threshold_left_out_is_ranked_too():
    scores = np.zeros((2, 8, 8))
    scores[1, 2:5, 2:5] = 0.7
    assert boxes_of(finding_of(scores, regions=False)) == [((2, 2, 3, 3), "b")]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_scale_are_thresholds_too(threshold):
    scores = np.zeros((2, 8, 8))
    scores[0, 2:5, 2:5] = 1.0
    scores[1, 6:8, 6:8] = 1 - 2.0**-20
    ranks = boxes_of(finding_of(scores, threshold=threshold), threshold=threshold)
    both = [((2, 2, 3, 3), "a"), ((6, 6, 2, 2), "b")]
    assert ranks == (both if threshold else [((0, 0, 8, 8), "a")])


def test_below_a_threshold_of_1_the_levels_start_near_it():
    scores = np.zeros((2, 8, 8))
    scores[0, 2:5, 2:5] = 0.99
    assert boxes_of(finding_of(scores, threshold=1.0), threshold=1.0) == [((2, 2, 3, 3), "a")]


def test_at_a_threshold_of_0_the_whole_image_is_no_region_that_was_left_out():
    scores = np.full((2, 8, 8), 0.3)
    assert ranked(finding_of(scores, threshold=0.0, regions=False), threshold=0.0) == []


def test_of_a_detector_its_own_boxes_are_ranked_and_no_others():
    sure, doubtful = (
        Region(box_xywh=box, area=4, class_id="a", score=score)
        for box, score in (((0, 0, 2, 2), 0.9), ((5, 5, 2, 2), 0.1))
    )
    scores = np.zeros((2, 9, 9))
    scores[0, 3:5, 3:5] = 0.4
    finding = finding_of(scores, detections=(sure, doubtful))
    assert ranked(finding) == [sure, doubtful]


def test_noise_gives_no_more_boxes_than_are_judged():
    scores = np.random.default_rng(0).random((2, 300, 300)) ** 4
    finding = finding_of(scores, threshold=0.9)
    assert len(finding.regions) > MAX_DETECTIONS * len(CLASSES)
    assert ranked(finding, threshold=0.9) == list(finding.regions)
    few = finding_of(scores, threshold=0.999)
    assert len(few.regions) < len(ranked(few, threshold=0.999)) == MAX_DETECTIONS * len(CLASSES)


def test_weak_defects_raise_the_average_precision():
    rng = np.random.default_rng(1)
    kept, all_levels = (BoxMetrics(classes=CLASSES) for _ in range(2))
    for _ in range(10):
        truth = ndimage.binary_dilation(rng.random((80, 80)) < 0.001, iterations=5)
        numbers, count = ndimage.label(truth, np.ones((3, 3)))
        peaks = np.concatenate([[0.0], rng.uniform(0.25, 1, count)])
        logits = 9 * ndimage.gaussian_filter(peaks[numbers], 1) - 5
        logits += rng.normal(0, 0.3, truth.shape)
        finding = finding_of(np.stack([1 / (1 + np.exp(-logits)), np.zeros_like(logits)]))
        _, regions = label_regions(truth, "a")
        kept.update(finding.regions, regions)
        all_levels.update(ranked(finding), regions)
    assert 0.2 < kept.result()["map_50"] < all_levels.result()["map_50"] - 0.2
