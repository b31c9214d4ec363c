"""Match the rows of the labels and of ``--meta`` to image files."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from defectkit.labels.formats.csv_table import read_meta
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.object_stores import FilePath
from defectkit.preparation.given_splits import is_defect
from defectkit.preparation.image_folder import FoundImage, ImageFolder
from defectkit.preparation.image_names import split_words_of
from defectkit.preparation.label_files import find_image, settle_label_files
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.open_image_folder import open_image_folder
from defectkit.preparation.read_labels import folders_near_labels, read_labels
from defectkit.preparation.unlisted_images import Unlisted, find_unlisted
from defectkit.vocabulary import LabelFormat, LabelFormatOption

NEAREST_TRIES = 10
"""Number of images without a file for which the nearest name is looked for."""


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
        missing: the ids that are listed as good and have no file of their own, with the reason.
        unlisted: the images that nothing lists.
        lost: the ids of rows that have no file: each may mean one of the unlisted images.
        lost_words: what their names consist of.
        doubted: the images that would be good for having no rows, but may be one of ``lost``.
        withheld: whether unlisted images were to be good ones, but are not because of ``lost``.
        found_otherwise: numbers of images whose file is called otherwise, by what differs.
    """

    source_format: LabelFormat
    table: LabelTable
    folder: ImageFolder
    images: list[MatchedImage] = field(default_factory=list)
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unlisted: Unlisted = field(default_factory=Unlisted)
    lost: list[str] = field(default_factory=list)
    lost_words: set[tuple[str, ...]] = field(default_factory=set)
    doubted: list[str] = field(default_factory=list)
    withheld: bool = False
    found_otherwise: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Subject:
    """What the labels say of one image: under one id, or in one label file.

    Attributes:
        image_id: the id as it is written.
        image: its file, None if there is none.
        how: how the file's name differs.
        problem: why the image cannot be used.
        rows: the usable rows.
        refused: the others.
    """

    image_id: str
    image: FoundImage | None = None
    how: str = ""
    problem: str = ""
    rows: list[LabelRow] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)

    def may_be_defective(self) -> bool:
        """Return whether there is more than the statement that the image is good."""
        return bool(self.refused) or any(row.rle or row.outline for row in self.rows)


def find_images(
    source: Path,
    label_format: LabelFormatOption,
    *,
    images: FilePath | None,
    meta: Path | None,
    use_unlisted: bool,
    follow_links: bool = False,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Matching:
    """Read labels, find their images, and match rows and images.

    Args:
        source: the file or folder of the labels.
        label_format: their format, or ``auto``.
        images: the folder of the images, also of a store; by default it is looked for near the
            labels.
        meta: a CSV with further cells for images; those it lists alone are good ones.
        use_unlisted: take images that nothing lists as good ones.
        follow_links: read images also through links that lead out of their folder.
        options: how the labels are to be read.

    Raises:
        LabelError: the labels or ``meta`` cannot be read.
        DatasetError: there is no such folder, or no image of the labels is in it.
    """
    source_format, table = read_labels(source, label_format, options, images)
    listed = read_meta(meta) if meta else {}
    good = (*table.unlabeled, *table.empty_files.values(), *listed)
    ids = [row.image_id for row in table.rows] or good
    folder = open_image_folder(
        table.path,
        table.image_root or images,
        list(dict.fromkeys(ids)),
        folders_near_labels(source_format, table.path),
        label_files=[*dict.fromkeys(row.label_file for row in table.rows), *table.empty_files],
        not_images=[*table.files, *([meta] if meta else [])],
        follow_links=follow_links,
    )
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

    Ids in a CSV stay where they name the file; all others become the path of the file below the
    image folder, so that equal labels give equal datasets. Rows without a file are refused, and so
    are all rows of an image of which one is.

    Images that nothing lists are good ones with ``use_unlisted``, but none is while a row has no
    file: it may mean one of them.
    """
    matching = Matching(source_format, table, folder)
    subjects = _collect_subjects(table, folder)
    _refuse_double_names(subjects)
    for subject in [subject for subject in subjects if not subject.image][:NEAREST_TRIES]:
        subject.problem += folder.hint_at_nearest(subject.image_id)
    for subject in subjects:
        _add_subject(matching, subject)
    used = {subject.image.name for subject in subjects if subject.image}
    used |= _add_listed(matching, listed, used, {subject.image_id for subject in subjects})
    defects = {one.image.name for one in subjects if one.image and any(map(is_defect, one.rows))}
    matching.unlisted = find_unlisted(folder, used, defects)
    matching.withheld = use_unlisted and bool(matching.lost)
    if use_unlisted and not matching.withheld:
        _add_unlisted(matching)
    folder.forget()
    return matching


def _collect_subjects(table: LabelTable, folder: ImageFolder) -> list[_Subject]:
    """Gather the rows by the image that they are about, and find its file."""
    files = settle_label_files(table, folder)
    subjects: dict[tuple[str, str], _Subject] = {}

    def subject(image_id: str, label_file: str = "") -> _Subject:
        key = ("", label_file) if label_file else (image_id, "")
        if key not in subjects:
            file = files.get(label_file) or find_image(folder, image_id)
            subjects[key] = _Subject(image_id, file.image, file.how, file.problem)
        return subjects[key]

    for row in table.rows:
        subject(row.image_id, row.label_file).rows.append(row)
    for refused in table.refused:
        subject(refused.image_id, refused.label_file).refused.append(refused)
    for image_id in table.unlabeled:
        subject(image_id)
    for label_file, image_id in table.empty_files.items():
        subject(image_id, label_file)
    return list(subjects.values())


def _refuse_double_names(subjects: Sequence[_Subject]) -> None:
    """Refuse the images that several ids name with rows; an id without rows is left out."""
    by_name: dict[str, list[_Subject]] = {}
    for subject in subjects:
        if subject.image:
            by_name.setdefault(subject.image.name, []).append(subject)
    for same in by_name.values():
        with_rows = [subject for subject in same if subject.rows or subject.refused]
        for subject in same if len(same) > 1 else ():
            if others := [one for one in with_rows or same[:1] if one is not subject]:
                subject.problem = (
                    f"image id {others[0].image_id!r} names the same file: "
                    "use one id for each image"
                )


def _add_subject(matching: Matching, subject: _Subject) -> None:
    image, rows, refused = subject.image, subject.rows, subject.refused
    image_id = _final_id(matching, subject.image_id, image, subject.how)
    # As it is written, where a note says how the file was found.
    shown = subject.image_id if subject.how else image_id
    for row in refused:
        matching.ledger += _refuse([row], shown, row.reason)
    if subject.problem:
        matching.ledger += _refuse(rows, shown, subject.problem)
        if not (rows or refused):
            matching.missing[subject.image_id] = subject.problem
        if image is None and subject.may_be_defective():
            matching.lost.append(subject.image_id)
            matching.lost_words.add(split_words_of(subject.image_id))
    elif refused:
        reason = why_refused_with_image(refused[0].line)
        matching.ledger += _refuse(rows, shown, reason, with_image=True)
    elif image and not rows and _may_be_lost(matching, image.name):
        matching.doubted.append(image.name)
    elif image:
        note = f"found as {image.name} ({subject.how})" if subject.how else ""
        if note or shown != subject.image_id:
            rows = [
                replace(row, image_id=shown, note="; ".join(filter(None, [note, row.note])))
                for row in rows
            ]
        matching.images.append(MatchedImage.of(image_id, image.path, rows))
        matching.cells[image_id] = dict(matching.table.meta.get(subject.image_id, {}))
        matching.found_otherwise[subject.how.partition(";")[0]] += 1


def _may_be_lost(matching: Matching, name: str) -> bool:
    """Return whether rows of a lost image, or those without an id, may mean this file."""
    return not matching.lost_words.isdisjoint({(), split_words_of(name)})


def _final_id(matching: Matching, image_id: str, image: FoundImage | None, how: str) -> str:
    stays = matching.source_format == "csv" and not how
    return image_id if stays or image is None else image.name


def _add_listed(
    matching: Matching,
    listed: Mapping[str, Mapping[str, str]],
    used: Collection[str],
    in_table: Collection[str],
) -> set[str]:
    """Add the cells of ``--meta``, and the images that it lists alone; return their names."""
    ids = {image.file: image.image_id for image in matching.images}
    added = set()
    for image_id, cells in listed.items():
        search = find_image(matching.folder, image_id)
        image = search.image
        if image is None:
            if image_id not in in_table:  # otherwise the ledger says it
                matching.missing[image_id] = search.problem
            continue
        file = str(image.path)
        if file not in ids and image.name not in used:
            if _may_be_lost(matching, image.name):
                matching.doubted.append(image.name)
                added.add(image.name)
                continue
            ids[file] = _final_id(matching, image_id, image, image.how)
            matching.images.append(MatchedImage.of(ids[file], image.path))
            matching.cells[ids[file]] = {}
            matching.found_otherwise[image.how] += 1
            added.add(image.name)
        if file in ids:
            matching.cells[ids[file]].update(cells)
    return added


def _add_unlisted(matching: Matching) -> None:
    """Add the unlisted images as good ones; their ids are written as those of the listed ones."""
    with_suffix = any(image.image_id.endswith(image.path.name) for image in matching.images)
    for path in matching.unlisted.images:
        name = path.relative_to(str(matching.folder.root))
        image_id = name.as_posix() if with_suffix else name.with_suffix("").as_posix()
        if image_id in matching.cells:
            image_id = name.as_posix()
        matching.images.append(MatchedImage.of(image_id, path))
        matching.cells[image_id] = dict(matching.table.meta.get(name.as_posix(), {}))


def _refuse(
    rows: Iterable[LabelRow | RefusedRow], image_id: str, reason: str, *, with_image: bool = False
) -> list[LedgerRow]:
    return [
        LedgerRow(row.line, image_id, row.class_id, "refused", reason, with_image) for row in rows
    ]
