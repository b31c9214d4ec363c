"""Find the labels in a folder: their format, their files, and the images they are about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import get_args

from defectkit.errors import LabelError
from defectkit.labels.formats import yolo
from defectkit.object_stores import FilePath
from defectkit.preparation.file_formats import (
    NOT_LABELS,
    TEXT_SUFFIXES,
    are_of_format,
    format_of_file,
    has_labels,
)
from defectkit.preparation.file_tree import (
    LABEL_WORDS,
    MASK_WORDS,
    is_named,
    list_files,
    own_parts,
)
from defectkit.preparation.image_index import ImageIndex
from defectkit.preparation.images_near_labels import index_images_near, list_children
from defectkit.preparation.mask_files import (
    MaskFiles,
    class_masks_beside_images,
    divide_pictures,
    is_picture,
    pair_masks,
)
from defectkit.preparation.mask_names import CLASSES_FILES
from defectkit.preparation.mask_values import is_photograph
from defectkit.results_marker import KnownResults
from defectkit.vocabulary import LabelFormat, LabelFormatOption

YAML_SUFFIXES = (".yaml", ".yml")
MAX_FOLDERS = 50
"""Number of folders that are compared with each other."""
MAX_LOOKED_AT = 3
"""Number of pictures that are looked at: photographs or masks."""


@dataclass(frozen=True, slots=True)
class FoundLabels:
    """Where labels are.

    Attributes:
        format: of the labels.
        place: the file or folder that has them.
        files: the label files, in their order; of masks, all that are no images.
        top: the folder to which the folders of files and images are compared.
        index: the images near them, where the labels are a folder.
        masks: where the labels are masks.
        names_file: the YAML file that was named as the source.
        notes: what was left out.
    """

    format: LabelFormat
    place: Path
    files: Sequence[Path]
    top: Path
    index: ImageIndex | None = None
    masks: MaskFiles | None = None
    names_file: Path | None = None
    notes: tuple[str, ...] = ()


def find_labels(
    source: Path, asked: LabelFormatOption = "auto", images: FilePath | None = None
) -> FoundLabels:
    """Find the labels in the format ``asked``, or of the one that there is.

    They lie in ``source`` itself, in folders in it that are named as those of labels, masks and
    splits, or deeper down. A YAML file stands for the folder it lies in.

    Raises:
        LabelError: there are none, or there are several formats.
    """
    if source.suffix.lower() in YAML_SUFFIXES and source.is_file() and asked in ("auto", "yolo"):
        return replace(_find_in_folder(source.parent, "yolo", images), names_file=source)
    if not source.is_dir():
        if asked == "masks" or is_picture(source):
            what = "image" if is_picture(source) else "file"
            raise LabelError(f"{source} is one {what}. Name the folder of the masks.")
        kind = format_of_file(source) if asked == "auto" else asked
        return FoundLabels(kind, source, [source], source.parent)
    return _find_in_folder(source, asked, images)


def _find_in_folder(source: Path, asked: LabelFormatOption, images: FilePath | None) -> FoundLabels:
    results = KnownResults()
    files = [file for file in list_files(source) if file not in results]
    wanted = [kind for kind in get_args(LabelFormat) if asked in ("auto", kind)]
    kinds: list[FoundLabels] = []
    for kind in wanted:
        if kind == "masks":
            masks = _find_masks(source, files, images, certain=asked == "auto")
            kinds += [masks] if masks else []
        elif chosen := _choose_files(source, files, kind, detecting=asked == "auto"):
            group, notes = chosen
            kinds.append(FoundLabels(kind, _place(source, group), group, source, notes=notes))
    if not kinds and asked == "auto":  # Pictures alone: masks whose images are elsewhere.
        masks = _find_masks(source, files, images, certain=False)
        kinds = [masks] if masks and _may_be_masks(source, masks.files) else []
    if not kinds:
        what = "labels" if asked == "auto" else f"labels of the format {asked}"
        raise LabelError(
            f"{source} has no {what} (CSV, COCO, mask images, labelme, VOC, YOLO, CVAT, VIA "
            f"or Label Studio). {_hint(source, files)}"
            "Name the file or the folder that has them, or the format with --format."
        )
    kinds, notes = _without_files_about_images(kinds)
    if len(kinds) > 1:
        several = ", ".join(f"{found.format} in {found.place}" for found in kinds)
        raise LabelError(f"{source} has labels of several formats: {several}. Name one of them.")
    (found,) = kinds
    notes = (*found.notes, *notes)
    if found.format == "masks" or (found.format == "csv" and len(found.files) == 1):
        return replace(found, notes=notes)
    top, index = index_images_near(source, files, images)
    if found.format in ("yolo", "labelme") and index.images:
        kept = {file: _is_label(found.format, file, top, index) for file in found.files}
        labels = [file for file, is_label in kept.items() if is_label]
        if left := [file.name for file, is_label in kept.items() if not is_label]:
            shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
            notes = (
                *notes,
                f"{shown}: no labels of {found.format}, and no image of that name; left out",
            )
        found = replace(found, files=labels)
    return replace(found, top=top, index=index, notes=notes)


def _may_be_masks(source: Path, pictures: Sequence[Path]) -> bool:
    """Return whether pictures alone are masks: in a folder named so, or of few values.

    Beside a file of labels, pictures of few values are its images.
    """
    if is_named(source.name, MASK_WORDS):
        return True
    if _label_file_beside(source):
        return False
    first = [file for file in pictures if file.parent == source][:MAX_LOOKED_AT]
    return bool(first) and not any(map(is_photograph, first))


def _hint(source: Path, files: Sequence[Path]) -> str:
    """Return a sentence on files that look like labels and are none, or ""."""
    stems = {file.stem for file in files if is_picture(file)}
    for file in files:
        if file.name.lower() in CLASSES_FILES:
            return f"{file} has classes, but not where in the images they are. "
        if file.suffix.lower() == ".txt" and file.stem in stems and file.stat().st_size:
            return f"{file} has the name of an image, but no labels of YOLO. "
    if beside := _label_file_beside(source):
        return f"The file beside it, {beside.name}, may have them: name {beside}. "
    real = source.resolve()
    for folder in list_children(real.parent):
        if folder != real and is_named(folder.name, MASK_WORDS) and folder.is_dir():
            return f"The folder beside it, {folder.name}, may have them: name {source.parent}. "
    return _hint_of_same_names([file for file in files if is_picture(file)])


def _label_file_beside(source: Path) -> Path | None:
    """Return a CSV or COCO file with labels in the folder that ``source`` lies in."""
    results = KnownResults()
    kinds: dict[str, LabelFormat] = {".csv": "csv", ".json": "coco"}
    for path in list_children(source.resolve().parent):
        kind = kinds.get(path.suffix.lower())
        if kind and path.is_file() and path not in results and has_labels(kind, path):
            return source.parent / path.name
    return None


def _hint_of_same_names(pictures: Sequence[Path]) -> str:
    """Return a sentence on two folders of pictures of the same names, one of few values."""
    folders: dict[Path, dict[str, Path]] = {}
    for file in pictures:
        folders.setdefault(file.parent, {})[file.stem] = file
    for masks, images in permutations(list(folders)[:MAX_FOLDERS], 2):
        same = folders[masks].keys() <= folders[images].keys()
        first = [list(folders[folder].values())[:MAX_LOOKED_AT] for folder in (masks, images)]
        if same and not any(map(is_photograph, first[0])) and all(map(is_photograph, first[1])):
            return f"{masks} may have masks: name it, with --format masks --images {images}. "
    return ""


def _is_label(kind: LabelFormat, file: Path, top: Path, index: ImageIndex) -> bool:
    """Return whether a file is about an image, or is at least one of the format."""
    image, _ = index.find(file.relative_to(top).parts[:-1], file.stem)
    if image or not file.stat().st_size:
        return True
    if kind == "yolo":
        return yolo.is_yolo(file)
    try:
        return format_of_file(file) == kind
    except LabelError:  # Reading it will say why.
        return True


def _without_files_about_images(
    kinds: list[FoundLabels],
) -> tuple[list[FoundLabels], tuple[str, ...]]:
    """Leave out files about images beside labels in another format; say so in notes."""
    tables = [
        file
        for found in kinds
        for file in found.files
        if found.format in ("csv", "coco") and len(kinds) > 1 and not has_labels(found.format, file)
    ]
    kept = [found for found in kinds if not set(found.files) <= set(tables)]
    if not tables or not kept:
        return kinds, ()
    names = ", ".join(file.name for file in tables[:3])
    note = f"{names} beside the labels is not used (--meta takes groups, splits and good images)"
    return kept, (note,)


def _choose_files(
    source: Path, files: Sequence[Path], kind: LabelFormat, *, detecting: bool
) -> tuple[list[Path], tuple[str, ...]] | None:
    """Return the files of a format: those in ``source``, in folders named so, or elsewhere.

    Notes say how many others are not read.
    """
    wanted = [
        file
        for file in files
        if file.suffix.lower() in TEXT_SUFFIXES[kind]
        and file.name.lower() not in NOT_LABELS
        and not file.name.lower().startswith("readme")
    ]
    groups: list[list[Path]] = [[], [], []]
    for file in wanted:
        groups[_rank(source, file)].append(file)
    if is_named(source.name, LABEL_WORDS | MASK_WORDS):
        groups = [wanted]
    elif detecting and kind == "csv":  # Deeper down, tables may be anything.
        groups = groups[:2]
    groups = [group for group in groups if group]
    fitting = [group for group in groups if are_of_format(kind, group)]
    if not fitting:
        return None if detecting or not groups else (groups[0], ())
    first, *others = fitting
    left = [file for group in others for file in group]
    note = f"{len(left)} more files of {kind} are not read, such as {left[0]}" if left else ""
    return first, (note,) if note else ()


def _rank(source: Path, file: Path) -> int:
    """Return 0 for a file in ``source``, 1 in folders named as those of labels, 2 elsewhere."""
    parts = file.relative_to(source).parts[:-1]
    if not parts:
        return 0
    named = any(is_named(part, LABEL_WORDS | MASK_WORDS) for part in parts)
    return 1 if named or not own_parts(parts, with_split=False) else 2


def _place(source: Path, files: Sequence[Path]) -> Path:
    """Return the folder in ``source`` that is named so and has all files, or ``source``."""
    heads = {file.relative_to(source).parts[0] for file in files if file.parent != source}
    if len(heads) == 1 and not any(file.parent == source for file in files):
        (head,) = heads
        if is_named(head, LABEL_WORDS | MASK_WORDS):
            return source / head
    return source


def _find_masks(
    source: Path, files: Sequence[Path], images: FilePath | None, *, certain: bool
) -> FoundLabels | None:
    """Find masks by names and folders; if there are none, and not ``certain``, all pictures are."""
    pictures = [file for file in files if is_picture(file)]
    masks, photos, others = divide_pictures(source, pictures)
    strong = bool(masks)
    if not masks and not certain:
        direct = [file for file in photos if file.parent == source]
        everything = is_named(source.name, MASK_WORDS) or not direct
        masks, photos = (photos if everything else direct), []
    if not masks:
        return None
    top = source
    index = ImageIndex(source, photos)
    if not photos and strong:  # They may be links.
        pictures = [file for file in list_files(source, links=True) if is_picture(file)]
        index = ImageIndex(source, divide_pictures(source, pictures)[1])
    if images or not index.images:
        top, index = index_images_near(source, [], images, not_images={*masks, *others})
    if not index.images and (beside := class_masks_beside_images(masks)):
        top, index = source, ImageIndex(source, [file for file in masks if file not in beside])
        masks = beside
    found = pair_masks(top if index.images else _place(source, masks), masks, index)
    return FoundLabels(
        "masks", _place(source, masks), [*masks, *others], top,
        index if index.images else None, found,
    )  # fmt: skip
