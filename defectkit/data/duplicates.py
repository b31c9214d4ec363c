"""Images that are there twice: they must not stand in two splits, nor bear two truths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from defectkit.errors import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Two images that show the same thing. ``similarity`` is in [0, 1], 1 for equal files.

    ``joined`` tells that their groups were made one before the split.
    """

    image_id_a: str
    image_id_b: str
    kind: Literal["exact"]
    similarity: float
    joined: bool


def find_exact(hashes: Mapping[str, str]) -> list[Leak]:
    """Pair each image with the first one whose file has the same SHA-256.

    ``hashes`` maps image ids to the hashes of their files.
    """
    first: dict[str, str] = {}
    return [
        Leak(image_id_a=original, image_id_b=image_id, kind="exact", similarity=1.0, joined=True)
        for image_id, digest in hashes.items()
        if (original := first.setdefault(digest, image_id)) != image_id
    ]


def join_groups(groups: Mapping[str, str], leaks: Sequence[Leak]) -> dict[str, str]:
    """Make the groups of each joined pair one, under the name of the first; by image id."""
    names = list(dict.fromkeys(groups.values()))
    index = {name: position for position, name in enumerate(names)}
    pairs = np.array(
        [
            (index[groups[leak.image_id_a]], index[groups[leak.image_id_b]])
            for leak in leaks
            if leak.joined
        ],
        dtype=np.intp,
    ).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    first: dict[int, str] = {}
    for name, number in zip(names, component.tolist(), strict=True):
        first.setdefault(number, name)
    return {image_id: first[component[index[group]]] for image_id, group in groups.items()}


def refuse_divided(leaks: Sequence[Leak], given: Mapping[str, str]) -> None:
    """Refuse a given split (by image id, empty text where none) that divides a pair.

    Raises:
        DatasetError: copies of an image are in different splits.
    """
    divided = [
        leak
        for leak in leaks
        if (a := given[leak.image_id_a]) and (b := given[leak.image_id_b]) and a != b
    ]
    if divided:
        leak = divided[0]
        raise DatasetError(
            f"the given split puts {len(divided)} of {len(leaks)} pairs of identical images into "
            f"different splits; the first is {leak.image_id_a} ({given[leak.image_id_a]}) and "
            f"{leak.image_id_b} ({given[leak.image_id_b]}). A test on them would flatter: give "
            "copies the same split, or delete one of each pair."
        )


def contradictions(leaks: Sequence[Leak], labels: Mapping[str, object]) -> list[Leak]:
    """Return the exact pairs whose ``labels``, by image id, differ."""
    return [
        leak
        for leak in leaks
        if leak.kind == "exact" and labels[leak.image_id_a] != labels[leak.image_id_b]
    ]
