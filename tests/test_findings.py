import numpy as np
import pytest

from defectkit.findings import NO_CLASS, Finding, SparseFinding, best_layers
from defectkit.regions import Region


def region(**changes) -> Region:
    return Region(**{"class_id": "a", "score": 0.5, "box_xywh": (1, 2, 3, 4), "area": 7, **changes})


def finding(**changes) -> Finding:
    values = {
        "score_map": np.full((2, 6, 8), 0.25, np.float32),
        "region_map": np.zeros((6, 8), np.int32),
        "regions": (region(),),
        "score": 0.5,
        "class_scores": np.array([0.5, 0.25], np.float32),
    }
    return Finding(**{**values, **changes})


def test_what_holds_is_taken():
    scores = np.zeros((2, 6, 8), np.float32)
    scores[0, 1, 2], scores[1, 1, 2], scores[1, 3, 3] = 0.4, 0.9, 1.0
    made = finding(score_map=scores, regions=(region(box_xywh=(5, 2, 3, 4), area=12),))
    np.testing.assert_array_equal(made.defect_map, scores.max(axis=0))
    assert made.defect_map.dtype == np.float32
    region_map = np.arange(48, dtype=np.int32).reshape(6, 8) // 40
    np.testing.assert_array_equal(finding(region_map=region_map).mask, region_map == 1)
    finding(regions=(), score=0.0)
    finding(score=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.01}, r"region score must be in \[0, 1\] but got 1.01"),
        ({"score": -0.1}, r"region score must be in \[0, 1\] but got -0.1"),
        ({"score": float("nan")}, r"region score must be in \[0, 1\] but got nan"),
        ({"box_xywh": (0, 0, 0, 4)}, r"box \(0, 0, 0, 4\) and area 7 do not fit each other"),
        ({"box_xywh": (0, 0, 4, -1)}, r"do not fit each other"),
        ({"area": 0}, r"area 0 do not fit each other"),
        ({"area": 13}, r"area 13 do not fit each other"),
        ({"mask": np.ones((3, 4), bool)}, r"\(1, 2, 3, 4\) does not fit a mask \(3, 4\)"),
    ],
)
def test_regions_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        region(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score_map": np.zeros((6, 8), np.float32)}, r"\(K, H, W\) float32 but got \(6, 8\)"),
        ({"score_map": np.zeros((2, 6, 8))}, r"float32 but got \(2, 6, 8\) float64"),
        ({"score_map": np.full((2, 6, 8), 1.5, np.float32)}, r"score_map must be in \[0, 1\]"),
        ({"score_map": np.full((2, 6, 8), -0.1, np.float32)}, r"score_map must be in \[0, 1\]"),
        ({"score_map": np.full((2, 6, 8), np.nan, np.float32)}, r"score_map must .* and finite"),
        ({"region_map": np.zeros((6, 9), np.int32)}, r"\(6, 8\) int32 but got \(6, 9\)"),
        ({"region_map": np.zeros((6, 8))}, r"\(6, 8\) int32 but got \(6, 8\) float64"),
        ({"class_scores": np.zeros(3, np.float32)}, r"class_scores must be \(2,\) but got \(3,\)"),
        ({"class_scores": np.full(2, np.nan, np.float32)}, r"class_scores must .* and finite"),
        ({"score": 1.1}, r"score must be in \[0, 1\]"),
        ({"score": float("nan")}, r"score must be in \[0, 1\] and finite"),
        ({"regions": (region(box_xywh=(6, 2, 3, 4)),)}, r"\(6, 2, 3, 4\) leaves the 8x6 image"),
        ({"regions": (region(box_xywh=(1, 3, 3, 4)),)}, r"\(1, 3, 3, 4\) leaves the 8x6 image"),
        ({"regions": (region(box_xywh=(-1, 2, 3, 4)),)}, r"\(-1, 2, 3, 4\) leaves the 8x6 image"),
        ({"regions": (region(), region(box_xywh=(0, -1, 3, 4)))}, r"leaves the 8x6 image"),
    ],
)
def test_findings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        finding(**changes)


def test_a_finding_does_not_change():
    with pytest.raises(AttributeError, match="cannot assign to field 'score'"):
        finding().score = 0.1


def test_where_all_layers_are_equal_no_class_is_told():
    scores = np.array([[0.1, 0.4, 0.3, 0.0], [0.2, 0.4, 0.1, 0.0]], np.float32)
    assert best_layers(scores).tolist() == [1, NO_CLASS, 0, NO_CLASS]
    assert best_layers(scores[:1]).tolist() == [0, 0, 0, 0]


def test_a_sparse_finding_gives_its_masks_row_by_row():
    found = SparseFinding(
        size=(4, 10),
        pixels=np.array([3, 10, 19, 35], np.int32),
        layers=np.array([0, 1, 0, NO_CLASS], np.int16),
        highest=np.packbits(np.arange(40).reshape(4, 10) % 7 == 3, axis=1),
        regions=(region(),),
        score=0.5,
    )
    whole = np.isin(np.arange(40), found.pixels).reshape(4, 10)
    for rows in (slice(0, 4), slice(1, 3), slice(2, 3)):
        np.testing.assert_array_equal(found.found_in(rows), whole[rows])
        expected = (np.arange(40).reshape(4, 10) % 7 == 3)[rows]
        np.testing.assert_array_equal(found.highest_in(rows), expected)
    empty = found.without_regions()
    assert not empty.found_in(slice(0, 4)).any()
    assert (empty.regions, len(empty.layers), empty.score) == ((), 0, 0.5)
