"""Assign images to training, validation and test: stratified, groups whole, the same each time.

The method is the greedy one of Sechidis, Tsoumakas and Vlahavas (2011), "On the Stratification of
Multi-label Data", carried over to groups: those with the rarest class go first, each to the split
that lacks its classes most; single moves then improve the table of counts until none helps.

Letters in this file: G groups, S splits, K labels (all images, defective, good, each class).
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defectkit.arrays import BoolArray, Float64Array, IndexArray, TextArray, UInt64Array
from defectkit.errors import DatasetError
from defectkit.preparation.one_sided_splits import count_states, refuse_one_sided
from defectkit.vocabulary import SPLITS, Split

SplitFractions = tuple[float, float, float]

# The cost of an empty cell in the table of counts, by split (train, val, test) and by label. Each
# is larger than any misfit of counts: a split without defective or good images is useless, one
# without a class is only less useful, and a class must be trained before it can be tested.
EMPTY_SPLIT_COST = (4.0, 1.0, 2.0)
EMPTY_STATE_COST, EMPTY_CLASS_COST = 1e9, 1e6
CLOSED_SPLIT_COST = 1e15
"""For splits with a fraction of 0; finite, so that differences stay numbers."""
MAX_MOVES = 500


@dataclass(frozen=True, slots=True)
class SplitAssignment:
    """The split of each image, in the order of the images, and warnings about it."""

    splits: tuple[Split, ...]
    warnings: tuple[str, ...]


def parse_split(text: str) -> SplitFractions:
    """Read ``train/val/test`` such as ``0.7/0.15/0.15`` or ``70/15/15``.

    Raises:
        DatasetError: not three numbers from 0 up, or they sum neither to 1 nor to 100.
    """
    try:
        values = [float(part) for part in text.split("/")]
    except ValueError:
        values = []
    total = sum(values)
    if len(values) != 3 or not all(value >= 0 for value in values):
        problem = "is not three numbers from 0 up"
    elif not (np.isclose(total, 1, atol=1e-3) or np.isclose(total, 100, atol=0.1)):
        problem = f"sums to {total:g}, not to 1"
    else:
        return values[0] / total, values[1] / total, values[2] / total
    raise DatasetError(f"--split {text} {problem}. Write train/val/test, such as 0.7/0.15/0.15.")


def assign_splits(
    *,
    groups: Sequence[str],
    classes: Sequence[Collection[str]],
    fractions: SplitFractions,
    seed: int,
    given: Sequence[str] | None = None,
    named: Sequence[str] | None = None,
    written: Path = Path(),
) -> SplitAssignment:
    """Assign every image to a split so that the fractions are met overall and for each class.

    The sequences are per image: its group, its defect classes (none for a good image), the split
    that the user gave it (empty text where none), and its group before groups of images that show
    the same thing were joined (by default the same). Images of one group stay together; an
    image without a given split gets its group's. The result depends on the seed and on what the
    images are, not on their order. Where the user gave all images for training or test, as many
    published data sets do, validation gets some of the groups for training. A class that a split
    lacks is named in the warnings.

    Raises:
        DatasetError: a given split is unknown or divides a group; validation or test would have
            no defective or no good image although the data have both.
    """
    given = given if given is not None else [""] * len(groups)
    assert len(groups) == len(classes) == len(given)
    if not groups:
        return SplitAssignment((), ())
    names, group_of = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    class_ids = sorted(set().union(*classes))
    table = _count_images(group_of, classes, class_ids, n_groups=len(names))
    assigned = _given_splits(names, group_of, given)
    free = assigned < 0
    wanted = np.asarray(fractions)[:, None] * table.sum(axis=0)  # (S, K)
    _assign_greedily(table, wanted, assigned, _random_keys(names, seed))
    _improve_by_moves(table, wanted, assigned, free)
    taken = np.zeros(len(names), dtype=bool)
    if not free.any():
        taken = _take_validation(table, assigned, fractions, _random_keys(names, seed))
    counts = _sum_by_split(table, assigned)
    # Where the user gave every split, an absent one is what they want; otherwise --split says.
    asked_for = counts[:, 0] > 0 if not free.any() else wanted[:, 0] + counts[:, 0] > 0
    # The user can do nothing about what training groups lack.
    refuse_one_sided(
        count_states(counts, table, classes, named or groups),
        (asked_for & [True, not taken.any(), True]).tolist(),
        given=not free.any(),
        written=written,
    )
    warnings = _missing_classes(counts, asked_for, class_ids, table)
    if free.any() and not free.all():
        without = int(table[free, 0].sum())
        warnings.append(f"{without} images have no given split; --split assigns them")
    if not free.any():
        warnings += _describe_absent(counts[:, 0], table[taken].sum(axis=0))
    return SplitAssignment(tuple(SPLITS[split] for split in assigned[group_of]), tuple(warnings))


def _count_images(
    group_of: IndexArray,
    classes: Sequence[Collection[str]],
    class_ids: Sequence[str],
    *,
    n_groups: int,
) -> Float64Array:
    """Count images by group and label, (G, K): all, defective, good, then each class."""
    column = {class_id: 3 + index for index, class_id in enumerate(class_ids)}
    table = np.zeros((n_groups, 3 + len(class_ids)))
    for group, found in zip(group_of, classes, strict=True):
        table[group, [0, 1 if found else 2, *(column[class_id] for class_id in set(found))]] += 1
    return table


def _given_splits(names: TextArray, group_of: IndexArray, given: Sequence[str]) -> IndexArray:
    """Return the given split of each group, (G,), and -1 where no image of it has one."""
    index: dict[str, int] = {split: position for position, split in enumerate(SPLITS)}
    if unknown := sorted(set(given) - {"", *SPLITS}):
        raise DatasetError(
            f"unknown split {unknown[0]!r}. Write train, val or test, or leave the cell empty."
        )
    found: dict[int, set[str]] = {}
    for group, split in zip(group_of, given, strict=True):
        if split:
            found.setdefault(int(group), set()).add(split)
    divided = sorted(group for group, splits in found.items() if len(splits) > 1)
    if divided:
        raise DatasetError(
            f"the given split divides {len(divided)} of {len(names)} groups; the first, "
            f"{names[divided[0]]!r}, has images in {' and '.join(sorted(found[divided[0]]))}. "
            "Images of one group look alike, so a test on them would be too optimistic. Give each "
            "group one split, or leave out the groups."
        )
    assigned = np.full(len(names), -1)
    for group, splits in found.items():
        assigned[group] = index[splits.pop()]
    return assigned


def _random_keys(names: TextArray, seed: int) -> UInt64Array:
    """Return a random number for each group, (G,), keyed by seed and name: order does not count."""
    digests = [
        hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()[:8]
        for name in names
    ]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def _assign_greedily(
    table: Float64Array, wanted: Float64Array, assigned: IndexArray, keys: UInt64Array
) -> None:
    """Assign the groups that are at -1, one by one, to the split that needs them most, in place."""
    counts = _sum_by_split(table, assigned)
    groups_with = (table > 0).sum(axis=0)
    rarest = np.where(table > 0, groups_with, np.inf).min(axis=1)
    for group in np.lexsort((keys, -table[:, 0], rarest)):
        if assigned[group] < 0:
            costs = [
                _cost_of_adding(table[group], counts[split], wanted[split], split)
                for split in range(len(SPLITS))
            ]
            assigned[group] = np.argmin(costs)
            counts[assigned[group]] += table[group]


def _improve_by_moves(
    table: Float64Array, wanted: Float64Array, assigned: IndexArray, free: BoolArray
) -> None:
    """Move the one free group that helps most, until no move helps, in place."""
    for _ in range(MAX_MOVES):
        counts = _sum_by_split(table, assigned)
        change = np.empty((len(table), len(SPLITS)))  # in cost, should the group move there
        for split in range(len(SPLITS)):
            change[:, split] = _cost_of_adding(table, counts[split], wanted[split], split)
        for split in range(len(SPLITS)):
            here = assigned == split
            stay = _cost_of_adding(table[here], counts[split] - table[here], wanted[split], split)
            change[here] -= stay[:, None]
            change[here, split] = 0
        change[~free] = 0
        group, best = np.unravel_index(np.argmin(change), change.shape)
        if change[group, best] > -1e-4:  # less is rounding
            break
        assigned[group] = best


def _take_validation(
    table: Float64Array, assigned: IndexArray, fractions: SplitFractions, keys: UInt64Array
) -> BoolArray:
    """Move groups from training to validation, in place, if none is there; return which, (G,)."""
    training = assigned == 0
    if (assigned == 1).any() or not training.any() or not (fractions[0] and fractions[1]):
        return np.zeros(len(table), dtype=bool)
    shares = np.array([*fractions[:2], 0]) / sum(fractions[:2])
    own = table[training]
    wanted = shares[:, None] * own.sum(axis=0)
    divided = np.full(len(own), -1)
    _assign_greedily(own, wanted, divided, keys[training])
    _improve_by_moves(own, wanted, divided, np.ones(len(own), dtype=bool))
    assigned[training] = divided
    return np.asarray(training & (assigned == 1))


def _describe_absent(images: Float64Array, taken: Float64Array) -> list[str]:
    """Say which given splits have no images, and what was taken for validation.

    Args:
        images: the number of images by split, (S,).
        taken: by label, the number of training images that are validation images now, (K,).
    """
    train, val, test = images
    texts = []
    if taken[0]:
        texts.append(
            f"the given split has no val images: {taken[0]:.0f} of its {train + val:.0f} train "
            f"images ({taken[1]:.0f} defective, {taken[2]:.0f} good), in whole groups, were "
            "moved to val (--split sets how many, --seed which)"
        )
    elif not val:
        texts.append("the given split has no val images, and no group of train images to spare")
    if not train:
        texts.append("the given split has no train images: nothing can be trained")
    if not test:
        texts.append(
            "the given split has no test images: evaluate with --split val, whose results are too "
            "good, since the thresholds are chosen on it, or give some images the split test"
        )
    return texts


def _cost_of_adding(
    table: Float64Array, counts: Float64Array, wanted: Float64Array, split: int
) -> Float64Array:
    """Return the change of cost, (...), when groups (..., K) join a split that has ``counts``.

    The cost of a table is chi-square (counts against wanted) and the cost of its empty cells.
    """
    if wanted[0] == 0:
        return np.full(table.shape[:-1], CLOSED_SPLIT_COST)
    misfit = table * (2 * (counts - wanted) + table) / np.maximum(wanted, 1e-9)
    cost = np.full(table.shape[-1], EMPTY_CLASS_COST * EMPTY_SPLIT_COST[split])
    cost[:3] = 0, *[EMPTY_STATE_COST * EMPTY_SPLIT_COST[split]] * 2
    filled = (counts == 0) & (table > 0)
    return np.asarray((misfit - filled * cost).sum(axis=-1))


def _sum_by_split(table: Float64Array, assigned: IndexArray) -> Float64Array:
    """Sum the groups of each split: (S, K)."""
    return np.stack([table[assigned == split].sum(axis=0) for split in range(len(SPLITS))])


def _missing_classes(
    counts: Float64Array,
    asked_for: BoolArray,
    class_ids: Sequence[str],
    table: Float64Array,
) -> list[str]:
    """Return a warning for each class that a split lacks."""
    texts = []
    for column, class_id in enumerate(class_ids, start=3):
        missing = [
            split
            for split, asked, count in zip(SPLITS, asked_for, counts[:, column], strict=True)
            if asked and count == 0
        ]
        if missing:
            texts.append(
                f"class {class_id} is in {counts[:, column].sum():.0f} images of "
                f"{(table[:, column] > 0).sum()} groups and is missing in {' and '.join(missing)}"
            )
    return texts
