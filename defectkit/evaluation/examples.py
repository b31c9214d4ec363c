"""The few images that teach most about several runs: all classes, disputed and plain, and good."""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np

from defectkit.arrays import Float64Array
from defectkit.evaluation.comparison import EvaluationResult

GOOD_SHARE = 4
"""One in so many is a good image, where there are enough defective ones."""


def choose_examples(
    judged: Sequence[EvaluationResult], classes_of: Mapping[str, Sequence[str]], *, count: int = 12
) -> list[str]:
    """Return the ids of at most ``count`` images, the same for the same evaluations.

    The defective classes take turns. Of each class, and of the good images, those on which the runs
    disagree most and those on which they agree most take turns.

    Args:
        judged: evaluations of the same images.
        classes_of: the defect classes of each image; none for a good one.
        count: how many.

    Returns:
        Defective images by their classes, then good ones.
    """
    disputes = _disputes(judged)
    ids = judged[0].image_ids
    waiting: dict[str, list[str]] = {}
    for index in np.argsort(-disputes, kind="stable"):
        for class_id in classes_of[ids[index]]:
            waiting.setdefault(class_id, []).append(ids[index])
    good = [ids[index] for index in np.argsort(-disputes, kind="stable")
            if not classes_of[ids[index]]]  # fmt: skip
    defective = _in_turn(*(_ends_in_turn(waiting[name]) for name in sorted(waiting)))
    n_good = max(count // GOOD_SHARE, count - len(defective))
    chosen_good = _ends_in_turn(good)[:n_good]
    chosen = defective[: count - len(chosen_good)]
    return [*sorted(chosen, key=lambda name: (*sorted(classes_of[name]), name)), *chosen_good]


def _disputes(judged: Sequence[EvaluationResult]) -> Float64Array:
    """Return how far the runs disagree on each image, (N,): in outcomes, then in Dice."""
    dice = np.array([one.dice for one in judged])
    outcomes = zip(*(one.outcomes for one in judged), strict=True)
    kinds = np.array([len(set(kinds)) - 1 for kinds in outcomes], np.float64)
    disputes: Float64Array = kinds + np.ptp(dice, axis=0)
    return disputes


def _ends_in_turn(names: Sequence[str]) -> list[str]:
    """Return the first, the last, the second, the last but one ... of ``names``."""
    half = (len(names) + 1) // 2
    return _in_turn(names[:half], names[half:][::-1])


def _in_turn(*queues: Sequence[str]) -> list[str]:
    """Return the first of each queue, then the second of each ...; none twice."""
    turns = chain.from_iterable(zip_longest(*queues))
    return list(dict.fromkeys(name for name in turns if name is not None))
