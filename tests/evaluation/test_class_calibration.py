import numpy as np
import pytest

from defectkit.approaches.class_mix import ClassMix
from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.evaluation.class_calibration import (
    ClassedRegion,
    fit_class_weights,
    fit_shapes,
    true_classes,
)
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.regions import Region

CLASSES, SIZE = ("dot", "fray", "scratch"), (200, 300)
RNG = np.random.default_rng(0)


def draw(class_id, scores=()):
    """A dot is small, a scratch long, and a fray at the left border."""
    width, height, x = {
        "dot": (*RNG.integers(3, 9, 2), RNG.integers(1, 200)),
        "fray": (*RNG.integers(20, 60, 2), 0),
        "scratch": (RNG.integers(60, 90), RNG.integers(2, 5), RNG.integers(1, 200)),
    }[class_id]
    box = (int(x), int(RNG.integers(1, 100)), int(width), int(height))
    area = max(int(0.8 * width * height), 1)
    return Region(box_xywh=box, area=area, class_id=class_id, class_scores=scores)


def drawn(**counts):
    return [(draw(name), SIZE) for name, count in counts.items() for _ in range(count)]


def classes_by(mix, regions):
    return [CLASSES[int(mix.log_odds(one, SIZE).argmax())] for one in regions]


def undecided(class_id):
    return draw(class_id, (0.5, 0.5, 0.5))


def test_what_the_shapes_of_few_labels_say_holds_for_others():
    mix = fit_shapes(drawn(dot=40, fray=4, scratch=4), CLASSES)
    new = [undecided(name) for name in CLASSES for _ in range(50)]
    right = np.mean([a == b.class_id for a, b in zip(classes_by(mix, new), new, strict=True)])
    assert right > 0.95  # rare classes too: each counts the same


def test_shapes_that_are_alike_say_little():
    alike = [(draw("dot"), SIZE) for _ in range(60)]
    labeled = [
        (Region(box_xywh=one.box_xywh, area=one.area, class_id=CLASSES[index % 3]), size)
        for index, (one, size) in enumerate(alike)
    ]
    log_odds = fit_shapes(labeled, CLASSES).log_odds(undecided("dot"), SIZE)
    assert np.ptp(log_odds) < 1.0


@pytest.mark.parametrize(
    ("regions", "classes"),
    [([], CLASSES), (drawn(dot=3), ("dot",)), (drawn(dot=3), ("a", "b"))],
)
def test_without_a_choice_or_labels_the_shape_says_nothing(regions, classes):
    assert fit_shapes(regions, classes) == ClassMix()


def found(count, *, by_score):
    """Regions whose scores are right in that share."""
    regions = []
    for index in range(count):
        name = CLASSES[index % 3]
        told = index % 3 if RNG.random() < by_score else (index % 3 + 1) % 3
        scores = [0.1, 0.1, 0.1]
        scores[told] = 0.6
        regions.append(ClassedRegion(draw(name, tuple(scores)), SIZE, index % 3))
    return regions


def test_the_witness_that_knows_more_weighs_more():
    shapes = fit_shapes(drawn(dot=9, fray=9, scratch=9), CLASSES)
    wrong = fit_class_weights(shapes, found(90, by_score=0.3))
    right = fit_class_weights(shapes, found(90, by_score=1.0))
    assert wrong.score_weight < 1.0 < right.score_weight
    assert wrong.shape_weight > 2 * wrong.score_weight
    assert wrong.shape_coefficients == shapes.shape_coefficients


def test_a_few_regions_cannot_silence_a_witness_and_none_leave_all_as_it_is():
    shapes = fit_shapes(drawn(dot=9, fray=9, scratch=9), CLASSES)
    mix = fit_class_weights(shapes, found(3, by_score=0.0))
    assert mix.score_weight > 0.3
    assert fit_class_weights(shapes, []) is shapes
    assert fit_class_weights(ClassMix(), found(9, by_score=1.0)) == ClassMix()


def test_a_found_region_has_the_class_of_most_of_its_true_pixels():
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[0, 2:4, 2:6] = masks[2, 4:8, 2:6] = 1
    scores = np.full((3, 20, 30), 0.1, np.float32)
    scores[1, 2:8, 2:6] = scores[1, 12:15, 12:15] = 0.9  # the second is a false alarm
    finding = make_finding(scores.copy(), CLASSES, tuning=Tuning(), one_class=True)
    one = list(true_classes(finding, LabeledTruth(masks, CLASSES)))
    assert [(region.box_xywh, size, true) for region, size, true in one] == [
        ((2, 2, 4, 6), (20, 30), 2)
    ]
    assert one[0].region.class_scores == pytest.approx((0.1, 0.9, 0.1))
    plain = make_finding(scores, CLASSES, tuning=Tuning())
    assert list(true_classes(plain, LabeledTruth(masks, CLASSES))) == []
