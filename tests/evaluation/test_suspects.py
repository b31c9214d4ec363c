import re

import numpy as np
import pytest

from defectkit.approaches.score_maps import find_regions
from defectkit.approaches.tuning import Tuning
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.suspects import (
    TINY_AREA,
    Suspect,
    rank_suspects,
    suspects_by_copies,
    suspects_by_model,
    suspects_by_pixels,
)
from defectkit.findings import Finding
from defectkit.regions import DEFECT_OR_NOT

CLASSES = ("scratch", "stain")
TUNING = Tuning(pixel_threshold=0.5, min_area=20)
BOXES = {"a": (5, 5, 20, 10), "b": (40, 30, 12, 12), "c": (70, 60, 15, 20)}


def layer(*names: str) -> np.ndarray:
    mask = np.zeros((90, 100), np.uint8)
    for name in names:
        x, y, width, height = BOXES[name]
        mask[y : y + height, x : x + width] = 1
    return mask


def contradicted(truth, scores, tuning=TUNING, found_classes=CLASSES):
    finding = Finding(
        score_map=np.float32(scores),
        region_map=find_regions(np.float32(scores).max(axis=0), tuning=tuning)[0],
        regions=(),
        score=float(np.max(scores)),
        class_scores=np.float32(np.max(scores, axis=(1, 2))),
    )
    return list(
        suspects_by_model(
            finding, LabeledTruth(np.stack(truth), CLASSES), found_classes=found_classes,
            image_id="one.png", pixel_threshold=tuning.pixel_threshold,
        )
    )  # fmt: skip


def told(suspects):
    return [(one.kind, one.class_id, one.box_xywh) for one in suspects]


def test_what_the_model_agrees_with_is_not_suspected():
    truth = [layer("a"), layer("b")]
    assert contradicted(truth, [0.9 * truth[0], 0.8 * truth[1]]) == []


def test_a_label_that_the_model_does_not_find_and_a_defect_that_nobody_labeled():
    truth = [layer("a"), layer()]
    suspects = contradicted(truth, [0.2 * layer("a"), 0.9 * layer("c")])
    assert told(suspects) == [
        ("missed", "scratch", BOXES["a"]),
        ("unlabeled", "stain", BOXES["c"]),
    ]
    assert [one.suspicion for one in suspects] == pytest.approx([0.8, 0.9])
    assert [one.area for one in suspects] == [200, 300]
    assert suspects[0].reason == "the model's score is 0.20"


def test_a_tenth_of_a_region_is_enough_to_be_found_and_a_region_below_the_min_area_is_ignored():
    scores = np.zeros((2, 90, 100))
    x, y, _, height = BOXES["a"]
    scores[0, y : y + height, x : x + 3] = 0.9  # three of twenty columns
    scores[0, 80:84, 80:84] = 0.9  # 16 pixels where nothing is labeled
    assert contradicted([layer("a"), layer()], scores) == []


def test_a_region_that_inspect_leaves_out_is_not_unlabeled():
    scores = [layer(), 0.9 * layer("a") + 0.6 * layer("c")]
    assert len(contradicted([layer(), layer()], scores)) == 2
    tuning = TUNING.model_copy(update={"region_threshold": 0.7})
    suspects = contradicted([layer(), layer()], scores, tuning)
    assert told(suspects) == [("unlabeled", "stain", BOXES["a"])]


def test_of_a_model_that_tells_no_classes_no_class_is_suspected():
    found, truth = 0.9 * layer("a", "c"), [layer("b"), layer("a")]
    suspects = contradicted(truth, [found], found_classes=DEFECT_OR_NOT)
    assert told(suspects) == [("missed", "scratch", BOXES["b"]), ("unlabeled", "", BOXES["c"])]


def test_a_label_of_another_class():
    truth = [layer("a"), layer()]
    (suspect,) = contradicted(truth, [0.1 * layer("a"), 0.9 * layer("a")])
    assert told([suspect]) == [("class", "scratch", BOXES["a"])]
    assert suspect.suspicion == pytest.approx(0.8)
    assert suspect.reason == "the model predicts stain (0.90), not scratch (0.10)"
    both = [layer("a"), layer("a")]  # labeled as both: no contradiction
    assert contradicted(both, [0.1 * layer("a"), 0.9 * layer("a")]) == []


def test_a_finding_that_touches_a_label_is_not_unlabeled():
    found = layer("a")
    found[10:40, 20:30] = 1  # it reaches far beyond
    assert contradicted([layer("a"), layer()], [0.9 * found, 0 * found]) == []


def test_found_pixels_near_a_label_belong_to_it_and_those_near_each_other_are_one_region():
    found = layer()
    found[8:14, 30:34] = 1  # 5 pixels right of the label
    found[60:66, 60:66] = found[60:66, 70:76] = 1
    suspects = contradicted([layer("a"), layer()], [0.9 * layer("a"), 0.9 * found])
    assert told(suspects) == [("unlabeled", "stain", (60, 60, 16, 6))]
    assert suspects[0].area == 72


def by_pixels(image, *truth):
    labeled = LabeledTruth(np.stack(truth), CLASSES)
    return list(suspects_by_pixels(image, labeled, image_id="one.png"))


def texture(seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(120, 12, (90, 100, 1)).clip(0, 255).astype(np.uint8)


def test_most_labels_on_plain_texture_look_like_their_surroundings():
    # Chance puts one in five among the places that differ most.
    suspects = [
        one for seed in range(10) for one in by_pixels(texture(seed), layer("a", "b"), layer("c"))
    ]
    assert {one.kind for one in suspects} == {"flat"}
    assert 20 <= len(suspects) <= 28
    assert re.fullmatch(r"\d+ % of other places differ as much .*", suspects[0].reason)


@pytest.mark.parametrize("change", ["brighter", "rougher"])
def test_a_defect_in_brightness_or_in_texture_does_not(change):
    image = texture().astype(float)
    for x, y, width, height in BOXES.values():
        part = image[y : y + height, x : x + width]
        part[:] = part + 25 if change == "brighter" else 120 + 3 * (part - 120)
    image = image.clip(0, 255).astype(np.uint8)
    assert by_pixels(image, layer("a", "b"), layer("c")) == []


def test_a_few_pixels_are_suspected_and_a_few_more_are_not():
    crumb, small = np.zeros((2, 90, 100), np.uint8)
    crumb[50, 50:52] = 1
    small[20:23, 20 : 20 + TINY_AREA // 3] = 1
    (suspect,) = by_pixels(texture(), crumb, small)
    assert told([suspect]) == [("tiny", "scratch", (50, 50, 2, 1))]
    assert suspect.reason == "it has 2 pixels"
    assert suspect.suspicion == pytest.approx(7 / 9)


def test_both_copies_that_are_labeled_differently_are_suspected():
    labels = {"a": {"1": "3 4"}, "b": {"1": "3 5"}, "c": {"1": "3 4"}, "d": {}}
    suspects = list(suspects_by_copies([("a", "b"), ("a", "c"), ("a", "d")], labels))
    assert [one.image_id for one in suspects] == ["a", "b", "a", "d"]
    assert suspects[0].reason == "b shows the same but is labeled differently"
    assert {one.suspicion for one in suspects} == {1.0}


def test_the_suspects_of_an_image_stand_together_the_highest_suspicion_first():
    def one(image_id: str, suspicion: float) -> Suspect:
        return Suspect(
            image_id=image_id, kind="missed", class_id="1", box_xywh=(0, 0, 1, 1), area=1,
            suspicion=suspicion, reason="",
        )  # fmt: skip

    given = [one("a", 0.5), one("b", 0.2), one("c", 0.7), one("b", 0.9), one("a", 0.6)]
    order = [(suspect.image_id, suspect.suspicion) for suspect in rank_suspects(given)]
    assert order == [("b", 0.9), ("b", 0.2), ("c", 0.7), ("a", 0.6), ("a", 0.5)]
