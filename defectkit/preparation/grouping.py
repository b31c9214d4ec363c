"""The groups of images that share a split: named by the user, joined where images show the same."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectkit.preparation.facts_table import Facts
from defectkit.preparation.group_names import GroupProposal, propose_groups
from defectkit.preparation.image_groups import assign_groups
from defectkit.preparation.leaks.find import LeakSearch, find_leaks
from defectkit.preparation.leaks.pairs import (
    Leak,
    equal_files_with_different_labels,
    join_groups,
)
from defectkit.preparation.worker_pool import WorkerPool
from defectkit.vocabulary import LEAK_KINDS, LeakKind, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The groups of images, by image id.

    Attributes:
        named: the groups as the user named them.
        n_without_group: number of images for which none is named.
        proposal: how to name them by parts of the image ids, where none is named.
        given: the splits that the user gave, empty text where none.
        search: what was found out about images that show the same thing.
        leaks: the pairs of such images, the most certain first.
        contradictions: those of equal files with different labels.
        joined: the groups after those of each leak were joined.
    """

    named: Mapping[str, str]
    n_without_group: int
    proposal: GroupProposal | None
    given: Mapping[str, str]
    search: LeakSearch
    leaks: Sequence[Leak]
    contradictions: Sequence[Leak]
    joined: Mapping[str, str]


def mark_joined(grouping: Grouping, splits: Mapping[str, Split]) -> Grouping:
    """Return ``grouping`` with what the final ``splits``, by image id, say of its leaks."""
    leaks = [
        replace(leak, joined=splits[leak.image_id_a] == splits[leak.image_id_b])
        for leak in grouping.leaks
    ]
    return replace(grouping, leaks=leaks)


def group_images(
    images: Sequence[Facts],
    cells: Mapping[str, Mapping[str, str]],
    group_by: str | None,
    pool: WorkerPool,
    *,
    allow_leaks: bool = False,
    folder: Path | None = None,
) -> Grouping:
    """Find the groups of ``images``, and join those of images that show the same thing.

    Args:
        images: the usable images.
        cells: by image id, the further cells of the labels and of ``--meta`` by column.
        group_by: a column or a regular expression, as in ``assign_groups``.
        pool: the workers that compare images.
        allow_leaks: join the groups of equal files alone.
        folder: where the search keeps much of what it finds meanwhile; nothing is left there.

    Raises:
        OutputError: there is no space in ``folder``.
        DatasetError: ``group_by`` is neither a column nor a pattern that matches an image id.
    """
    own_cells = {image.image_id: cells[image.image_id] for image in images}
    given = {image_id: own.get("split", "") for image_id, own in own_cells.items()}
    named, n_without_group = assign_groups(own_cells, group_by)
    is_ungrouped = all(image_id == group for image_id, group in named.items())
    search = find_leaks(images, pool, folder)
    kinds: Collection[LeakKind] = ("exact",) if allow_leaks else LEAK_KINDS
    joined, leaks = join_groups(named, search.leaks, given, kinds=kinds)
    exact = [leak for leak in leaks if leak.kind == "exact"]
    copies = {name for leak in exact for name in (leak.image_id_a, leak.image_id_b)}
    rles = {image.image_id: image.rles for image in images if image.image_id in copies}
    return Grouping(
        named=named,
        n_without_group=n_without_group,
        proposal=propose_groups([*named]) if is_ungrouped and group_by is None else None,
        given=given,
        search=search,
        leaks=leaks,
        contradictions=equal_files_with_different_labels(leaks, rles),
        joined=joined,
    )
