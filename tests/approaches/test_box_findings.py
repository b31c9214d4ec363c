import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defectkit.approaches.box_findings import (
    detected_regions,
    make_box_finding,
    suppress_duplicates,
)
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.tuning import Tuning
from defectkit.data.tiles import Tile
from defectkit.labels.scope import Scope
from defectkit.models.detection.detector import Detections
from defectkit.regions import Region, label_regions

CLASSES = ("a", "b")


def found(boxes: list, scores: list | None = None, labels: list | None = None, masks=None):
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores or [0.5] * len(boxes)),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        masks,
    )


def detection(box: tuple[int, int, int, int], score: float = 0.5, label: int = 0) -> Region:
    return Region(class_id=CLASSES[label], score=score, box_xywh=box, area=box[2] * box[3])


def finding(regions: list[Region], shape=(30, 40), threshold: float = 0.5, min_area: int = 0):
    return make_box_finding(
        regions, CLASSES, shape, tuning=Tuning(pixel_threshold=threshold, min_area=min_area)
    )


# --- detected regions ---------------------------------------------------------------------------


def test_boxes_are_rounded_moved_to_the_tile_and_cut_at_its_sides():
    tile = Tile(100, 200, 50, 40)
    boxes = found([[1.4, 2.6, 10.6, 20.2], [-5, -9, 70, 99]], labels=[1, 0])
    regions = list(detected_regions(boxes, CLASSES, tile))
    assert [region.box_xywh for region in regions] == [(101, 203, 10, 17), (100, 200, 50, 40)]
    assert [region.class_id for region in regions] == ["b", "a"]
    assert [region.area for region in regions] == [170, 2000]
    assert all(region.mask is None for region in regions)


def test_boxes_in_the_padding_and_thinner_than_half_a_pixel_are_left_out():
    boxes = [[50, 3, 60, 9], [3, 41, 9, 60], [5.1, 5, 5.4, 9], [5, 5, 6, 6]]
    regions = list(detected_regions(found(boxes), CLASSES, Tile(0, 0, 50, 40)))
    assert [region.box_xywh for region in regions] == [(5, 5, 1, 1)]
    assert list(detected_regions(found([]), CLASSES, Tile(0, 0, 50, 40))) == []


def test_masks_are_cut_from_their_boxes():
    masks = torch.zeros(2, 40, 50)
    masks[0, 10:20, 5:9], masks[0, 30, 30] = 0.7, 0.9  # the last pixel lies outside the box
    masks[0, 10, 5] = 0.4
    boxes = [[4, 8, 10, 20], [20, 20, 24, 26]]
    filled, empty = detected_regions(found(boxes, masks=masks), CLASSES, Tile(0, 0, 50, 40))
    assert filled.mask.sum() == 10 * 4 - 1
    assert filled.mask[2:, 1:5].sum() == 39
    # A detection whose mask holds nothing is not lost: its box is filled.
    assert (empty.mask, empty.area) == (None, 24)
    assert (filled.box_xywh, filled.area, filled.score) == ((4, 8, 6, 12), 39, 0.5)


# --- duplicates ---------------------------------------------------------------------------------


def test_what_two_tiles_found_is_kept_once_at_its_better_score():
    regions = [
        detection((10, 10, 20, 20), 0.6), detection((11, 10, 20, 20), 0.9),
        detection((10, 10, 20, 20), 0.3, label=1), detection((50, 10, 5, 5), 0.95),
    ]  # fmt: skip
    kept = suppress_duplicates(regions, CLASSES, nms_iou=0.5, max_detections=10)
    assert kept == [regions[3], regions[1], regions[2]]
    assert suppress_duplicates(regions, CLASSES, nms_iou=0.5, max_detections=2) == kept[:2]
    assert len(suppress_duplicates(regions, CLASSES, nms_iou=1.0, max_detections=10)) == 4
    assert suppress_duplicates([], CLASSES, nms_iou=0.5, max_detections=2) == []


# --- finding ------------------------------------------------------------------------------------

boxes = st.tuples(st.integers(0, 34), st.integers(0, 24), st.integers(1, 6), st.integers(1, 6))


@given(st.lists(st.tuples(boxes, st.floats(0, 1, width=32), st.integers(0, 1)), max_size=8))
def test_map_score_and_regions_agree(drawn):
    regions = [detection(*one) for one in drawn]
    regions.sort(key=lambda region: -region.score)
    result = finding(regions, threshold=0.4)
    expected = np.zeros((2, 30, 40), np.float32)
    for region in regions:
        layer = expected[CLASSES.index(region.class_id)]
        layer[region.window] = np.maximum(layer[region.window], region.score)
    np.testing.assert_array_equal(result.score_map, expected)
    assert result.score == max((region.score for region in regions), default=0.0)
    for name, score in zip(CLASSES, result.class_scores, strict=True):
        own = max((region.score for region in regions if region.class_id == name), default=0.0)
        assert score == own
    assert result.detections == tuple(regions)
    assert [one for one in result.detections if one.score >= 0.4] == list(result.regions)
    mask = np.zeros((30, 40), bool)
    for region in result.regions:
        mask[region.window] = True
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.region_map, label_regions(mask)[0])


def test_a_score_at_the_threshold_is_a_region_as_its_pixels_are():
    """The map is float32: 0.7 in it is a little less than in Python."""
    for score in (0.7, float(np.float32(0.7))):
        for threshold in (0.7, float(np.float32(0.7))):
            result = finding([detection((3, 3, 4, 4), score)], threshold=threshold)
            assert result.mask.any() == bool(result.regions), (score, threshold)


def test_small_regions_are_left_out_where_asked_for_but_stay_detections():
    result = finding([detection((1, 1, 9, 9), 0.9), detection((20, 20, 2, 2), 0.8)], min_area=5)
    assert [region.area for region in result.regions] == [81]
    assert len(result.detections) == 2


def test_detections_of_a_region_that_is_left_out_are_none():
    weak, strong, beside = (
        detection((1, 1, 20, 20), 0.6), detection((25, 2, 9, 9), 0.9), detection((3, 3, 9, 9), 0.7),
    )  # fmt: skip
    tuning = Tuning(region_threshold=0.65)
    found = make_box_finding([strong, beside, weak], CLASSES, (30, 40), tuning=tuning)
    assert found.regions == (strong, beside, weak)  # a fifth of the pixels of their region has 0.7
    found = make_box_finding([strong, weak], CLASSES, (30, 40), tuning=tuning)
    assert found.regions == (strong,)
    np.testing.assert_array_equal(found.mask, found.score_map.max(axis=0) == np.float32(0.9))
    assert found.detections == (strong, weak)
    assert found.score == pytest.approx(0.9)


def test_a_mask_paints_its_own_pixels_alone():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    result = finding([Region(class_id="b", score=0.8, box_xywh=(10, 20, 5, 4), area=2, mask=mask)])
    assert result.score_map[1].sum() == pytest.approx(1.6)
    assert result.score_map[1, 21:23, 12].tolist() == pytest.approx([0.8, 0.8])
    assert result.regions[0].area == 2
    assert result.regions[0].class_id == "b"


def test_nothing_found_is_a_finding_too():
    result = finding([])
    assert result.score == 0.0
    assert not result.score_map.any()
    assert result.regions == result.detections == ()


# --- scopes -------------------------------------------------------------------------------------


def scoped(regions: list[Region], scope: Scope):
    return make_box_finding(regions, CLASSES, (30, 40), tuning=Tuning(), scope=scope)


@pytest.mark.check(49)
def test_detections_are_cut_at_the_border_of_the_region_to_inspect():
    roi = np.zeros((30, 40), bool)
    roi[5:25, 10:30] = True
    found = [
        detection((12, 8, 5, 5), 0.9),  # inside
        detection((0, 0, 20, 10), 0.8, label=1),  # at a corner
        detection((0, 0, 9, 30), 0.95),  # outside
    ]
    finding = scoped(found, Scope(roi=roi))
    assert finding.detections == (found[0], detection((10, 5, 10, 5), 0.8, label=1))
    assert finding.regions == finding.detections
    assert finding.score == pytest.approx(0.9)
    assert not finding.score_map[:, ~roi].any()
    assert not finding.mask[~roi].any()


def test_a_cut_that_is_no_box_keeps_its_pixels():
    roi = np.ones((30, 40), bool)
    roi[10:, 20:] = False
    (region,) = scoped([detection((10, 5, 20, 10))], Scope(roi=roi)).detections
    assert (region.box_xywh, region.area) == ((10, 5, 20, 10), 200 - 50)
    np.testing.assert_array_equal(region.mask, roi[5:15, 10:30])


def test_detections_that_are_mostly_ignored_are_left_out():
    ignored = np.zeros((30, 40), bool)
    ignored[:, 20:] = True
    kept, gone = detection((9, 0, 20, 10), 0.9), detection((10, 15, 20, 10), 0.95)
    finding = scoped([gone, kept], Scope(ignored=ignored))
    assert finding.detections == (kept,)
    assert finding.score == pytest.approx(0.9)
    assert not finding.score_map[:, ignored].any()


def test_the_score_of_the_best_detection_is_scaled_as_tuned():
    region = Region(class_id="a", score=0.2, box_xywh=(1, 1, 4, 4), area=16)
    mix = ImageMix(alone_weight=0.5, alone_bias=1.0)
    finding = make_box_finding([region], ("a",), (9, 9), tuning=Tuning(image_mix=mix))
    assert finding.witnesses == (pytest.approx(0.2), None)
    assert finding.score == pytest.approx(mix.score(0.2, None), rel=1e-6)
    assert make_box_finding([region], ("a",), (9, 9), tuning=Tuning()).score == np.float32(0.2)
