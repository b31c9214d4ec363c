"""Images that show the same thing: they must not stand in two splits, nor bear two truths."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectkit.errors import DatasetError
from defectkit.vocabulary import LEAK_KINDS, LeakKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Two images that show the same thing. ``similarity`` is in [0, 1], 1 for equal files.

    ``kind`` is exact for equal files, near where all of the one is in the other, though turned,
    flipped, shifted a little, encoded anew or of another brightness, and overlap where a part is.
    ``joined`` tells that their groups were made one before the split.
    """

    image_id_a: str
    image_id_b: str
    kind: LeakKind
    similarity: float
    joined: bool = True


def find_exact(hashes: Mapping[str, str]) -> list[Leak]:
    """Pair each image with the first one whose file has the same SHA-256.

    ``hashes`` maps image ids to the hashes of their files.
    """
    first: dict[str, str] = {}
    return [
        Leak(image_id_a=original, image_id_b=image_id, kind="exact", similarity=1.0)
        for image_id, digest in hashes.items()
        if (original := first.setdefault(digest, image_id)) != image_id
    ]


def join_groups(
    groups: Mapping[str, str], leaks: Sequence[Leak], given: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[Leak]]:
    """Make the groups of each pair one, under the name of the first.

    Args:
        groups: the group of each image, by image id.
        leaks: the surest first.
        given: the splits that the user gave, by image id, empty text where none. Groups that they
            put into different splits are not joined.

    Returns:
        The groups by image id, and the leaks, with ``joined`` as it came out.
    """
    splits = {groups[image_id]: split for image_id, split in (given or {}).items() if split}
    place = {name: index for index, name in enumerate(dict.fromkeys(groups.values()))}
    parent = {name: name for name in place}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    settled = []
    for leak in leaks:
        pair = root(groups[leak.image_id_a]), root(groups[leak.image_id_b])
        first, second = sorted(pair, key=place.__getitem__)
        known = {splits[name] for name in pair if name in splits}
        settled.append(replace(leak, joined=len(known) < 2))
        if len(known) == 2:
            continue
        parent[second] = first
        if known:
            splits[first] = known.pop()
    return {image_id: root(group) for image_id, group in groups.items()}, settled


def refuse_divided(leaks: Sequence[Leak], given: Mapping[str, str], *, written: Path) -> None:
    """Refuse a given split (by image id, empty text where none) that divides a pair.

    ``written`` is the dataset folder, whose ``leaks.csv`` and ``preview/leaks.png`` show them.

    Raises:
        DatasetError: pairs could not be joined, since their images are in different splits.
    """
    divided = [leak for leak in leaks if not leak.joined]
    if divided:
        kinds = Counter(leak.kind for leak in divided)
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in LEAK_KINDS if kinds[kind])
        first, second = (
            f"{image_id} ({given[image_id] or 'as another copy'})"
            for image_id in (divided[0].image_id_a, divided[0].image_id_b)
        )
        raise DatasetError(
            f"the given split puts {len(divided)} of {len(leaks)} pairs of images that show the "
            f"same into different splits ({counts}); the first is {first} and {second}. All are in "
            f"{written / 'leaks.csv'}, the first of them to be seen in "
            f"{written / 'preview' / 'leaks.png'}. A test on them would flatter: give copies the "
            "same split, or delete one of each pair. --allow-leaks leaves them as they are."
        )


def contradictions(leaks: Sequence[Leak], labels: Mapping[str, object]) -> list[Leak]:
    """Return the exact pairs whose ``labels``, by image id, differ."""
    return [
        leak
        for leak in leaks
        if leak.kind == "exact" and labels[leak.image_id_a] != labels[leak.image_id_b]
    ]
