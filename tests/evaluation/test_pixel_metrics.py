import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import config_context
from sklearn.metrics import average_precision_score

from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.pixel_threshold import COARSE_BITS
from defectkit.evaluation.score_levels import LEVELS, levels_of, lowest_score
from defectkit.labels.scope import Scope

CLASSES = ("a", "b")
NONE_WITHOUT_THRESHOLD = (
    *("dice", "mean_iou", "mean_iou_classes", "iou_by_class"),
    *("dice_defective_mean", "kaggle_dice"),
)


def as_scores(levels):
    """Return a float32 score of each level."""
    values, index = np.unique(levels, return_inverse=True)
    lowest = np.array([lowest_score(int(level)) for level in values], np.float32)
    return lowest[index].reshape(np.shape(levels))


def random_images(rng, count, *, shape=(2, 9, 12), distinct=12, step=1):
    """Return (levels, score_map, truth) of images with few distinct scores, so with many ties."""
    choices = np.sort(as_scores(rng.integers(0, LEVELS // step, distinct) * step))
    images = []
    for _ in range(count):
        scores = rng.choice(choices, shape)
        truth = rng.random(shape) < rng.choice([0.0, 0.02, 0.3])
        images.append((levels_of(scores), scores, truth))
    return images


def pooled(images, *, threshold=None, classes=CLASSES):
    metrics = PixelMetrics(classes=classes, threshold=threshold)
    for *_, score_map, truth in images:
        metrics.update(score_map, LabeledTruth(truth, classes))
    return metrics


@pytest.fixture(autouse=True)
def fast_sklearn():
    """Its checks of its arguments would take most of the time of 1,000 cases."""
    with config_context(assume_finite=True, skip_parameter_validation=True):
        yield


def assert_same(left, right):
    """All metrics are identical; only sums of region shares may differ in the last bit."""
    left, right = dict(left), dict(right)
    for name in ("aupro_30", "aupro_05"):
        assert left.pop(name) == pytest.approx(right.pop(name), abs=1e-12)
    assert left == right


# Pixel scores


@pytest.mark.slow
@pytest.mark.check(8)
def test_pixel_average_precision_agrees_with_sklearn_on_random_cases(tally):
    rng = np.random.default_rng(2)
    for _ in range(tally.number(short=200, full=1000)):
        tally.tried += 1
        images = random_images(rng, 2, distinct=int(rng.integers(1, 200)))
        any_truth = np.concatenate([truth.any(axis=0).ravel() for *_, truth in images])
        levels = np.concatenate([levels.max(axis=0).ravel() for levels, *_ in images])
        value = pooled(images).result()["average_precision"]
        if any_truth.all() or not any_truth.any():
            assert value is None
            continue
        assert value == pytest.approx(average_precision_score(any_truth, levels), abs=1e-12)
        assert 0.0 <= value <= 1.0


@pytest.mark.parametrize(
    ("shift", "error"), [(-18, 5e-4), (-12, 5e-4), (0, 5e-4), (6, 5e-4), (9, 1e-3), (12, 0.02)]
)
def test_average_precision_stays_when_all_logits_are_shifted(shift, error):
    rng = np.random.default_rng(11)
    truth = rng.random((1, 300, 400)) < 0.03
    logits = rng.normal(size=truth.shape) + 2.2 * truth
    scores = (1 / (1 + np.exp(-(logits + shift)))).astype(np.float32)
    value = pooled([(None, scores, truth)], classes=("a",)).result()["average_precision"]
    assert value == pytest.approx(average_precision_score(truth.ravel(), logits.ravel()), abs=error)
    # What is lost at +12 is lost in float32 itself, near 1, and not in the levels.
    exact = average_precision_score(truth.ravel(), scores.ravel())
    assert value == pytest.approx(exact, abs=5e-4)


def slow_aupro(images, limit):
    """The definition, threshold by threshold, with regions from another library."""
    levels = [levels.max(axis=0) for levels, *_ in images]
    truths = [truth.any(axis=0) for *_, truth in images]
    regions = []
    for image_levels, truth in zip(levels, truths, strict=True):
        labels, count = ndimage.label(truth, np.ones((3, 3)))
        regions += [image_levels[labels == label] for label in range(1, count + 1)]
    good = np.concatenate([image[~truth] for image, truth in zip(levels, truths, strict=True)])
    if not regions or not good.size:
        return None
    area, last_rate, last_overlap = 0.0, 0.0, 0.0
    for threshold in sorted({int(v) for image in levels for v in image.ravel()}, reverse=True):
        rate = float(np.mean(good >= threshold))
        overlap = float(np.mean([np.mean(region >= threshold) for region in regions]))
        if rate > limit:
            part = (limit - last_rate) / (rate - last_rate)
            rate, overlap = limit, last_overlap + part * (overlap - last_overlap)
        area += (rate - last_rate) * (overlap + last_overlap) / 2
        last_rate, last_overlap = rate, overlap
        if rate == limit:
            break
    return area / limit


@pytest.mark.slow
@pytest.mark.check(8)
def test_aupro_agrees_with_its_definition_on_random_cases(tally):
    rng = np.random.default_rng(3)
    for _ in range(tally.number(short=300, full=1000)):
        tally.tried += 1
        images = random_images(rng, 3, distinct=int(rng.integers(1, 30)))
        result = pooled(images).result()
        for name, limit in (("aupro_30", 0.3), ("aupro_05", 0.05)):
            assert result[name] == pytest.approx(slow_aupro(images, limit), abs=1e-12)
            assert result[name] is None or 0.0 <= result[name] <= 1.0


def test_aupro_weighs_small_and_large_regions_alike():
    truth = np.zeros((1, 20, 20), bool)
    truth[0, :10, :10] = True
    truth[0, 15, 15] = True
    scores = np.zeros((1, 20, 20), np.float32)
    scores[0, :10, :10] = 1.0  # the large region alone is found, without a false positive
    images = [(None, scores, truth)]
    # From one half at a false-positive rate of 0, straight to everything at 1.
    result = pooled(images, classes=("a",)).result()
    assert result["aupro_30"] == pytest.approx(0.5 + 0.15 / 2)
    assert result["aupro_05"] == pytest.approx(0.5 + 0.025 / 2)


def slow_dice(predicted, truth):
    total = np.sum(predicted) + np.sum(truth)
    return 2 * np.sum(predicted & truth) / total if total else None


def slow_masks(score_map, threshold):
    """Return the predicted masks (K, H, W), pixel by pixel; equal layers tell no class."""
    masks = np.zeros(score_map.shape, bool)
    for y, x in np.ndindex(*score_map.shape[1:]):
        scores = score_map[:, y, x]
        if scores.max() >= np.float32(threshold) and scores.min() < scores.max():
            masks[np.argmax(scores), y, x] = True
    return masks


@pytest.mark.check(8)
@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_metrics_at_a_threshold_agree_with_slow_loops(dtype, tally):
    rng = np.random.default_rng(4)
    for _ in range(tally.number(short=100, full=500)):
        tally.tried += 1
        images = random_images(rng, 3, shape=(3, 5, 7))
        threshold = float(rng.choice([0.0, 0.4, 0.8, 1.0, images[0][1].max()]))
        metrics = PixelMetrics(classes=("a", "b", "c"), threshold=threshold)
        for _, score_map, truth in images:
            masks = truth.astype(dtype) * dtype(1 if dtype is bool else 255)
            metrics.update(score_map, LabeledTruth(masks, metrics.classes))
        masks = [slow_masks(score_map, threshold) for _, score_map, _ in images]
        truths = [truth for *_, truth in images]
        result = metrics.result()

        predicted, truth = np.stack(masks, axis=1), np.stack(truths, axis=1)  # (K, images, H, W)
        found = [score_map.max(axis=0) >= np.float32(threshold) for _, score_map, _ in images]
        assert result["dice"] == slow_dice(np.stack(found), truth.any(axis=0))
        ious = []
        for name, one, other in zip("abc", predicted, truth, strict=True):
            union = np.sum(one | other)
            ious.append(np.sum(one & other) / union if union else None)
            assert result["iou_by_class"][name] == ious[-1]
        present = [iou for iou in ious if iou is not None]
        assert result["mean_iou"] == (pytest.approx(np.mean(present)) if present else None)
        assert result["mean_iou_classes"] == len(present)
        defective = [
            slow_dice(any_defect, truth.any(axis=0))
            for any_defect, truth in zip(found, truths, strict=True)
            if truth.any()
        ]
        assert result["dice_defective_mean"] == (
            pytest.approx(np.mean(defective)) if defective else None
        )
        pairs = [
            slow_dice(*pair)
            for image in zip(masks, truths, strict=True)
            for pair in zip(*image, strict=True)
        ]
        assert result["kaggle_dice"] == pytest.approx(
            np.mean([1 if d is None else d for d in pairs])
        )
        floor = np.mean([not layer.any() for truth in truths for layer in truth])
        assert result["kaggle_dice_floor"] == pytest.approx(floor)


@pytest.mark.check(32)
def test_perfect_predictions_are_worth_one():
    rng = np.random.default_rng(5)
    truth = np.zeros((2, 30, 40), bool)
    truth[0, 3:9, 4:20] = truth[1, 20:25, 30:39] = True
    images = [
        (None, t.astype(np.float32), t) for t in (truth, np.zeros_like(truth), truth[:, ::-1])
    ]
    result = pooled([images[i] for i in rng.permutation(3)], threshold=0.5).result()
    assert result.pop("iou_by_class") == {"a": 1.0, "b": 1.0}
    assert result.pop("kaggle_dice_floor") == 1 / 3
    assert result.pop("mean_iou_classes") == 2
    assert set(result.values()) == {1.0}


@pytest.mark.check(32)
def test_empty_predictions_are_worth_the_floor():
    rng = np.random.default_rng(6)
    images = [(None, np.zeros_like(s), t) for _, s, t in random_images(rng, 8)]
    truth = np.stack([t for *_, t in images]).any(axis=1)
    result = pooled(images, threshold=0.5).result()
    assert result["kaggle_dice"] == result["kaggle_dice_floor"]
    assert result["dice"] == result["dice_defective_mean"] == result["mean_iou"] == 0.0
    assert result["average_precision"] == pytest.approx(truth.mean())
    assert result["aupro_30"] == pytest.approx(0.15)  # the diagonal


@pytest.mark.check(17)
def test_one_defect_in_1000_images_is_not_hidden_by_the_good_ones():
    truth = np.zeros((2, 8, 8), bool)
    metrics = PixelMetrics(classes=CLASSES, threshold=0.5)
    for index in range(1000):
        image_truth = truth.copy()
        image_truth[0, 2:4, 2:4] = index == 700
        metrics.update(np.zeros(truth.shape, np.float32), LabeledTruth(image_truth, CLASSES))
    result = metrics.result()
    assert result["kaggle_dice"] == result["kaggle_dice_floor"] == 0.9995
    assert result["dice"] == result["dice_defective_mean"] == 0.0
    assert result["iou_by_class"] == {"a": 0.0, "b": None}
    assert (result["mean_iou"], result["mean_iou_classes"]) == (0.0, 1)


def test_a_class_that_is_only_found_counts_0_and_one_that_is_neither_is_left_out():
    truth = np.zeros((3, 4, 4), bool)
    truth[0, :2, :2] = True
    scores = truth.astype(np.float32)
    scores[1, 3, 3] = 1.0
    result = pooled([(None, scores, truth)], threshold=0.5, classes=("a", "b", "c")).result()
    assert result["iou_by_class"] == {"a": 1.0, "b": 0.0, "c": None}
    assert (result["mean_iou"], result["mean_iou_classes"]) == (0.5, 2)


@pytest.mark.check(32)
def test_shuffled_scores_are_worth_chance():
    rng = np.random.default_rng(7)
    images = []
    for _ in range(10):
        truth = ndimage.binary_dilation(rng.random((1, 100, 100)) < 0.0005, iterations=5)
        images.append((None, rng.random(truth.shape, np.float32), truth))
    share = np.mean([truth for *_, truth in images])
    result = pooled(images, classes=("a",)).result()
    assert result["average_precision"] == pytest.approx(share, rel=0.1)
    assert result["aupro_30"] == pytest.approx(0.15, abs=0.02)


@pytest.mark.check(29)
def test_order_and_merging_change_nothing():
    rng = np.random.default_rng(8)
    images = random_images(rng, 12, distinct=300)
    whole = pooled(images, threshold=0.6)
    for _ in range(5):
        order = [images[i] for i in rng.permutation(len(images))]
        shuffled = pooled(order, threshold=0.6)
        assert_same(shuffled.result(), whole.result())
        merged = pooled(order[:5], threshold=0.6)
        merged.merge(pooled(order[5:], threshold=0.6))
        assert_same(merged.result(), whole.result())
        assert merged.best_threshold() == whole.best_threshold()
    with pytest.raises(ValueError, match="same classes and threshold"):
        whole.merge(pooled(images, threshold=0.7))


def test_images_are_pooled_and_not_averaged():
    truth = np.zeros((1, 10, 10), bool)
    truth[0, 0] = True
    small = truth[:, :1, :1]
    scores = truth.astype(np.float32)
    images = [(None, scores, truth), (None, np.zeros((1, 1, 1), np.float32), small)]
    assert pooled(images, threshold=0.5, classes=("a",)).result()["dice"] == 20 / 21


def test_without_a_threshold_only_what_needs_it_is_none():
    result = pooled(random_images(np.random.default_rng(9), 3)).result()
    assert [key for key, value in result.items() if value is None] == list(NONE_WITHOUT_THRESHOLD)


def test_defect_or_not_has_no_metrics_of_classes():
    images = random_images(np.random.default_rng(9), 3, shape=(1, 9, 12))
    one, unnamed = (
        pooled(images, threshold=0.5, classes=classes).result() for classes in (("a",), ("",))
    )
    of_classes = {"mean_iou", "mean_iou_classes", "iou_by_class", "kaggle_dice"}
    of_classes.add("kaggle_dice_floor")
    assert {name for name in one if unnamed[name] is None} == of_classes
    assert all(unnamed[name] == one[name] for name in one.keys() - of_classes)


def test_without_images_nothing_is_claimed():
    result = PixelMetrics(classes=CLASSES, threshold=0.5).result()
    assert result.pop("iou_by_class") == {"a": None, "b": None}
    assert result.pop("mean_iou_classes") == 0
    assert set(result.values()) == {None}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_best_threshold_is_good_for_all_pixels_and_for_each_image(seed, distinct):
    step = 1 << COARSE_BITS  # no two thresholds share a level of single images
    images = random_images(np.random.default_rng(seed), 3, distinct=distinct, step=step)
    scores = np.concatenate([score_map.max(axis=0).ravel() for _, score_map, _ in images])
    truth = np.concatenate([truth.any(axis=0).ravel() for *_, truth in images])
    best = pooled(images).best_threshold()
    if not truth.any():
        assert best is None
        return
    threshold, value = best
    assert value == slow_dice(scores >= np.float32(threshold), truth)
    # The same number comes out when it is used as the threshold.
    assert pooled(images, threshold=threshold).result()["dice"] == value
    thresholds = np.unique(scores)
    defective = [(one.max(axis=0), own.any(axis=0)) for _, one, own in images if own.any()]
    dice = np.array(
        [
            [
                slow_dice(scores >= one, truth),
                sum(slow_dice(own >= one, true) for own, true in defective),
            ]
            for one in thresholds
        ]
    )
    quality = (dice / dice.max(axis=0)).sum(axis=1)
    # Of equally good ones it is the highest.
    best = np.flatnonzero(quality >= quality.max() - 1e-9)[-1]
    assert np.searchsorted(thresholds, np.float32(threshold)) == best


def test_without_a_good_pixel_there_is_no_ranking_and_no_false_positive_rate():
    images = [(None, np.full((1, 4, 4), 0.7, np.float32), np.ones((1, 4, 4), bool))]
    result = pooled(images, threshold=0.5, classes=("a",)).result()
    assert result["average_precision"] is result["aupro_30"] is result["aupro_05"] is None
    assert result["dice"] == 1.0


def test_of_two_equally_good_thresholds_the_higher_is_taken():
    scores = np.array([[[0.8, 0.6, 0.4, 0.2]]], np.float32)
    truth = np.array([[[True, False, False, True]]])
    images = [(None, scores, truth)]  # 2 of 3 with one pixel marked, 4 of 6 with all
    assert pooled(images, classes=("a",)).best_threshold() == (pytest.approx(0.7, abs=1e-3), 2 / 3)


def test_the_best_threshold_lies_halfway_between_neighbors():
    scores = np.array([[[0.1, 0.2, 0.6, 0.9]]], np.float32)
    truth = np.array([[[False, False, True, True]]])
    images = [(None, scores, truth)]
    assert pooled(images, classes=("a",)).best_threshold() == (pytest.approx(0.4, abs=1e-3), 1.0)
    images = [(None, scores, np.ones_like(truth))]
    assert pooled(images, classes=("a",)).best_threshold() == (pytest.approx(0.05, abs=1e-3), 1.0)


@pytest.mark.parametrize("gap", [1, 2, 3, 40, 10000])
def test_the_best_threshold_separates_neighbors_that_float32_hardly_tells_apart(gap):
    lower = np.float32(1 - 2**-12)
    upper = (lower.view(np.int32) + np.int32(gap)).view(np.float32)
    scores = np.array([[[0.5, lower, min(upper, np.float32(1))]]], np.float32)
    truth = np.array([[[False, False, True]]])
    threshold, dice = pooled([(None, scores, truth)], classes=("a",)).best_threshold()
    assert dice == slow_dice(scores >= np.float32(threshold), truth)
    assert (dice == 1.0) == (levels_of(scores[0, 0, 1:])[0] != levels_of(scores[0, 0, 1:])[1])


@pytest.mark.parametrize(
    ("score_map", "truth", "message"),
    [
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4), bool), r"\(K, H, W\) float32 but got .* float64"),
        (np.zeros((4, 4), np.float32), np.zeros((2, 4, 4), bool), r"\(K, H, W\) float32"),
        (np.zeros((2, 0, 4), np.float32), np.zeros((2, 0, 4), bool), r"\(K, H, W\) float32"),
        (np.zeros((3, 4, 4), np.float32), np.zeros((3, 4, 4), bool), "each of the 2 classes"),
        (np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 5), bool), "each of the 2 classes"),
        (np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4)), "bool or uint8 but got float64"),
        (np.full((2, 4, 4), np.nan, np.float32), np.zeros((2, 4, 4), bool), r"in \[0, 1\]"),
        (np.full((2, 4, 4), 1.01, np.float32), np.zeros((2, 4, 4), bool), r"in \[0, 1\]"),
        (np.full((2, 4, 4), -0.1, np.float32), np.zeros((2, 4, 4), bool), r"in \[0, 1\]"),
    ],
)
def test_update_refuses_what_does_not_fit_and_keeps_its_state(score_map, truth, message):
    metrics = pooled(random_images(np.random.default_rng(10), 2), threshold=0.5)
    before = metrics.result()
    with pytest.raises(ValueError, match=message):
        metrics.update(score_map, LabeledTruth(truth, CLASSES))
    assert metrics.result() == before


@pytest.mark.parametrize(
    ("classes", "threshold", "message"),
    [
        ((), 0.5, "one or more distinct names"),
        (("a", "a"), 0.5, "one or more distinct names"),
        (CLASSES, 1.5, r"threshold must be in \[0, 1\] but got 1.5"),
        (CLASSES, math.nan, r"threshold must be in \[0, 1\] but got nan"),
    ],
)
def test_pixel_metrics_refuse_senseless_settings(classes, threshold, message):
    with pytest.raises(ValueError, match=message):
        PixelMetrics(classes=classes, threshold=threshold)


# Scopes


@pytest.mark.check(48)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.0, 0.4, 1.0]))
@settings(max_examples=40)
def test_the_metrics_are_those_of_the_pixels_that_count(seed, threshold):
    rng = np.random.default_rng(seed)
    scoped = PixelMetrics(classes=CLASSES, threshold=threshold)
    cropped = PixelMetrics(classes=CLASSES, threshold=threshold)
    for _, scores, truth in random_images(rng, 3):
        counted = np.zeros(truth.shape[1:], bool)
        counted[2:8, 3:11] = True
        scope = Scope(ignored=~counted) if rng.random() < 0.5 else Scope(roi=counted)
        scoped.update(scores, LabeledTruth(truth & counted, CLASSES, scope))
        crop = np.s_[:, 2:8, 3:11]
        cropped.update(
            np.ascontiguousarray(scores[crop]),
            LabeledTruth(np.ascontiguousarray(truth[crop]), CLASSES),
        )
    assert_same(scoped.result(), cropped.result())
    assert scoped.best_threshold() == cropped.best_threshold()
