import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from defectkit.evaluation.detection_by_size import (
    MIN_GROUPS,
    MIN_OF_EACH,
    detection_by_size,
)


def draw(n, *, seed=0, groups=None):
    """Regions whose probability of detection is known: 50 % at 100 pixels, 90 % at 300."""
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(np.log(5), np.log(5000), n))
    found = random.random(n) < expit(logit(0.9) * np.log(sizes / 100) / np.log(3))
    names = [f"{number % (groups or n)}" for number in range(n)]
    return sizes, found, names


def test_the_curve_is_that_of_the_largest_likelihood():
    sizes, found, groups = draw(300)

    def loss(weights):
        linear = weights[0] + weights[1] * np.log(sizes)
        return np.sum(np.logaddexp(0, np.where(found, -linear, linear)))

    first, second = minimize(loss, [0.0, 1.0], method="BFGS").x
    result = detection_by_size(sizes, found, groups)
    expected = expit(first + second * np.log(result["sizes"]))
    np.testing.assert_allclose(result["probability"], expected, atol=1e-4)
    assert result["a90"] == pytest.approx(np.exp((logit(0.9) - first) / second), rel=2e-3)
    assert result["sizes"][0] == pytest.approx(sizes.min())
    assert result["sizes"][-1] == pytest.approx(sizes.max())
    json.dumps(result, allow_nan=False)


def test_the_known_size_is_below_its_bound_as_often_as_promised():
    results = [detection_by_size(*draw(200, seed=seed)) for seed in range(200)]
    bounds = [result["a90_95"] for result in results]
    held = [bound is None or bound >= 300 for bound in bounds]
    assert sum(bound is not None for bound in bounds) > 150
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)
    assert np.median([result["a90"] for result in results]) == pytest.approx(300, rel=0.1)


def test_images_of_one_group_count_as_one_observation():
    sizes, found, _ = draw(40, seed=1)
    alone = detection_by_size(sizes, found, [str(number) for number in range(40)])
    copies = detection_by_size(
        np.tile(sizes, 10), np.tile(found, 10), [str(number) for number in range(40)] * 10
    )
    assert copies["a90"] == pytest.approx(alone["a90"], rel=1e-3)
    np.testing.assert_allclose(copies["low"], alone["low"], atol=1e-3)
    independent = detection_by_size(
        np.tile(sizes, 10), np.tile(found, 10), [str(number) for number in range(400)]
    )
    assert np.mean(np.subtract(independent["high"], independent["low"])) < 0.5 * np.mean(
        np.subtract(alone["high"], alone["low"])
    )


def test_few_groups_give_a_curve_without_a_band():
    result = detection_by_size(*draw(200, groups=MIN_GROUPS - 1))
    assert result["a90"]
    assert result["low"] is result["high"] is result["a90_95"] is None
    assert result["missing"] == "defects of 9 groups are too few for a confidence"
    assert detection_by_size(*draw(200, groups=MIN_GROUPS))["low"]


@pytest.mark.parametrize(
    ("sizes", "found", "missing"),
    [
        ([], [], "0 found and 0 missed defects are too few for a curve"),
        (range(1, 41), [True] * 40, "40 found and 0 missed"),
        (range(1, 41), [False] * (MIN_OF_EACH - 1) + [True] * 36, "36 found and 4 missed"),
        (range(1, 41), [False] * 20 + [True] * 20, "all defects larger than 20 were found"),
        (range(1, 41), [True] * 20 + [False] * 20, "larger defects were not found more often"),
    ],
)
def test_why_there_is_no_curve_is_said(sizes, found, missing):
    groups = [str(number) for number in range(len(found))]
    result = detection_by_size(list(sizes), found, groups)
    assert missing in result["missing"]
    assert result["sizes"] is result["a90"] is result["a90_95"] is None
    assert result["n"] == len(found)


def test_nothing_is_said_beyond_the_sizes_that_there_are():
    random = np.random.default_rng(3)
    sizes = np.exp(random.uniform(np.log(10), np.log(100), 400))
    found = random.random(400) < expit(np.log(sizes / 60))
    result = detection_by_size(sizes, found, [str(number) for number in range(400)])
    assert result["a90"] is result["a90_95"] is None
    assert result["missing"] == "the largest defects are found less often than 90 %"
    found = random.random(400) < expit(4 + np.log(sizes / 20))
    result = detection_by_size(sizes, found, [str(number) for number in range(400)])
    assert result["a90"] == pytest.approx(sizes.min())
