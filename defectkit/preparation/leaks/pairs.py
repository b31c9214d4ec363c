"""Pairs of images that show the same thing: they share a split, and should share their labels."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.cluster.hierarchy import DisjointSet

from defectkit.errors import DatasetError
from defectkit.vocabulary import LEAK_KINDS, LeakKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Two images that show the same thing. ``similarity`` is in [0, 1], 1 for equal files.

    ``kind`` is exact for equal files; near where nearly all of one is in the other, even if
    rotated, flipped, shifted a little, encoded again or of another brightness; overlap where they
    have less in common. ``joined``: both are in the same split.
    """

    image_id_a: str
    image_id_b: str
    kind: LeakKind
    similarity: float
    joined: bool = True


STRONG_SIMILARITY = 0.95
"""Min. similarity of images that are nearly identical where both show the same."""


def is_strong(leak: Leak) -> bool:
    """Return whether two images are so nearly identical that a split must not divide them."""
    return leak.kind == "exact" or leak.similarity >= STRONG_SIMILARITY


def find_equal_files(hashes: Iterable[tuple[str, str]]) -> list[Leak]:
    """Return the pairs of each image and the first one whose file has the same SHA-256.

    ``hashes`` are the ids of images and the hashes of their files.
    """
    first: dict[bytes, str] = {}  # As bytes they take half of the memory.
    return [
        Leak(image_id_a=original, image_id_b=image_id, kind="exact", similarity=1.0)
        for image_id, digest in hashes
        if (original := first.setdefault(bytes.fromhex(digest), image_id)) != image_id
    ]


def join_groups(
    groups: Mapping[str, str],
    leaks: Sequence[Leak],
    given: Mapping[str, str] | None = None,
    *,
    kinds: Collection[LeakKind] = LEAK_KINDS,
) -> tuple[dict[str, str], list[Leak]]:
    """Join the groups of each pair, under the name of the first group.

    Args:
        groups: the group of each image, by image id.
        leaks: the most certain first.
        given: the splits that the user gave, by image id, empty text where none. Groups that they
            put into different splits are not joined.
        kinds: those of the leaks whose groups are joined.

    Returns:
        The groups by image id, and the leaks, with ``joined`` set.
    """
    # Of a million groups few are in a leak.
    touched = {groups[name] for leak in leaks for name in (leak.image_id_a, leak.image_id_b)}
    joined = DisjointSet(dict.fromkeys(group for group in groups.values() if group in touched))
    splits = {groups[image_id]: split for image_id, split in (given or {}).items() if split}
    leaks = [
        replace(
            leak,
            joined=leak.kind in kinds
            and _join(joined, splits, groups[leak.image_id_a], groups[leak.image_id_b]),
        )
        for leak in leaks
    ]
    names: dict[str, str] = {}  # of joined groups, by the one that represents them
    for group in joined:
        names.setdefault(joined[group], group)
    named = {
        image_id: names[joined[group]] if group in touched else group
        for image_id, group in groups.items()
    }
    return named, leaks


def _join(joined: DisjointSet, splits: dict[str, str], first: str, second: str) -> bool:
    """Join two groups unless they are in different given splits; return whether they are joined.

    ``splits`` is by the group that represents each joined set.
    """
    known = {splits[group] for group in (joined[first], joined[second]) if group in splits}
    if len(known) == 2:
        return False
    joined.merge(first, second)
    if known:
        splits[joined[first]] = known.pop()
    return True


def refuse_leaks_across_splits(
    leaks: Sequence[Leak], given: Mapping[str, str], *, written: Path
) -> None:
    """Refuse a given split (by image id, empty text where none) that separates a strong pair.

    ``written`` is the dataset folder, whose ``leaks.csv`` and ``preview/leaks.png`` show them.

    Raises:
        DatasetError: nearly identical images could not be joined, since they are in different
            splits.
    """
    across = [leak for leak in leaks if is_strong(leak) and not leak.joined]
    if across:
        kinds = Counter(leak.kind for leak in across)
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in LEAK_KINDS if kinds[kind])
        first, second = (
            f"{image_id} ({given[image_id] or 'as another copy'})"
            for image_id in (across[0].image_id_a, across[0].image_id_b)
        )
        raise DatasetError(
            f"the given split puts {len(across)} of {len(leaks)} pairs of images that show the "
            f"same thing into different splits ({counts}); the first is {first} and {second}. All "
            f"are in {written / 'leaks.csv'}, the first of them are shown in "
            f"{written / 'preview' / 'leaks.png'}. Results on them would be too good: give copies "
            "the same split, or delete one of each pair. --allow-leaks leaves them as they are."
        )


def equal_files_with_different_labels(
    leaks: Sequence[Leak], labels: Mapping[str, object]
) -> list[Leak]:
    """Return the pairs of equal files whose ``labels``, by image id, differ."""
    return [
        leak
        for leak in leaks
        if leak.kind == "exact" and labels[leak.image_id_a] != labels[leak.image_id_b]
    ]
