import numpy as np

from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.pixel_overlaps import class_areas, dice, iou


def test_areas_are_counted_by_class_and_for_any_defect():
    scores = np.zeros((2, 2, 4), np.float32)
    scores[0, 0, :2] = 0.9  # class a: one pixel right, one of class b
    scores[1, 1, :2] = 0.8  # class b: one right, one where nothing is
    masks = np.zeros((2, 2, 4), np.uint8)
    masks[0, 0, 0] = masks[1, 0, 1] = masks[1, 1, 0] = masks[0, 1, 3] = 1
    truth = LabeledTruth(masks, ("a", "b"))
    areas = class_areas(scores.max(axis=0) >= 0.5, scores, truth, np.array([2, 2, 4]))
    assert areas.tolist() == [[2, 2, 4], [2, 2, 4], [1, 1, 3]]
    assert dice(*areas) == [0.5, 0.5, 0.75]
    assert iou(*areas) == [1 / 3, 1 / 3, 3 / 5]


def test_what_is_empty_on_both_sides_has_no_overlap():
    assert dice(*np.array([[0, 3], [0, 0], [0, 0]])) == [None, 0.0]
    assert iou(*np.array([[0, 3], [0, 0], [0, 0]])) == [None, 0.0]
