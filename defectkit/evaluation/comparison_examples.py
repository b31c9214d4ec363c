"""The images that a comparison shows: of all classes, good ones, with and without disagreement."""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np

from defectkit.arrays import Float64Array
from defectkit.evaluation.evaluation_result import EvaluationResult

GOOD_FRACTION = 0.25
"""Fraction of good images among those chosen, where there are enough defective ones."""


def choose_examples(
    results: Sequence[EvaluationResult], classes_of: Mapping[str, Sequence[str]], *, count: int = 12
) -> list[str]:
    """Return the ids of at most ``count`` images, the same for the same evaluations.

    The defect classes take turns. Of each class, and of the good images, those on which the runs
    disagree most and those on which they agree most take turns.

    Args:
        results: evaluations of the same images.
        classes_of: the defect classes of each image, by image id; empty for a good one.
        count: max. number of images.

    Returns:
        Defective images by their classes, then good ones.
    """
    image_ids = results[0].image_ids
    by_disagreement = [
        image_ids[index] for index in np.argsort(-_disagreement(results), kind="stable")
    ]
    by_class: dict[str, list[str]] = {}
    for image_id in by_disagreement:
        for class_id in classes_of[image_id]:
            by_class.setdefault(class_id, []).append(image_id)
    good = [image_id for image_id in by_disagreement if not classes_of[image_id]]
    defective = _take_turns(*(_alternate_ends(by_class[name]) for name in sorted(by_class)))
    n_good = max(int(count * GOOD_FRACTION), count - len(defective))
    chosen_good = _alternate_ends(good)[:n_good]
    chosen = defective[: count - len(chosen_good)]
    return [*sorted(chosen, key=lambda name: (*sorted(classes_of[name]), name)), *chosen_good]


def _disagreement(results: Sequence[EvaluationResult]) -> Float64Array:
    """Return how far the runs disagree on each image, (N,): first in outcome, then in Dice."""
    dice = np.array([result.dice for result in results])
    outcomes = zip(*(result.outcomes for result in results), strict=True)
    n_outcomes = np.array([len(set(each)) for each in outcomes], np.float64)
    disagreement: Float64Array = n_outcomes - 1 + np.ptp(dice, axis=0)
    return disagreement


def _alternate_ends(names: Sequence[str]) -> list[str]:
    """Return the first, the last, the second, the last but one ... of ``names``."""
    half = (len(names) + 1) // 2
    return _take_turns(names[:half], names[half:][::-1])


def _take_turns(*queues: Sequence[str]) -> list[str]:
    """Return the first of each queue, then the second of each ..., without repetitions."""
    turns = chain.from_iterable(zip_longest(*queues))
    return list(dict.fromkeys(name for name in turns if name is not None))
