"""Levels of scores, evenly spaced in logits: for histograms that keep the ranking of any network.

Levels that are evenly spaced in probability would hold all scores of a network that is sure, and
wrong by a constant, in one level: its ranking would be lost. Here a level is a step of the odds
``score / (1 - score)``: an octave has 4,096 levels, so that two scores whose logits differ by
0.00025 never share one. Levels reach from odds of 2^-39 (a logit of -27) up to the largest float32
below 1 and 1 itself. What ends earlier is float32: above a logit of 8 its scores near 1 lie further
apart than the levels, and beyond 16.6 they are 1.
"""

import numpy as np

from defectkit.arrays import Int32Array, ScoreMap

LEVELS = 262144
"""Number of levels: 64 octaves of the odds."""

_SHIFT = 11
"""Bits of a float32 below those of its level: twelve bits of its 23-bit fraction are kept."""

_FIRST = (127 - 39) << (23 - _SHIFT)
"""The kept bits of odds of 2^-39, where level 0 begins."""


def levels_of(scores: ScoreMap) -> Int32Array:
    """Return the level of each score: a larger score never has a smaller level.

    Args:
        scores: float32 in [0, 1], of any shape.

    Returns:
        int32 of the same shape, in [0, ``LEVELS`` - 1].
    """
    odds = np.subtract(np.float32(1), scores)
    with np.errstate(divide="ignore"):  # The odds of 1 are infinite: the last level.
        np.divide(scores, odds, out=odds)
    # The bits of a float32 that is not negative, read as a whole number, ascend with it by octaves.
    levels = odds.view(np.int32)
    levels >>= _SHIFT
    levels -= _FIRST
    return np.clip(levels, 0, LEVELS - 1, out=levels)


def lowest_score(level: int) -> float:
    """Return the smallest float32 score of ``level``, or of the next level that has a score.

    Raises:
        ValueError: ``level`` is not in [0, ``LEVELS`` - 1].
    """
    if not 0 <= level < LEVELS:
        raise ValueError(f"level must be in 0..{LEVELS - 1} but got {level}")
    # A float32 that is not negative has the order of its bits: search them by bisection.
    one = int(np.float32(1).view(np.int32))
    low, high = 0, one
    while low < high:
        middle = (low + high) // 2
        if int(levels_of(np.array([middle], np.int32).view(np.float32))[0]) >= level:
            high = middle
        else:
            low = middle + 1
    return float(np.array([low], np.int32).view(np.float32)[0])
