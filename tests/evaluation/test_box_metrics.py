"""Boxes must be counted exactly as COCO's own evaluation counts them."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from defectkit.evaluation.box_metrics import MAX_DETECTIONS, BoxMetrics
from defectkit.regions import Region

CLASSES = ("1", "2", "3")
SIDE = 64


def region(class_id, score, box):
    return Region(class_id=class_id, score=score, box_xywh=box, area=1)


def pooled(images, classes=CLASSES):
    metrics = BoxMetrics(classes=classes)
    for found, true in images:
        metrics.update(found, [region(name, 1.0, box) for name, box in true])
    return metrics.result()


def by_coco(images, classes=CLASSES):
    """The two numbers as pycocotools gives them; its -1 for no true box is None."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": int(name)} for name in classes],
        "annotations": [
            {"id": 1 + place, "image_id": number, "category_id": int(name), "bbox": list(box),
             "area": box[2] * box[3], "iscrowd": 0}
            for place, (number, (name, box)) in enumerate(
                (number, one) for number, (_, true) in enumerate(images) for one in true
            )
        ],
    }  # fmt: skip
    found = [
        {"image_id": number, "category_id": int(one.class_id), "bbox": list(one.box_xywh),
         "score": one.score}
        for number, (boxes, _) in enumerate(images)
        for one in boxes
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found) if found else COCO(), "bbox")
        if not found:  # loadRes takes no empty list.
            evaluation.cocoDt.createIndex()
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    all_overlaps, half = evaluation.stats[:2]
    return [None if value == -1 else value for value in (half, all_overlaps)]


def random_box(rng, near=None):
    if near is None or rng.random() < 0.3:
        x, y = rng.integers(0, SIDE - 8, 2)
        width, height = rng.integers(1, 24, 2)
    else:
        x, y, width, height = np.maximum(near + rng.integers(-3, 4, 4), [0, 0, 1, 1])
    return tuple(int(v) for v in (x, y, width, height))


def random_image(rng, classes):
    """Few distinct scores and whole boxes: ties of scores and of overlaps are common."""
    true = [(str(rng.choice(classes)), random_box(rng)) for _ in range(rng.integers(0, 5))]
    found = []
    for _ in range(rng.integers(0, 9)):
        near = np.array(true[rng.integers(len(true))][1]) if true else None
        name = true[0][0] if true and rng.random() < 0.5 else str(rng.choice(CLASSES))
        found.append(region(name, float(rng.integers(0, 6)) / 5, random_box(rng, near)))
    if found and rng.random() < 0.2:
        found.append(found[0])  # the same box twice: one of them is wrong
    return found, true


@pytest.mark.check(8)
def test_agrees_with_pycocotools_on_random_splits(tally):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(tally.number(short=400, full=1000)):
        tally.tried += 1
        classes = CLASSES[: rng.integers(1, 4)]  # of three, some without truth
        images = [random_image(rng, classes) for _ in range(rng.integers(1, 7))]
        expected = by_coco(images)
        got = pooled(images)
        assert [got["map_50"], got["map_50_95"]] == pytest.approx(expected, abs=1e-9), images
        seen.add(None if expected[0] is None else round(expected[0], 1))
    assert {None, 0.0, 1.0} < seen
    assert len(seen) > 8, "the cases must not all be alike"


def test_only_the_best_100_of_a_class_in_an_image_count():
    true = [("1", (10, 10, 20, 20))]
    wrong = [region("1", 0.5, (40, 40, 9, 9))] * MAX_DETECTIONS
    last = region("1", 0.4, (10, 10, 20, 20))
    for images in ([([*wrong, last], true)], [([last, *wrong[1:]], true)]):
        assert pooled(images)["map_50"] == pytest.approx(by_coco(images)[0], abs=1e-9)
    assert pooled([([*wrong, last], true)])["map_50"] == 0.0
    assert pooled([([*wrong[1:], last], true)])["map_50"] == pytest.approx(1 / MAX_DETECTIONS)
    other = [region("2", 0.9, (40, 40, 9, 9))] * MAX_DETECTIONS
    assert pooled([([*other, last], true)])["map_50"] == 1.0


@pytest.mark.parametrize(
    ("images", "half", "every"),
    [
        ([], None, None),
        ([([], [])], None, None),
        ([([region("1", 0.5, (0, 0, 4, 4))], [])], None, None),
        ([([], [("1", (0, 0, 4, 4))])], 0.0, 0.0),
        ([([region("1", 0.5, (0, 0, 4, 4))], [("1", (0, 0, 4, 4))])], 1.0, 1.0),
        ([([region("2", 0.5, (0, 0, 4, 4))], [("1", (0, 0, 4, 4))])], 0.0, 0.0),
        # 60 % overlap is right at 0.50, 0.55 and 0.60.
        ([([region("1", 0.5, (0, 0, 10, 6))], [("1", (0, 0, 10, 10))])], 1.0, 0.3),
    ],
)
def test_known_cases(images, half, every):
    assert pooled(images) == {"map_50": half, "map_50_95": pytest.approx(every)}


def test_a_wrong_box_costs_only_where_it_stands_before_a_right_one():
    true = [("1", (10, 10, 20, 20))]
    right, wrong = region("1", 0.5, (10, 10, 20, 20)), (40, 40, 9, 9)
    assert pooled([([right, region("1", 0.6, wrong)], true)])["map_50"] == 0.5
    assert pooled([([right, region("1", 0.4, wrong)], true)])["map_50"] == 1.0


@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_neither_the_order_of_boxes_nor_of_images_matters_where_scores_differ(random, seed):
    rng = np.random.default_rng(seed)
    images = [random_image(rng, CLASSES) for _ in range(4)]
    scores = iter(rng.permutation(100) / 100)
    images = [
        ([region(one.class_id, float(next(scores)), one.box_xywh) for one in found], true)
        for found, true in images
    ]
    shuffled = [(random.sample(found, len(found)), true) for found, true in images]
    assert pooled(random.sample(shuffled, 4)) == pytest.approx(pooled(images))


def test_a_class_that_nobody_knows_is_refused():
    with pytest.raises(KeyError, match="9"):
        BoxMetrics(classes=CLASSES).update([], [region("9", 1.0, (0, 0, 1, 1))])
