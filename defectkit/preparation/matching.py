"""Match the rows of the labels and of ``--meta`` to image files."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from defectkit.errors import ImageError
from defectkit.labels.formats.csv_table import read_meta
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder, open_image_folder
from defectkit.preparation.read_labels import folders_near_labels, read_labels
from defectkit.vocabulary import LabelFormat, LabelFormatOption


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class MatchedImage:
    """An image file and the rows of the label table that are about it."""

    image_id: str
    path: Path
    rows: tuple[LabelRow, ...] = ()


@dataclass(slots=True)
class Matching:
    """The images of a dataset, and what is known without reading them.

    Attributes:
        source_format: the format of the labels.
        table: the labels.
        folder: the folder of the images.
        images: those that have a file, and no row that was refused already.
        cells: for each of ``images``, the further cells of the table and of ``--meta`` by column.
        ledger: the rows that are refused already.
        missing: the ids that only ``--meta`` lists and that have no file, with the reason.
        unlisted: the images in the folder that nothing lists.
    """

    source_format: LabelFormat
    table: LabelTable
    folder: ImageFolder
    images: list[MatchedImage] = field(default_factory=list)
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unlisted: list[Path] = field(default_factory=list)


def find_images(
    source: Path,
    label_format: LabelFormatOption,
    *,
    images: Path | None,
    meta: Path | None,
    use_unlisted: bool,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Matching:
    """Read labels, find their images, and match rows and images.

    Image ids in a CSV stay as they are, those in other formats become paths.

    Args:
        source: the file or folder of the labels.
        label_format: their format, or ``auto``.
        images: the folder of the images; by default it is looked for near the labels.
        meta: a CSV with further cells for images; those it lists alone are good ones.
        use_unlisted: take images that nothing lists as good ones.
        options: how the labels are to be read.

    Raises:
        LabelError: the labels or ``meta`` cannot be read.
        DatasetError: there is no such folder, or no image of the labels is in it.
    """
    source_format, table = read_labels(source, label_format, options)
    listed = read_meta(meta) if meta else {}
    ids = list(dict.fromkeys([row.image_id for row in table.rows] or [*table.unlabeled, *listed]))
    parents = folders_near_labels(source_format, table.path)
    folder = open_image_folder(table.path, images, ids, parents)
    if source_format != "csv":
        table = use_paths_as_ids(table, folder)
        listed = {image_id: {} for image_id in table.unlabeled} | listed
    return match_images(source_format, table, listed, folder, use_unlisted=use_unlisted)


def match_images(
    source_format: LabelFormat,
    table: LabelTable,
    listed: Mapping[str, Mapping[str, str]],
    folder: ImageFolder,
    *,
    use_unlisted: bool,
) -> Matching:
    """Find the file of each image of ``table`` and of ``listed`` (``--meta``, by image id).

    Both may write an id with or without the extension. Rows without a file are refused, and so
    are rows of an image of which the table had to refuse a row.
    """
    matching = Matching(source_format, table, folder)
    owners: dict[Path, str] = {}
    for row in table.refused:
        matching.ledger += _refuse([row], row.reason)
        with suppress(ImageError):
            owners.setdefault(folder.find(row.image_id), row.image_id)
    refused = {row.image_id: row.line for row in reversed(table.refused)}
    for image_id, rows in _by_image(table.rows).items():
        try:
            path = folder.find(image_id)
            owner = owners.setdefault(path, image_id)
            if owner != image_id:
                raise ImageError(
                    f"image id {owner!r} names the same file: use one id for each image"
                )
        except ImageError as error:
            matching.ledger += _refuse(rows, str(error))
            continue
        if image_id in refused:
            matching.ledger += _refuse(
                rows, why_refused_with_image(refused[image_id]), refused_with_image=True
            )
        else:
            matching.images.append(MatchedImage(image_id, path, tuple(rows)))
            matching.cells[image_id] = dict(table.meta.get(image_id, {}))
    in_table = {row.image_id for row in table.rows} | refused.keys()
    _add_listed(matching, listed, folder, owners, in_table)
    matching.unlisted = folder.unused_images(owners)
    if use_unlisted:
        _add_unlisted(matching, folder, owners)
    return matching


def use_paths_as_ids(table: LabelTable, folder: ImageFolder) -> LabelTable:
    """Replace image ids by the paths of their files below the image folder, where there are files.

    Formats other than CSV name images in many ways; so equal labels give equal datasets.
    """
    rows = [row.image_id for row in table.rows]
    refused = [row.image_id for row in table.refused]
    names: dict[str, str] = {}
    taken = set()
    for image_id in dict.fromkeys([*rows, *refused, *table.unlabeled]):
        with suppress(ImageError):
            name = folder.find(image_id).relative_to(folder.root).as_posix()
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


def _add_listed(
    matching: Matching,
    listed: Mapping[str, Mapping[str, str]],
    folder: ImageFolder,
    owners: dict[Path, str],
    in_table: Collection[str],
) -> None:
    for image_id, cells in listed.items():
        try:
            path = folder.find(image_id)
        except ImageError as error:
            if image_id not in in_table:  # otherwise the ledger says it
                matching.missing[image_id] = str(error)
            continue
        owner = owners.setdefault(path, image_id)
        if owner in matching.cells:
            matching.cells[owner].update(cells)
        elif owner not in in_table:
            matching.images.append(MatchedImage(image_id, path))
            matching.cells[image_id] = dict(cells)


def _add_unlisted(matching: Matching, folder: ImageFolder, owners: Mapping[Path, str]) -> None:
    """Add the unlisted images as good ones; their ids are written as those of the listed ones."""
    with_suffix = any(owner.endswith(path.name) for path, owner in owners.items())
    for path in matching.unlisted:
        name = path.relative_to(folder.root)
        image_id = name.as_posix() if with_suffix else name.with_suffix("").as_posix()
        if image_id in matching.cells:
            image_id = name.as_posix()
        matching.images.append(MatchedImage(image_id, path))
        matching.cells[image_id] = {}


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
