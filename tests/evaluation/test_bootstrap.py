"""The metric of a resample must be exactly that of the images drawn."""

import numpy as np
import pytest

from defectkit.evaluation import bootstrap as module
from defectkit.evaluation.bootstrap import (
    bootstrap,
    draw_resamples,
    percentile_interval,
    resampled_auroc,
    resampled_average_precision,
    resampled_ratio,
)
from defectkit.evaluation.ranking import auroc, average_precision


def cases(count=60):
    rng = np.random.default_rng(0)
    for _ in range(count):
        images = int(rng.integers(1, 40))
        truth = rng.random(images) < rng.random()
        yield truth, rng.random(images).round(int(rng.integers(1, 3)))  # many ties


@pytest.mark.parametrize(
    ("resampled", "plain"),
    [(resampled_average_precision, average_precision), (resampled_auroc, auroc)],
)
def test_the_metric_of_a_resample_is_that_of_its_images(resampled, plain):
    for truth, scores in cases():
        counts = draw_resamples(np.arange(len(truth)), 20, key=(len(truth),))
        got = resampled(truth, scores)(counts)
        for value, row in zip(got, counts, strict=True):
            expected = plain(np.repeat(truth, row), np.repeat(scores, row))
            assert value == pytest.approx(expected if expected is not None else np.nan, nan_ok=True)


def test_a_ratio_is_that_of_the_sums():
    part, whole = np.array([1, 0, 4]), np.array([2, 0, 5])
    counts = np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]])
    expected = [5 / 7, np.nan, 6 / 9]
    assert resampled_ratio(part, whole)(counts) == pytest.approx(expected, nan_ok=True)


def test_groups_are_drawn_with_replacement_and_each_as_often():
    counts = draw_resamples(np.arange(50), 4000, key=(1,))
    assert counts.shape == (4000, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.1)
    assert counts.var() == pytest.approx(49 / 50, abs=0.02)  # of a binomial (50, 1 / 50)


def test_all_images_of_a_drawn_group_come_along():
    groups = np.array([2, 0, 1, 0, 2, 2])
    counts = draw_resamples(groups, 300, key=(1,))
    assert counts.shape == (300, 6)
    assert (counts[:, [0, 0, 1]] == counts[:, [4, 5, 3]]).all()
    assert (counts[:, [0, 1, 2]].sum(axis=1) == 3).all(), "as many groups as there are"
    assert (counts == draw_resamples(np.arange(3), 300, key=(1,))[:, groups]).all()


IMAGES = np.arange(30)  # each a group of its own


def first(counts):
    return counts[:, 0] * 1.0


def test_the_same_draws_for_every_run_and_in_any_number_of_blocks(monkeypatch):
    seen = []
    for _ in range(2):
        bootstrap([lambda counts: seen.append(counts) or first(counts)], IMAGES, resamples=40)
    assert (seen[0] == seen[1]).all()
    monkeypatch.setattr(module, "MAX_BLOCK_SIZE", 30 * 7)
    blocks = []
    metrics = [first, lambda counts: blocks.append(counts) or 2 * first(counts)]
    values = bootstrap(metrics, IMAGES, resamples=40)
    assert values.shape == (2, 40)
    assert (values[1] == 2 * values[0]).all()
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 7, 5]
    assert len({block.tobytes() for block in blocks}) == 6, "each block has its own draws"
    assert (bootstrap([first], IMAGES, resamples=40, seed=1) != values[0]).any()


def test_the_interval_is_the_middle_95_percent_of_the_values_that_are_not_nan():
    values = np.arange(1001) / 1000
    assert percentile_interval(np.append(values, [np.nan] * 500)) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.full(9, np.nan)) is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        found = rng.random(80) < 0.6
        ratio = resampled_ratio(found, np.ones(80))
        (values,) = bootstrap([ratio], np.arange(80), resamples=300, seed=seed)
        low, high = percentile_interval(values)
        covered += low <= 0.6 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_covers_the_truth_of_clustered_images_only_if_groups_are_drawn():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), 6)
    covered = np.zeros(2)
    for seed in range(150):
        found = rng.random(240) < np.repeat(rng.beta(0.6, 0.4, 40), 6)  # 0.6 in the mean
        for place, drawn in enumerate((groups, np.arange(240))):
            ratio = resampled_ratio(found, np.ones(240))
            (values,) = bootstrap([ratio], drawn, resamples=200, seed=seed)
            low, high = percentile_interval(values)
            covered[place] += low <= 0.6 <= high
    assert covered[0] / 150 >= 0.88
    assert covered[1] / 150 <= 0.8


def test_a_paired_difference_is_significant_where_single_intervals_overlap():
    rng = np.random.default_rng(4)
    hard = rng.random(200)  # some images are hard for everybody
    one, other = hard * 0.9, hard * 0.9 - 0.02
    ratios = [resampled_ratio(part, np.ones(200)) for part in (one, other)]
    values = bootstrap(ratios, np.arange(200))
    (low, _), (_, high) = percentile_interval(values[0]), percentile_interval(values[1])
    assert low < high, "by themselves they cannot be told apart"
    assert percentile_interval(values[0] - values[1]) == pytest.approx((0.02, 0.02))
