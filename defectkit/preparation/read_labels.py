"""Find out by looking what form labels have, and read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never, get_args

from defectkit.errors import LabelError
from defectkit.labels import yolo
from defectkit.labels.coco import read_coco
from defectkit.labels.csv_table import LabelTable, read_table
from defectkit.labels.documents import read_json_document
from defectkit.labels.labelme import read_labelme
from defectkit.labels.voc import read_voc
from defectkit.preparation.mask_folder import NAMES as MASK_NAMES
from defectkit.preparation.mask_folder import read_masks
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


def read_labels(source: Path, asked: LabelFormatOption = "auto") -> tuple[LabelFormat, LabelTable]:
    """Read the labels of a file or folder in the form that was asked, or that they show.

    In a folder they are looked for in itself and in ``MASK_FOLDERS`` and ``LABEL_FOLDERS``. The
    table's ``path`` is the file or folder that holds them.

    Raises:
        LabelError: there are none, there are several kinds, or they cannot be read.
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
            return found, read_masks(place, _files(place, found))
        case "labelme":
            return found, read_labelme(*_folder_and_files(place, found))
        case "voc":
            return found, read_voc(*_folder_and_files(place, found))
        case "yolo":
            return found, yolo.read_yolo(*_folder_and_files(place, found))
        case _:
            assert_never(found)


def image_places(kind: LabelFormat, place: Path) -> list[Path]:
    """Return the folders in which, or in folders of which, the images of labels may lie."""
    folder = place if place.is_dir() else place.parent
    match kind:
        case "csv":
            return [folder]
        case "masks":  # They bear the names of the images.
            return [folder.parent]
        case _:
            return [folder, folder.parent]


def _find(source: Path, asked: LabelFormatOption) -> tuple[LabelFormat, Path]:
    """Return the format of ``source`` and the file or folder that holds the labels."""
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
        if _holds(folder, kind, source, plainly=asked == "auto")
    ]
    if len(kinds) > 1:  # Pictures beside labels, or in the folder of masks' folder, are images.
        kinds = [one for one in kinds if one != ("masks", source)]
    if not kinds:
        what = "labels" if asked == "auto" else f"labels of the format {asked}"
        raise LabelError(
            f"{source} holds no {what} (CSV, COCO, mask pictures, labelme, VOC or YOLO). "
            "Name the file or the folder that does, or its form with --format."
        )
    if len(kinds) > 1:
        several = ", ".join(f"{kind} in {folder}" for kind, folder in kinds)
        raise LabelError(f"{source} holds labels of several kinds: {several}. Name one of them.")
    return kinds[0]


def _format_of_file(path: Path) -> LabelFormat:
    match path.suffix.lower():
        case ".json":
            return "labelme" if "shapes" in read_json_document(path) else "coco"
        case ".xml":
            return "voc"
        case _:
            return "csv"


def _holds(folder: Path, kind: LabelFormat, source: Path, *, plainly: bool) -> bool:
    """Tell whether ``folder`` holds labels of a kind; ``plainly``: by looking into the first."""
    files = _files(folder, kind)
    named = folder.name in (*MASK_FOLDERS, *LABEL_FOLDERS)
    if plainly and not named:  # What lies deeper down may be anything.
        files = [file for file in files if file.parent == folder]
    if not files or not plainly:
        return bool(files)
    match kind:
        case "masks":
            return folder == source or folder.name in MASK_FOLDERS
        case "coco" | "labelme":
            return _format_of_file(files[0]) == kind
        case "yolo":
            return any(yolo.looks_like_yolo(file) for file in files)
        case _:
            return True


def _files(folder: Path, kind: LabelFormat) -> list[Path]:
    """Return the files in ``folder`` that may be of a kind, by name; links are not followed.

    In a folder whose name tells that it holds labels, and in one that has no such file itself,
    those deeper down count too.
    """
    below = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES[kind]
        and path.name not in (*yolo.NAME_FILES, MASK_NAMES)
        and path.is_file()
        and not path.is_symlink()
    )
    direct = [path for path in below if path.parent == folder]
    return below if folder.name in (*MASK_FOLDERS, *LABEL_FOLDERS) else direct or below


def _folder_and_files(place: Path, kind: LabelFormat) -> tuple[Path, Sequence[Path]]:
    if place.is_dir():
        return place, _files(place, kind)
    return place.parent, [place]
