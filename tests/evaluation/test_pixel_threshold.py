import numpy as np
import pytest

from defectkit.evaluation.pixel_threshold import COARSE_BITS, best_threshold, dice_by_coarse_level
from defectkit.evaluation.score_levels import LEVELS, levels_of


def levels(scores):
    return np.bincount(levels_of(np.asarray(scores, np.float32)), minlength=LEVELS)


def dice_of(true, good):
    true_levels = levels_of(np.asarray(true, np.float32)).astype(np.int64)
    return dice_by_coarse_level(true_levels, levels(true + good))


def choose(images):
    """Images are pairs of the scores of true pixels and of the others."""
    counts = [(levels(true), levels(good)) for true, good in images]
    positive, negative = (sum(part) for part in zip(*counts, strict=True))
    image_dice = sum(dice_of(true, good) for true, good in images if true)
    return best_threshold(positive, negative, image_dice)


def test_a_large_defect_does_not_decide_for_the_small_ones():
    large = [0.1] * 900 + [0.9] * 300, []
    small = [0.9] * 10, [0.1] * 60
    threshold, dice = choose([large])
    assert (threshold, dice) == (pytest.approx(0.05, abs=1e-3), 1.0)
    threshold, dice = choose([large, *[small] * 4])
    # All pixels together would still be best from 0.1 on: 2 * 1240 / (1480 + 1240).
    assert 2 * 340 / (340 + 1240) < 2 * 1240 / (1480 + 1240)
    assert threshold == pytest.approx(0.5, abs=1e-2)
    assert dice == pytest.approx(2 * 340 / (340 + 1240))


def test_small_defects_do_not_decide_alone():
    large = [0.1] * 900 + [0.9] * 300, []
    small = [0.9] * 10, [0.1] * 12
    assert choose([large, small])[0] == pytest.approx(0.05, abs=1e-3)


def test_the_dice_of_an_image_is_that_of_its_pixels_from_each_level_on():
    true, good = [0.9, 0.9, 0.3], [0.3, 0.1, 0.01]
    dice = dice_of(true, good)
    for score, expected in ((0.9, 4 / 5), (0.3, 6 / 7), (0.1, 6 / 8), (0.01, 6 / 9)):
        level = levels_of(np.array([score], np.float32))[0] >> COARSE_BITS
        assert dice[level] == pytest.approx(expected)


def test_without_a_true_pixel_there_is_none():
    nothing = np.zeros(LEVELS, np.int64)
    assert best_threshold(nothing, levels([0.1, 0.2]), np.zeros(LEVELS >> COARSE_BITS)) is None
