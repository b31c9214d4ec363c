import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defectkit.approaches.box_findings import Mark, finding_of, place, thin_out
from defectkit.approaches.score_maps import finding_mask
from defectkit.data.tiles import Tile
from defectkit.models.detection.detector import Detections

CLASSES = ("a", "b")


def found(boxes: list, scores: list | None = None, labels: list | None = None, masks=None):
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores or [0.5] * len(boxes)),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        masks,
    )


def box_mark(box: tuple[int, int, int, int], score: float = 0.5, label: int = 0) -> Mark:
    return Mark(label, score, box, np.ones((box[3], box[2]), bool))


def finding(marks: list[Mark], shape=(30, 40), threshold: float = 0.5, min_area: int = 0):
    return finding_of(marks, CLASSES, shape, pixel_threshold=threshold, min_area=min_area)


# --- place --------------------------------------------------------------------------------------


def test_boxes_are_rounded_moved_to_the_tile_and_cut_at_its_sides():
    tile = Tile(100, 200, 50, 40)
    marks = list(place(found([[1.4, 2.6, 10.6, 20.2], [-5, -9, 70, 99]], labels=[1, 0]), tile))
    assert [mark.box_xywh for mark in marks] == [(101, 203, 10, 17), (100, 200, 50, 40)]
    assert [mark.label for mark in marks] == [1, 0]
    assert all(mark.mask.all() and mark.mask.shape == mark.box_xywh[:1:-1] for mark in marks)


def test_boxes_in_the_padding_and_thinner_than_half_a_pixel_are_left_out():
    boxes = [[50, 3, 60, 9], [3, 41, 9, 60], [5.1, 5, 5.4, 9], [5, 5, 6, 6]]
    marks = list(place(found(boxes), Tile(0, 0, 50, 40)))
    assert [mark.box_xywh for mark in marks] == [(5, 5, 1, 1)]
    assert list(place(found([]), Tile(0, 0, 50, 40))) == []


def test_masks_are_cut_from_their_boxes():
    masks = torch.zeros(2, 40, 50)
    masks[0, 10:20, 5:9], masks[0, 30, 30] = 0.7, 0.9  # the last pixel lies outside the box
    masks[0, 10, 5] = 0.4
    boxes = [[4, 8, 10, 20], [20, 20, 24, 26]]
    filled, empty = place(found(boxes, masks=masks), Tile(0, 0, 50, 40))
    assert filled.mask.sum() == 10 * 4 - 1
    assert filled.mask[2:, 1:5].sum() == 39
    # A detection whose mask holds nothing is not lost: its box is filled.
    assert empty.mask.sum() == 24
    region = filled.region(CLASSES)
    assert (region.box_xywh, region.area, region.score) == ((4, 8, 6, 12), 39, 0.5)


# --- thin out -----------------------------------------------------------------------------------


def test_what_two_tiles_found_is_kept_once_at_its_better_score():
    marks = [
        box_mark((10, 10, 20, 20), 0.6), box_mark((11, 10, 20, 20), 0.9),
        box_mark((10, 10, 20, 20), 0.3, label=1), box_mark((50, 10, 5, 5), 0.95),
    ]  # fmt: skip
    kept = thin_out(marks, nms_iou=0.5, max_detections=10)
    assert kept == [marks[3], marks[1], marks[2]]
    assert thin_out(marks, nms_iou=0.5, max_detections=2) == kept[:2]
    assert len(thin_out(marks, nms_iou=1.0, max_detections=10)) == 4
    assert thin_out([], nms_iou=0.5, max_detections=2) == []


# --- finding ------------------------------------------------------------------------------------

boxes = st.tuples(st.integers(0, 34), st.integers(0, 24), st.integers(1, 6), st.integers(1, 6))


@given(st.lists(st.tuples(boxes, st.floats(0, 1, width=32), st.integers(0, 1)), max_size=8))
def test_map_score_and_regions_agree(drawn):
    marks = [box_mark(*one) for one in drawn]
    marks.sort(key=lambda mark: -mark.score)
    result = finding(marks, threshold=0.4)
    expected = np.zeros((2, 30, 40), np.float32)
    for mark in marks:
        layer = expected[mark.label]
        layer[mark.window] = np.maximum(layer[mark.window], mark.score)
    np.testing.assert_array_equal(result.score_map, expected)
    assert result.score == max((mark.score for mark in marks), default=0.0)
    for label in range(2):
        own = max((mark.score for mark in marks if mark.label == label), default=0.0)
        assert result.class_scores[label] == own
    assert [one.score for one in result.detections] == [mark.score for mark in marks]
    assert [one for one in result.detections if one.score >= 0.4] == list(result.regions)
    mask = np.zeros((30, 40), bool)
    for region in result.regions:
        x, y, width, height = region.box_xywh
        mask[y : y + height, x : x + width] = True
    np.testing.assert_array_equal(finding_mask(result, pixel_threshold=0.4, min_area=0), mask)


def test_a_score_at_the_threshold_is_a_region_as_its_pixels_are():
    """The map is float32: 0.7 in it is a little less than in Python."""
    for score in (0.7, float(np.float32(0.7))):
        for threshold in (0.7, float(np.float32(0.7))):
            result = finding([box_mark((3, 3, 4, 4), score)], threshold=threshold)
            mask = finding_mask(result, pixel_threshold=threshold, min_area=0)
            assert mask.any() == bool(result.regions), (score, threshold)


def test_small_regions_are_left_out_where_asked_for_but_stay_detections():
    result = finding([box_mark((1, 1, 9, 9), 0.9), box_mark((20, 20, 2, 2), 0.8)], min_area=5)
    assert [region.area for region in result.regions] == [81]
    assert len(result.detections) == 2


def test_a_mask_paints_its_own_pixels_alone():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    result = finding([Mark(1, 0.8, (10, 20, 5, 4), mask)])
    assert result.score_map[1].sum() == pytest.approx(1.6)
    assert result.score_map[1, 21:23, 12].tolist() == pytest.approx([0.8, 0.8])
    assert result.regions[0].area == 2
    assert result.regions[0].class_id == "b"


def test_nothing_found_is_a_finding_too():
    result = finding([])
    assert result.score == 0.0
    assert not result.score_map.any()
    assert result.regions == result.detections == ()
