"""Bring together rows, images and ``--meta``: which files to look at, and for which ids."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from defectkit.data.images import read_image_size
from defectkit.errors import ImageError
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.examine import Job
from defectkit.preparation.image_folder import ImageFolder

SAMPLED_IMAGES = 64
SAMPLED_ROWS = 4
"""Rows an image at the most."""


@dataclass(slots=True)
class Plan:
    """What to look at and what could be settled without looking.

    ``columns`` holds, for each job's image id, the further cells of the table and of ``--meta``;
    ``missing`` the ids that only ``--meta`` lists and that have no file, with the reason;
    ``unlisted`` the images in the folder that nothing lists.
    """

    jobs: list[Job] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unlisted: list[Path] = field(default_factory=list)


def plan_images(
    table: LabelTable,
    listed: Mapping[str, Mapping[str, str]],
    folder: ImageFolder,
    *,
    use_unlisted: bool,
) -> Plan:
    """Find the file of each image of ``table`` and of ``listed`` (``--meta``, by image id).

    Both may write an id with or without the extension. Rows without a file are refused, and so
    are rows of an image of which the table had to refuse a row.
    """
    plan = Plan()
    owners: dict[Path, str] = {}
    for row in table.refused:
        plan.ledger += _refuse([row], row.reason)
        with suppress(ImageError):
            owners.setdefault(folder.locate(row.image_id), row.image_id)
    refused = {row.image_id: row.line for row in reversed(table.refused)}
    for image_id, rows in _by_image(table.rows).items():
        try:
            path = folder.locate(image_id)
            owner = owners.setdefault(path, image_id)
            if owner != image_id:
                raise ImageError(f"image id {owner!r} is the same file: write one id for one image")
        except ImageError as error:
            plan.ledger += _refuse(rows, str(error))
            continue
        if image_id in refused:
            plan.ledger += _refuse(
                rows, why_refused_with_image(refused[image_id]), refused_with_image=True
            )
        else:
            plan.jobs.append(Job(image_id, path, tuple(rows)))
            plan.columns[image_id] = dict(table.meta.get(image_id, {}))
    in_table = {row.image_id for row in table.rows} | refused.keys()
    _add_listed(plan, listed, folder, owners, in_table)
    plan.unlisted = folder.others(owners)
    if use_unlisted:
        _add_unlisted(plan, folder, owners)
    return plan


def name_by_file(table: LabelTable, folder: ImageFolder) -> LabelTable:
    """Write image ids as the paths of their files below the image folder, where these are found.

    Other sources than CSV name images in many ways; so the same truth gives the same dataset.
    """
    rows = [row.image_id for row in table.rows]
    refused = [row.image_id for row in table.refused]
    names: dict[str, str] = {}
    taken = set()
    for image_id in dict.fromkeys([*rows, *refused, *table.unlabeled]):
        with suppress(ImageError):
            name = folder.locate(image_id).relative_to(folder.root).as_posix()
            if name not in taken:  # Two ids of one file are refused later.
                names[image_id] = name
                taken.add(name)
    return replace(
        table,
        rows=tuple(
            replace(row, image_id=names.get(row.image_id, row.image_id)) for row in table.rows
        ),
        refused=tuple(
            replace(row, image_id=names.get(row.image_id, row.image_id)) for row in table.refused
        ),
        unlabeled=tuple(names.get(image_id, image_id) for image_id in table.unlabeled),
    )


def sample_rows(jobs: Sequence[Job]) -> list[tuple[LabelRow, tuple[int, int]]]:
    """Return rows with defects, from images spread over all ``jobs``, with (height, width).

    At most ``SAMPLED_IMAGES`` headers are read; what cannot be read is left to the survey.
    """
    defective = [(job.path, rows) for job in jobs if (rows := [r for r in job.rows if r.rle])]
    sample = []
    for path, rows in defective[:: max(1, -(-len(defective) // SAMPLED_IMAGES))]:
        with suppress(ImageError):
            shape = read_image_size(path)
            sample += [(row, shape) for row in rows[:SAMPLED_ROWS]]
    return sample


def _add_listed(
    plan: Plan,
    listed: Mapping[str, Mapping[str, str]],
    folder: ImageFolder,
    owners: dict[Path, str],
    in_table: Collection[str],
) -> None:
    for image_id, cells in listed.items():
        try:
            path = folder.locate(image_id)
        except ImageError as error:
            if image_id not in in_table:  # otherwise the ledger says it
                plan.missing[image_id] = str(error)
            continue
        owner = owners.setdefault(path, image_id)
        if owner in plan.columns:
            plan.columns[owner].update(cells)
        elif owner not in in_table:
            plan.jobs.append(Job(image_id, path))
            plan.columns[image_id] = dict(cells)


def _add_unlisted(plan: Plan, folder: ImageFolder, owners: Mapping[Path, str]) -> None:
    """Take the unlisted images as good ones, under ids written as the listed ones are."""
    with_suffix = any(owner.endswith(path.name) for path, owner in owners.items())
    for path in plan.unlisted:
        name = path.relative_to(folder.root)
        image_id = name.as_posix() if with_suffix else name.with_suffix("").as_posix()
        if image_id in plan.columns:
            image_id = name.as_posix()
        plan.jobs.append(Job(image_id, path))
        plan.columns[image_id] = {}


def _by_image(rows: Iterable[LabelRow]) -> dict[str, list[LabelRow]]:
    by_image: dict[str, list[LabelRow]] = {}
    for row in rows:
        by_image.setdefault(row.image_id, []).append(row)
    return by_image


def _refuse(
    rows: Iterable[LabelRow | RefusedRow], reason: str, *, refused_with_image: bool = False
) -> list[LedgerRow]:
    return [
        LedgerRow(row.line, row.image_id, row.class_id, "refused", reason, refused_with_image)
        for row in rows
    ]
