"""The refusal of a split without defective or without good images, and its ways out."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from defectkit.arrays import Float64Array
from defectkit.errors import DatasetError
from defectkit.vocabulary import SPLITS


class StateCounts(NamedTuple):
    """Of the images of one state, defective or good: how many, and in how many groups.

    ``by_split`` is their number in each split; ``named_groups`` the number of their groups before
    those of images that show the same thing were joined.
    """

    state: str
    by_split: Sequence[int]
    groups: int
    named_groups: int


def count_states(
    counts: Float64Array,
    table: Float64Array,
    classes: Sequence[Collection[str]],
    named: Sequence[str],
) -> list[StateCounts]:
    """Return the counts of defective and of good images.

    Args:
        counts: number of images by split and label, (S, K), as ``assign_splits`` has them.
        table: the same by group, (G, K).
        classes: the defect classes of each image.
        named: the group of each image before groups were joined.
    """
    return [
        StateCounts(
            state,
            counts[:, column].astype(int).tolist(),
            int((table[:, column] > 0).sum()),
            len({name for name, own in zip(named, classes, strict=True) if bool(own) == defective}),
        )
        for column, state, defective in ((1, "defective", True), (2, "good", False))
    ]


def refuse_one_sided(
    counts: Sequence[StateCounts], asked_for: Sequence[bool], *, given: bool, written: Path
) -> None:
    """Refuse a validation or test split that has no image of a state, where the data have both.

    Args:
        counts: those of both states.
        asked_for: whether each split is to have images.
        given: whether the user gave the split of each image.
        written: the folder of ``leaks.csv`` and ``preview/leaks.png``.

    Raises:
        DatasetError: with the ways out that lead to a split of these data.
    """
    if not all(sum(own.by_split) for own in counts):
        return  # the data themselves are one-sided
    for own in counts:
        for split, asked, count in zip(SPLITS, asked_for, own.by_split, strict=True):
            if split != "train" and asked and not count:
                raise DatasetError(
                    f"the {split} split would have no {own.state} images: the data have "
                    f"{sum(own.by_split)}, in {own.groups} group{'s' * (own.groups != 1)}. "
                    + _ways_out(own, n_splits=sum(asked_for), given=given, written=written)
                )


def _ways_out(own: StateCounts, *, n_splits: int, given: bool, written: Path) -> str:
    n_images = sum(own.by_split)
    ways = [f"add {own.state} images"]
    if given:
        ways.append("change the split column")
    elif own.groups == own.named_groups < n_images:
        ways.append("use finer groups (--group-by)")
    if not given and own.groups == 2 and n_splits == 3:
        ways.append("leave out a split, as with --split 0.8/0.2/0")
    text = " or ".join([", ".join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)
    if own.named_groups == own.groups:
        return f"{text[0].upper()}{text[1:]}."
    return (
        f"There were {own.named_groups} before those of images that show the same thing were "
        f"joined ({written / 'leaks.csv'}, {written / 'preview' / 'leaks.png'}): if these are "
        "different workpieces, as under a fixed camera, keep them apart with --allow-leaks. "
        f"Otherwise {text}."
    )
