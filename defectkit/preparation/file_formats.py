"""The formats of label files, by their suffix and what is in them."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.labels.formats import yolo
from defectkit.labels.formats.csv_table import has_boxes
from defectkit.labels.formats.cvat import is_cvat
from defectkit.labels.formats.label_studio import is_label_studio
from defectkit.labels.formats.labelme import is_labelme
from defectkit.labels.formats.untrusted_files import read_json_value, read_limited_bytes
from defectkit.labels.formats.via import is_via
from defectkit.preparation.mask_names import CLASSES_FILES, COLORS_FILE
from defectkit.vocabulary import LabelFormat

TEXT_SUFFIXES: dict[LabelFormat, tuple[str, ...]] = {
    "csv": (".csv",),
    "coco": (".json",),
    "labelme": (".json",),
    "voc": (".xml",),
    "yolo": (".txt",),
    "cvat": (".xml",),
    "via": (".json",),
    "label-studio": (".json",),
}
"""The suffixes of the formats other than masks."""
RUNS = re.compile(rb"\d \d")
"""What every table of run lengths has."""
NOT_LABELS = (
    *(*yolo.NAME_FILES, *CLASSES_FILES, COLORS_FILE, "train.txt", "val.txt", "test.txt"),
    *("predefined_classes.txt", "notes.txt", "sample_submission.csv"),
)
"""The names, in lower case, of files beside labels that have none; ``readme`` in any form too."""
JSON_FORMATS: Sequence[tuple[LabelFormat, Callable[[object], bool]]] = [
    ("labelme", is_labelme),
    ("via", is_via),
    ("label-studio", is_label_studio),
]
"""How formats are told from others in JSON, the first that fits; otherwise it is COCO."""


def format_of_file(path: Path) -> LabelFormat:
    """Return the format of one label file, by its suffix and what is in it."""
    return _format_of_version(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=8)  # Each format asks in turn.
def _format_of_version(path: Path, _changed: int) -> LabelFormat:
    match path.suffix.lower():
        case ".json":
            document = read_json_value(path)
            return next((kind for kind, is_one in JSON_FORMATS if is_one(document)), "coco")
        case ".xml":
            return "cvat" if is_cvat(path) else "voc"
        case _:
            return "csv"


def are_of_format(kind: LabelFormat, files: Sequence[Path]) -> bool:
    """Return whether files with the suffix of a format are of it, as the first ones show."""
    match kind:
        case "coco" | "labelme" | "via" | "label-studio" | "voc" | "cvat":
            return format_of_file(files[0]) == kind
        case "yolo":
            return any(yolo.is_yolo(file) for file in files)
        case _:
            return True


def has_labels(kind: LabelFormat, file: Path) -> bool:
    """Return whether a table has run lengths or boxes, or a JSON file the lists of COCO."""
    if kind == "csv":
        return bool(RUNS.search(read_limited_bytes(file))) or has_boxes(file)
    try:
        document = read_json_value(file)
    except LabelError:  # Reading it will say why.
        return True
    lists = (
        (document.get(key) for key in ("images", "annotations"))
        if isinstance(document, dict)
        else ()
    )
    return any(isinstance(one, list) for one in lists)
