import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defectkit.evaluation import labeled_truth
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.labels.scope import Scope
from defectkit.regions import DEFECT_OR_NOT, label_regions

CLASSES = ("a", "b")


@given(arrays(np.uint8, (2, 7, 9), elements=st.sampled_from([0, 0, 0, 1, 255])))
def test_regions_are_those_of_each_class_and_of_all(masks):
    truth = LabeledTruth(masks, CLASSES)
    assert truth.present == tuple(c for c, mask in zip(CLASSES, masks, strict=True) if mask.any())
    assert tuple(truth.by_class) == truth.present
    for class_id, (region_map, regions) in truth.by_class.items():
        expected_map, expected = label_regions(masks[CLASSES.index(class_id)], class_id)
        np.testing.assert_array_equal(region_map, expected_map)
        assert regions == expected
    np.testing.assert_array_equal(truth.mask, masks.any(axis=0))
    np.testing.assert_array_equal(truth.region_map, label_regions(masks.any(axis=0))[0])


def test_findings_without_a_class_are_judged_by_defect_or_not():
    masks = np.zeros((2, 4, 9), np.uint8)
    masks[0, :, :2] = masks[1, :, 1:4] = masks[1, :, 6:] = 1
    scope = Scope(roi=np.ones((4, 9), bool))
    truth = LabeledTruth(masks, CLASSES, scope)
    assert truth.as_found(CLASSES) is truth
    judged = truth.as_found(DEFECT_OR_NOT)
    assert (judged.classes, judged.scope) == (("",), scope)
    np.testing.assert_array_equal(judged.masks, masks.any(axis=0)[None])
    boxes = [(one.class_id, one.box_xywh) for one in judged.regions]
    assert boxes == [("", (0, 0, 4, 4)), ("", (6, 0, 3, 4))]


@pytest.mark.parametrize(("layers", "labelings"), [((1, 0), 1), ((1, 1), 3)])
def test_nothing_is_labeled_twice(layers, labelings, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return label_regions(*arguments)

    monkeypatch.setattr(labeled_truth, "label_regions", counted)
    truth = LabeledTruth(
        np.array(layers, np.uint8)[:, None, None] * np.eye(4, dtype=np.uint8), CLASSES
    )
    for _ in range(2):
        _ = truth.region_map, truth.by_class, truth.mask
    assert len(calls) == labelings


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((4, 4), bool), r"\(K, H, W\) with one layer for each of the 2 classes"),
        (np.zeros((3, 4, 4), bool), r"each of the 2 classes but got \(3, 4, 4\)"),
        (np.zeros((2, 4, 4)), "bool or uint8 but got float64"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        LabeledTruth(masks, CLASSES)
