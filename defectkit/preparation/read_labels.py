"""Read the labels of a file or folder, in any format."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import assert_never

from defectkit.errors import LabelError
from defectkit.labels.formats.coco import read_coco
from defectkit.labels.formats.csv_table import read_table
from defectkit.labels.formats.cvat import read_cvat
from defectkit.labels.formats.label_studio import read_label_studio
from defectkit.labels.formats.labelme import read_labelme
from defectkit.labels.formats.table_builder import settle_boxes
from defectkit.labels.formats.via import read_via
from defectkit.labels.formats.voc import read_voc
from defectkit.labels.formats.yolo import read_yolo
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelTable
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.file_formats import TEXT_SUFFIXES
from defectkit.preparation.file_tree import list_files, split_in, split_of
from defectkit.preparation.given_splits import YAML_NAMES, give_splits, read_split_folders
from defectkit.preparation.images_near_labels import index_images_near
from defectkit.preparation.label_images import (
    find_uploads,
    join_tables,
    locate_images,
    rename_images,
)
from defectkit.preparation.label_places import FoundLabels, find_labels
from defectkit.preparation.mask_folder import read_masks
from defectkit.vocabulary import MAX_CLASSES, LabelFormat, LabelFormatOption

MAX_THRESHOLD = 65535
MAX_NAMES = 5
"""Max. number of files that a message names."""


def read_labels(
    source: Path,
    asked: LabelFormatOption = "auto",
    options: ReadOptions = DEFAULT_OPTIONS,
    images: FilePath | None = None,
) -> tuple[LabelFormat, LabelTable]:
    """Read the labels of a file or folder in the format ``asked``, or that is detected.

    The table's ``path`` is the file or folder that has them. Where its ``image_root`` is set, the
    ids are paths below it.

    Raises:
        LabelError: there are none, there are several formats, or they cannot be read.
    """
    _check_source(source)
    found = find_labels(source, asked, images)
    _refuse_options_of_masks(source, found, options)
    table = settle_boxes(_read(found, options), boxes=options.boxes)
    _refuse_many_classes(table)
    if found.format == "label-studio":
        folder = found.files[0].parent
        index = found.index or index_images_near(folder, list_files(folder), images)[1]
        table = find_uploads(table, index)
    table = replace(table, notes=(*found.notes, *table.notes))
    if found.index is None or not found.index.images:
        return found.format, table
    if found.format != "masks":
        table = locate_images(table, found.index, found.place.relative_to(found.top).parts)
    names = {image.name for image in found.index.images}
    stems = {name.rpartition(".")[0] for name in names}
    ids = {*(row.image_id for row in table.rows), *table.unlabeled, *table.empty_files.values()}
    if ids.isdisjoint(names) and ids.isdisjoint(stems):
        return found.format, table
    table = replace(table, image_root=found.index.root)
    yaml = found.names_file or _beside(found.place, YAML_NAMES)
    return found.format, give_splits(table, names, read_split_folders(yaml, found.index.root))


def _check_source(source: Path) -> None:
    if stored := StoredObject.named(source):
        raise LabelError(
            f"{stored} is on an object store, but labels and masks are read from files alone. Copy "
            "them to a folder; the images may stay where they are (--images)."
        )
    try:
        source.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise LabelError(f"cannot read {source}: {reason}. Check the path.") from error


def _refuse_many_classes(table: LabelTable) -> None:
    classes = {row.class_id for row in table.rows}
    if len(classes) > MAX_CLASSES:
        raise LabelError(
            f"{table.path} has {len(classes):,} classes, more than {MAX_CLASSES:,}. Is the column "
            "of classes one of something else? Give several classes one name."
        )


def folders_near_labels(kind: LabelFormat, place: Path) -> list[Path]:
    """Return the folders that may have the images of labels, in themselves or in a subfolder."""
    folder = place if place.is_dir() else place.parent
    match kind:
        case "csv":
            return [folder]
        case "masks":  # They have the names of the images.
            return [folder.parent]
        case _:
            return [folder, folder.parent]


def _read(found: FoundLabels, options: ReadOptions) -> LabelTable:
    folder = found.place if found.place.is_dir() else found.place.parent
    match found.format:
        case "csv":
            return _read_split_files(found, read_table)
        case "cvat":
            return read_cvat(_only_file(found))
        case "via":
            return read_via(_only_file(found))
        case "label-studio":
            return read_label_studio(_only_file(found))
        case "coco":
            return _read_split_files(found, read_coco)
        case "masks":
            assert found.masks is not None
            table = read_masks(found.place, found.masks.masks, options)
            return replace(
                table,
                unlabeled=tuple(found.masks.good),
                files=(*table.files, *found.masks.others),
                notes=(*found.masks.notes, *table.notes),
            )
        case "labelme":
            return read_labelme(folder, found.files)
        case "voc":
            return read_voc(folder, found.files)
        case "yolo":
            return read_yolo(folder, found.files, found.names_file)
        case _:
            assert_never(found.format)


def _refuse_options_of_masks(source: Path, found: FoundLabels, options: ReadOptions) -> None:
    threshold = options.mask_threshold
    if found.format != "masks" and (threshold is not None or options.invert):
        flag = "--invert" if options.invert else "--mask-threshold"
        raise LabelError(
            f"{flag} is for mask images, but {source} is {found.format}. Leave it out."
        )
    if threshold is not None and not 1 <= threshold <= MAX_THRESHOLD:
        raise LabelError(
            f"--mask-threshold {threshold} is not a pixel value from 1 to {MAX_THRESHOLD}. Give "
            "the value from which on pixels are defective, such as 128."
        )


def _only_file(found: FoundLabels) -> Path:
    if len(found.files) != 1:
        suffix = TEXT_SUFFIXES[found.format][0]
        names = [file.relative_to(found.place).as_posix() for file in found.files[:MAX_NAMES]]
        some = ", ".join(names) + (", ..." if len(found.files) > MAX_NAMES else "")
        raise LabelError(f"{found.place} has {len(found.files)} {suffix} files ({some}). Name one.")
    return found.files[0]


def _read_split_files(found: FoundLabels, read: Callable[[Path], LabelTable]) -> LabelTable:
    """Read one file, or one for each split: ``train/_annotations.csv``, ``instances_val.json``.

    Names of tables do not tell: ``test.csv`` may list images whose labels nobody has.
    """
    folders = [file.relative_to(found.top).parts[:-1] for file in found.files]
    given = [split_of(folder) for folder in folders]
    named = [split_in(file.stem) if found.format == "coco" else None for file in found.files]
    splits = [split or other for split, other in zip(given, named, strict=True)]
    if len(found.files) == 1 or None in splits or len(set(splits)) < len(splits):
        return read(_only_file(found))
    tables = []
    for file, folder, own, split in zip(found.files, folders, given, splits, strict=True):
        assert split is not None
        inner = folder if own else (*folder, split)
        table = rename_images(read(file), partial(_put_into, "/".join(inner)))
        ids = {*(row.image_id for row in table.rows), *table.unlabeled}
        tables.append(replace(table, meta={image_id: {"split": split} for image_id in ids}))
    return join_tables(found.place, tables)


def _put_into(folder: str, image_id: str) -> str:
    return f"{folder}/{image_id}"


def _beside(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the file of one of ``names`` in ``folder`` or the one above it."""
    places = [place / name for place in (folder, folder.parent) for name in names]
    return next(filter(Path.is_file, places), None)
