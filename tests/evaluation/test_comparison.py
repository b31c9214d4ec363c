"""Only differences that are more than chance may be marked, and only on the very same images."""

from dataclasses import replace

import numpy as np
import pytest

from defectkit.errors import DatasetError
from defectkit.evaluation.comparison import (
    COMPARED_METRICS,
    compare_results,
    count_resamples,
    warn_of_incomparable,
)
from defectkit.evaluation.estimates import Difference
from defectkit.evaluation.evaluation_result import EvaluationResult
from defectkit.evaluation.ranking import auroc, average_precision

IMAGES = 80


def result(
    name, *, scores, defective=None, hits=10, regions=None, alarms=None, ids=None, groups=None
):
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
        groups=np.arange(count) if groups is None else groups,
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
        assert second.to_best == Difference(value=0.0, low=0.0, high=0.0, p_value=1.0)
        assert not second.to_best.significant


def test_fewer_false_alarms_are_better():
    loud = result("loud", scores=noisy(0, 1), alarms=np.full(IMAGES, 3))
    quiet = result("quiet", scores=noisy(0, 1), alarms=np.arange(IMAGES) % 2)
    first, second = compare_results([loud, quiet])["false_alarms_per_image"]
    assert second.to_best is None
    assert (first.to_best.value, first.to_best.significant) == (2.5, True)
    assert first.interval is None, "three in every image say nothing of the spread"
    assert second.interval[0] < 0.5 < second.interval[1]


def test_intervals_contain_their_value_and_no_value_has_no_interval():
    estimates = compare_results([result("a", scores=noisy(3, 0.4), hits=np.arange(IMAGES) % 20)])
    assert list(estimates) == list(COMPARED_METRICS)
    for name, (estimate,) in estimates.items():
        assert estimate.to_best is None
        if name == "false_alarms_per_image":
            assert (estimate.value, estimate.interval) == (0.0, None)
        else:
            assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
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


def test_groups_are_drawn_and_not_images():
    """Four alike images of each of 20 workpieces say no more than one of each."""
    scores, alarms = noisy(0, 0.5)[:20], np.arange(20) % 3
    once = result("a", scores=scores, alarms=alarms, groups=np.arange(20))
    often = result(
        "a", scores=np.repeat(scores, 4), alarms=np.repeat(alarms, 4),
        defective=np.repeat(once.defective, 4), groups=np.repeat(np.arange(20), 4),
    )  # fmt: skip
    alone = replace(often, groups=np.arange(80))
    one, four, falsely = (compare_results([run]) for run in (once, often, alone))
    for name in ("image_ap", "auroc", "false_alarms_per_image"):
        assert four[name][0].interval == pytest.approx(one[name][0].interval)
        width, narrow = (np.ptp(run[name][0].interval) for run in (four, falsely))
        assert narrow < 0.7 * width, "as if there were four times the data"


ONE_GOOD_GROUP = np.where(np.arange(80) % 2 == 0, np.arange(80) // 2 % 3, 3)
"""Three groups of defective images and one of good ones."""


@pytest.mark.parametrize(
    ("name", "groups", "low"),
    [
        # 0.025 ** (1 / n): by groups with defective images, or with good ones where these are fewer
        ("image_ap", np.arange(80), 0.025 ** (1 / 40)),
        ("auroc", np.arange(80), 0.025 ** (1 / 40)),
        ("pixel_dice", np.arange(80) % 20, 0.025 ** (1 / 10)),
        ("region_recall", np.arange(80) % 20, 0.025 ** (1 / 10)),
        ("image_ap", ONE_GOOD_GROUP, 0.025),
        ("region_recall", ONE_GOOD_GROUP, 0.025 ** (1 / 3)),
    ],
)
def test_a_perfect_value_has_a_lower_end_that_rests_on_its_groups(name, groups, low):
    truth = np.arange(80) % 2 == 0
    perfect = result("a", scores=truth * 0.5 + 0.1, hits=20, groups=groups)
    (estimate,) = compare_results([perfect])[name]
    assert (estimate.value, estimate.interval) == (1.0, (pytest.approx(low), 1.0))


def test_the_differences_of_all_metrics_and_runs_are_corrected_together():
    loud = result("loud", scores=noisy(0, 1), alarms=np.full(IMAGES, 3))
    quiet = result("quiet", scores=noisy(0, 1))
    for runs in ([loud, quiet], [loud, quiet, replace(loud, name="again")]):
        estimates = compare_results(runs)
        tested = len(COMPARED_METRICS) * (len(runs) - 1)
        loudest = estimates["false_alarms_per_image"][0].to_best
        # No resample says otherwise: the smallest p-value there is, times all that are tested.
        assert loudest.p_value == pytest.approx(tested * 2 / (count_resamples(len(runs)) + 1))
        assert loudest.significant
    assert [count_resamples(runs) for runs in (1, 2, 5)] == [1000, 1000, 4000]


def test_among_many_runs_that_differ_by_chance_none_is_marked():
    rng = np.random.default_rng(6)
    marks = 0
    for _ in range(8):
        runs = [
            result(f"run {n}", scores=rng.random(IMAGES), alarms=rng.poisson(1.0, IMAGES),
                   hits=rng.integers(0, 20, IMAGES))
            for n in range(5)
        ]  # fmt: skip
        marks += any(
            one.to_best and one.to_best.significant
            for own in compare_results(runs).values()
            for one in own
        )
    assert marks <= 1, "at most one table in twenty"


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
                "region": {"all_regions": False},
                "class_confusion": {"classes": ["1"], "counts": [[1, 0]]},
            },
        )
        for name, device in (("a", "cpu (2 threads)"), ("b", "cuda"))
    )
    every = replace(one, metrics={**one.metrics, "region": {"all_regions": True}}, name="c")
    (regions,) = warn_of_incomparable([one, every], ["f1", "f1"])
    assert regions.startswith("Regions cannot be compared: they were listed for different images: ")
    assert "a: not good; c: all. Run 'defectkit evaluate' for all runs with" in regions
    assert warn_of_incomparable([one, one], ["f1", "f1"]) == []
    unnamed = replace(one, metrics={**one.metrics, "class_confusion": None}, name="d")
    (boxes,) = warn_of_incomparable([one, unnamed], ["f1", "f1"])
    assert boxes.startswith("The mAP of boxes cannot be compared: ")
    assert boxes.endswith("all boxes are of one class: a: told apart; d: not.")
    devices, rules = warn_of_incomparable([one, two], ["f1", "cost_ratio=50"])
    assert devices.startswith(
        "The milliseconds were not measured alike: a: cpu (2 threads); b: cuda. "
    )
    assert "chosen by different rules: a: f1; b: cost_ratio=50. Choose them by one rule" in rules
    few = replace(one, defective=np.arange(IMAGES) < 7)
    (text,) = warn_of_incomparable([few], ["f1"])
    assert text.startswith("7 defective images and 73 good images are few: most differences betw")
    few = replace(one, groups=np.arange(IMAGES) % 8)
    (text,) = warn_of_incomparable([few], ["f1"])
    assert text.startswith("40 defective images of 4 groups and 40 good images of 4 groups are few")
