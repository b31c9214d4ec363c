"""Only differences that are more than chance may be marked, and only on the very same images."""

from dataclasses import replace

import numpy as np
import pytest

from defectkit.errors import DatasetError
from defectkit.evaluation.bootstrap import RESAMPLES
from defectkit.evaluation.comparison import (
    COMPARED_METRICS,
    Difference,
    compare_results,
    warn_of_incomparable,
)
from defectkit.evaluation.evaluation_result import EvaluationResult
from defectkit.evaluation.ranking import auroc, average_precision

IMAGES = 80


def result(name, *, scores, defective=None, hits=10, regions=None, alarms=None, ids=None):
    """An evaluation of 80 images, every other one defective with 20 true pixels and one region."""
    count = len(scores)
    defective = np.arange(count) % 2 == 0 if defective is None else defective
    pixels = np.array([20 * defective, 20 * defective, hits * defective])
    regions = np.array([defective * 1, defective * 1]) if regions is None else regions
    alarms = np.zeros(count, np.int64) if alarms is None else alarms
    both = pixels[:2].sum()
    dice = 2 * pixels[2].sum() / both if both else None
    return EvaluationResult(
        name=name,
        metrics={
            "image": {
                "average_precision": average_precision(defective, scores),
                "auroc": auroc(defective, scores),
            },
            "pixel": {"dice": dice},
            "region": {
                "recall": {"value": regions[0].sum() / regions[1].sum()},
                "false_alarms_per_image": alarms.mean(),
            },
        },
        image_ids=tuple(ids or (f"{n:03d}" for n in range(count))),
        defective=defective,
        scores=np.asarray(scores),
        outcomes=("hit",) * count,
        pixels=pixels,
        regions=regions,
        false_alarms=alarms,
    )


def noisy(seed, strength):
    rng = np.random.default_rng(seed)
    truth = np.arange(IMAGES) % 2 == 0
    return np.clip(0.5 + strength * (truth - 0.5) + 0.3 * rng.standard_normal(IMAGES), 0, 1)


def test_a_clear_difference_is_significant_and_a_small_one_is_not():
    runs = [
        result("sharp", scores=noisy(0, 0.8)),
        result("blind", scores=noisy(1, 0.0)),
        result("alike", scores=np.clip(noisy(0, 0.8) + 0.01 * noisy(2, 0.0), 0, 1)),
    ]
    sharp, blind, alike = compare_results(runs)["image_ap"]
    assert sharp.value > alike.value > blind.value
    assert sharp.to_best is None
    assert blind.to_best.significant
    assert blind.to_best.value == pytest.approx(blind.value - sharp.value)
    assert blind.to_best.low < blind.to_best.value < blind.to_best.high < 0
    assert not alike.to_best.significant
    assert alike.to_best.low <= alike.to_best.value <= 0 <= alike.to_best.high


def test_a_difference_is_significant_though_the_intervals_overlap():
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 20, IMAGES)
    one, other = result("a", scores=noisy(0, 1), hits=hard), result(
        "b", scores=noisy(0, 1), hits=np.maximum(hard - 1, 0)
    )  # fmt: skip
    left, right = compare_results([one, other])["pixel_dice"]
    assert left.interval[0] < right.interval[1], "by themselves they cannot be told apart"
    assert right.to_best.significant


def test_equal_runs_differ_in_nothing():
    twins = [result(name, scores=noisy(0, 0.5)) for name in "ab"]
    for estimates in compare_results(twins).values():
        first, second = estimates
        assert first.to_best is None
        assert second.to_best == Difference(value=0.0, low=0.0, high=0.0)
        assert not second.to_best.significant


def test_fewer_false_alarms_are_better():
    loud = result("loud", scores=noisy(0, 1), alarms=np.full(IMAGES, 3))
    quiet = result("quiet", scores=noisy(0, 1), alarms=np.arange(IMAGES) % 2)
    first, second = compare_results([loud, quiet])["false_alarms_per_image"]
    assert second.to_best is None
    assert (first.to_best.value, first.to_best.significant) == (2.5, True)
    assert first.interval == (3.0, 3.0)


def test_intervals_contain_their_value_and_no_value_has_no_interval():
    estimates = compare_results([result("a", scores=noisy(3, 0.4))])
    assert list(estimates) == list(COMPARED_METRICS)
    for (estimate,) in estimates.values():
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
        assert estimate.to_best is None
    good = np.zeros(IMAGES, bool)
    nothing = result("a", scores=noisy(0, 1), defective=good, regions=np.ones((2, IMAGES)))
    other = result("b", scores=noisy(1, 1), defective=good, regions=np.ones((2, IMAGES)))
    for estimate in compare_results([nothing, other])["image_ap"]:
        assert (estimate.value, estimate.interval, estimate.to_best) == (None, None, None)


def test_regions_are_resampled_with_their_images():
    # All regions found in one image of many regions: half of the draws have it not, or twice.
    regions = np.zeros((2, IMAGES), np.int64)
    regions[:, 0] = 50
    regions[1, 1:] = 1
    run = result("a", scores=noisy(0, 1), regions=regions)
    (estimate,) = compare_results([run])["region_recall"]
    assert estimate.value == pytest.approx(50 / 129)
    assert estimate.interval[0] == 0.0
    assert estimate.interval[1] > 0.6
    assert RESAMPLES == 1000


@pytest.mark.parametrize("change", ["id", "truth", "fewer"])
def test_other_images_or_another_truth_are_refused(change):
    scores = noisy(0, 1)
    ids = [f"{n:03d}" for n in range(IMAGES)]
    truth = np.arange(IMAGES) % 2 == 0
    if change == "id":
        ids[7] = "007b"
    elif change == "truth":
        truth[7] = True
    else:
        ids, truth, scores = ids[:7], truth[:7], scores[:7]
    other = result("two", scores=scores, ids=ids, defective=truth)
    with pytest.raises(
        DatasetError, match=r"one and two were not evaluated .* \(for example, 007 differs\)"
    ):
        compare_results([result("one", scores=noisy(0, 1)), other])


def test_the_warnings_name_the_runs_with_their_devices_and_rules():
    one, two = (
        replace(
            result(name, scores=noisy(0, 1)),
            metrics={
                "speed": {"device": device},
                "image": {"n_defective": defective, "n_good": 500},
            },
        )
        for name, device, defective in (("a", "cpu (2 threads)", 400), ("b", "cuda", 400))
    )
    assert warn_of_incomparable([one, one], ["f1", "f1"]) == []
    devices, rules = warn_of_incomparable([one, two], ["f1", "cost_ratio=50"])
    assert devices.startswith("The milliseconds cannot be compared: a: cpu (2 threads); b: cuda. ")
    assert "chosen by different rules: a: f1; b: cost_ratio=50. Choose them by one rule" in rules
    few = replace(one, metrics={**one.metrics, "image": {"n_defective": 7, "n_good": 500}})
    (text,) = warn_of_incomparable([few], ["f1"])
    assert text.startswith("7 defective and 500 good images are few: most differences between")
