"""The score from which a pixel is found, chosen on validation by the Dice of *defect or not*.

Shapes: L levels of scores (``score_levels``), C coarse ones.
"""

import numpy as np

from defectkit.arrays import Float64Array, Int64Array
from defectkit.evaluation.ranking import counts_from_above
from defectkit.evaluation.score_levels import lowest_score

COARSE_BITS = 8
"""The Dice of single images is kept for every 256th level, 16 to an octave of the odds."""


def best_threshold(
    positive: Int64Array, negative: Int64Array, image_dice: Float64Array
) -> tuple[float, float] | None:
    """Return the threshold in [0, 1] that is best for all pixels and images, and the pooled Dice.

    It has the largest sum of the pooled Dice and the mean Dice of the defective images, each as a
    fraction of its own best. The pooled Dice alone would be decided by the few images with the
    largest defects, the mean alone by those with the smallest.

    It lies halfway between the two neighboring occupied levels that it separates (below the lowest
    one 0 takes its place), and in float32 it marks the same pixels. Of several equally good ones
    the highest is taken: it marks the fewest pixels. ``None`` when no pixel is true.

    Args:
        positive: the true pixels of all images by level, (L,).
        negative: the others, (L,).
        image_dice: the sum over defective images of ``dice_by_coarse_level``, (C,).
    """
    occupied = np.flatnonzero(positive + negative)
    if not positive.any():
        return None
    hits = counts_from_above(positive)[occupied]
    marked = hits + counts_from_above(negative)[occupied]
    dice = 2 * hits / (marked + hits.max())
    by_image = image_dice[occupied >> COARSE_BITS]
    quality = dice / dice.max() + by_image / by_image.max()
    chosen = int(np.flatnonzero(quality == quality.max())[-1])
    upper = lowest_score(int(occupied[chosen]))
    above_lower = lowest_score(int(occupied[chosen - 1]) + 1) if chosen else 0.0
    return float(np.float32((above_lower + upper) / 2)), float(dice[chosen])


def dice_by_coarse_level(true_levels: Int64Array, everywhere: Int64Array) -> Float64Array:
    """Return the Dice of an image whose pixels are found from each coarse level on, (C,).

    Args:
        true_levels: the levels of the true pixels, one or more, (P,).
        everywhere: all pixels by level, (L,).
    """
    all_counts = everywhere.reshape(-1, 1 << COARSE_BITS).sum(axis=1)
    true_counts = np.bincount(true_levels >> COARSE_BITS, minlength=len(all_counts))
    hits, marked = map(counts_from_above, (true_counts, all_counts))
    return np.asarray(2 * hits / (marked + hits[0]))
