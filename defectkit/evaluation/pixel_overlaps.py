"""Pixels of truth and finding by class, and their overlaps: Dice and intersection over union."""

import numpy as np

from defectkit.arrays import Int64Array, Mask, ScoreMap
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import NO_CLASS, best_layers


def class_areas(
    found: Mask, score_map: ScoreMap, truth: LabeledTruth, true_areas: Int64Array
) -> Int64Array:
    """Return (3, K + 1) pixels of truth, finding and both, by class and for any defect.

    What is found without a class counts for none of several.
    """
    count = len(truth.classes)
    pixels = np.flatnonzero(found)
    any_defect = len(pixels), np.count_nonzero(truth.mask.ravel()[pixels])
    classes = best_layers(score_map.reshape(count, -1)[:, pixels])
    pixels, classes = pixels[classes != NO_CLASS], classes[classes != NO_CLASS]
    correct = truth.masks.reshape(count, -1)[classes, pixels] != 0
    return np.array(
        [
            true_areas,
            [*np.bincount(classes, minlength=count), any_defect[0]],
            [*np.bincount(classes[correct], minlength=count), any_defect[1]],
        ],
        np.int64,
    )


def dice(truth: Int64Array, found: Int64Array, both: Int64Array) -> list[float | None]:
    """Return the Dice coefficient of each column, ``None`` where both sides are empty."""
    return _ratios(2 * both, truth + found)


def iou(truth: Int64Array, found: Int64Array, both: Int64Array) -> list[float | None]:
    """Return the intersection over union of each column, ``None`` where both sides are empty."""
    return _ratios(both, truth + found - both)


def _ratios(numerators: Int64Array, denominators: Int64Array) -> list[float | None]:
    pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
    return [above / below if below else None for above, below in pairs]
