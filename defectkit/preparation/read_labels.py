"""Detect the format of labels, and read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never, get_args

from defectkit.errors import LabelError
from defectkit.labels.formats import yolo
from defectkit.labels.formats.coco import read_coco
from defectkit.labels.formats.csv_table import read_table
from defectkit.labels.formats.labelme import read_labelme
from defectkit.labels.formats.untrusted_files import read_json
from defectkit.labels.formats.voc import read_voc
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelTable
from defectkit.preparation.mask_folder import CLASSES_FILE, read_masks
from defectkit.vocabulary import LabelFormat, LabelFormatOption

MASK_FOLDERS = ("masks", "mask", "ground_truth", "SegmentationClass")
LABEL_FOLDERS = ("labels", "annotations", "Annotations")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
SUFFIXES: dict[LabelFormat, tuple[str, ...]] = {
    "csv": (".csv",),
    "coco": (".json",),
    "masks": MASK_SUFFIXES,
    "labelme": (".json",),
    "voc": (".xml",),
    "yolo": (".txt",),
}


def read_labels(
    source: Path, asked: LabelFormatOption = "auto", options: ReadOptions = DEFAULT_OPTIONS
) -> tuple[LabelFormat, LabelTable]:
    """Read the labels of a file or folder in the format ``asked``, or that is detected.

    In a folder they are looked for in itself and in ``MASK_FOLDERS`` and ``LABEL_FOLDERS``. The
    table's ``path`` is the file or folder that has them.

    Raises:
        LabelError: there are none, there are several formats, or they cannot be read.
    """
    found, place = _find(source, asked)
    if found in ("csv", "coco") and place.is_dir():
        files = _files(place, found)
        if len(files) != 1:
            raise LabelError(f"{place} has {len(files)} {SUFFIXES[found][0]} files. Name one.")
        place = files[0]
    match found:
        case "csv":
            return found, read_table(place)
        case "coco":
            return found, read_coco(place)
        case "masks":
            return found, read_masks(place, _files(place, found), options)
        case "labelme":
            return found, read_labelme(*_folder_and_files(place, found))
        case "voc":
            return found, read_voc(*_folder_and_files(place, found))
        case "yolo":
            return found, yolo.read_yolo(*_folder_and_files(place, found))
        case _:
            assert_never(found)


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


def _find(source: Path, asked: LabelFormatOption) -> tuple[LabelFormat, Path]:
    """Return the format of ``source`` and the file or folder that has the labels."""
    if not source.is_dir():
        return (_format_of_file(source) if asked == "auto" else asked), source
    folders = [source, *(source / name for name in (*MASK_FOLDERS, *LABEL_FOLDERS))]
    folders = [folder for folder in folders if folder.is_dir()]
    wanted: tuple[LabelFormat, ...] = get_args(LabelFormat) if asked == "auto" else (asked,)
    # The same folder on file systems to which "annotations" and "Annotations" are one.
    places = {folder.resolve(): folder for folder in folders}
    kinds = [
        (kind, folder)
        for folder in places.values()
        for kind in wanted
        if _has_labels(folder, kind, source, detecting=asked == "auto")
    ]
    if len(kinds) > 1:  # PNGs beside labels, or beside a folder of masks, are the images.
        kinds = [one for one in kinds if one != ("masks", source)]
    if not kinds:
        what = "labels" if asked == "auto" else f"labels of the format {asked}"
        raise LabelError(
            f"{source} has no {what} (CSV, COCO, mask images, labelme, VOC or YOLO). "
            "Name the file or the folder that has them, or the format with --format."
        )
    if len(kinds) > 1:
        several = ", ".join(f"{kind} in {folder}" for kind, folder in kinds)
        raise LabelError(f"{source} has labels of several formats: {several}. Name one of them.")
    return kinds[0]


def _format_of_file(path: Path) -> LabelFormat:
    match path.suffix.lower():
        case ".json":
            return "labelme" if "shapes" in read_json(path) else "coco"
        case ".xml":
            return "voc"
        case _:
            return "csv"


def _has_labels(folder: Path, kind: LabelFormat, source: Path, *, detecting: bool) -> bool:
    """Return whether ``folder`` has labels of a format; ``detecting`` reads the first file."""
    files = _files(folder, kind)
    named = folder.name in (*MASK_FOLDERS, *LABEL_FOLDERS)
    if detecting and not named:  # Files deeper down may be anything.
        files = [file for file in files if file.parent == folder]
    if not files or not detecting:
        return bool(files)
    match kind:
        case "masks":
            return folder == source or folder.name in MASK_FOLDERS
        case "coco" | "labelme":
            return _format_of_file(files[0]) == kind
        case "yolo":
            return any(yolo.is_yolo(file) for file in files)
        case _:
            return True


def _files(folder: Path, kind: LabelFormat) -> list[Path]:
    """Return the files in ``folder`` that may be of a format, by name; links are not followed.

    In a folder that is named as one of labels, and in one that has no such file itself, those
    deeper down count too.
    """
    below = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES[kind]
        and path.name not in (*yolo.NAME_FILES, CLASSES_FILE)
        and path.is_file()
        and not path.is_symlink()
    )
    direct = [path for path in below if path.parent == folder]
    return below if folder.name in (*MASK_FOLDERS, *LABEL_FOLDERS) else direct or below


def _folder_and_files(place: Path, kind: LabelFormat) -> tuple[Path, Sequence[Path]]:
    if place.is_dir():
        return place, _files(place, kind)
    return place.parent, [place]
