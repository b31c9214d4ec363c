"""YOLO: a text file for each image; each line a box or polygon, in fractions of the sides."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML

from defectkit.config.yaml_file import YAML_ERRORS
from defectkit.errors import LabelError
from defectkit.labels.formats.table_builder import Annotation, ReadAnnotation, collect_annotations
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.labels.formats.untrusted_files import read_limited_bytes, read_text
from defectkit.labels.outlines import Box, Outline, Polygons
from defectkit.labels.table import LabelTable

NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml", "_darknet.labels")
YAML_SUFFIXES = (".yaml", ".yml")
NAMES_KEY = re.compile(rb"^names\s*:", re.M)
MAX_TEXT_BYTES = 2**24
LINE = re.compile(r"(?:(\d{1,6})(?:\.0*)?|[^\W\d]\S*)(\s+[-+.\deE]+){4,}")
"""A class number, which some write as 0.0, or a name, and at least four numbers."""
MAX_FRACTION = 2.0
"""Above, numbers are no fractions of the sides."""


def read_yolo(path: Path, files: Sequence[Path], names_file: Path | None = None) -> LabelTable:
    """Read the ``files`` of the folder ``path``; an empty file is a good image's.

    Class ids are the names in ``classes.txt``, ``obj.names`` or ``data.yaml`` in the folder or
    up to two above it, or beside the files; in another YAML beside the folder; or in
    ``names_file``; otherwise their numbers.

    Raises:
        LabelError: there are no annotations, or the names cannot be read.
    """
    encodings = Encodings()
    given, names_file = names_file, names_file or find_names_file(path, files)
    names = _read_names(names_file, encodings) if names_file else None
    read = partial(_read_file, names=names, encodings=encodings)
    table = collect_annotations(path, files, read, encodings)
    built = table.build("YOLO", [*files, *([names_file] if names_file else [])])
    if names_file is None or given or names_file.name in NAME_FILES:
        return built
    return replace(built, notes=(*built.notes, f"{names_file} names the classes"))


def _read_file(
    file: Path, inner: Path, *, names: Sequence[str] | None, encodings: Encodings
) -> tuple[str, list[ReadAnnotation]]:
    image_id = (inner / file.stem).as_posix()
    lines = enumerate(map(str.strip, _read_text(file, encodings).splitlines()), start=1)
    return image_id, [
        partial(_read_line, image_id, line, f"{file.name}:{number}", names)
        for number, line in lines
        if line
    ]


def _read_line(image_id: str, line: str, where: str, names: Sequence[str] | None) -> Annotation:
    try:
        return Annotation(image_id, *_parse(line, names))
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from error


def is_yolo(file: Path) -> bool:
    """Return whether the first line with text is one of YOLO's."""
    try:
        lines = _read_text(file, Encodings()).split("\n")
    except LabelError:
        return False
    return bool(LINE.fullmatch(next((line.strip() for line in lines if line.strip()), "")))


def find_names_file(path: Path, files: Sequence[Path] = ()) -> Path | None:
    """Return the file that names the classes of the ``files`` in ``path``, if there is one.

    Raises:
        LabelError: folders of files have different ones.
    """
    near = (path, path.parent, path.parent.parent)
    inner = sorted({file.parent for file in files} - {*near})
    for folder in near:
        for name in NAME_FILES:
            if (folder / name).is_file():
                return folder / name
    found = [file for folder in inner for name in NAME_FILES if (file := folder / name).is_file()]
    for file in found[1:]:
        if _read_names(file, Encodings()) != _read_names(found[0], Encodings()):
            raise LabelError(f"{found[0]} and {file} give different names. Keep one file.")
    return next(iter(found), None) or _other_yaml(path)


def _other_yaml(path: Path) -> Path | None:
    """Return the one YAML of any name that has names, beside labels or the folder ``labels``."""
    folders = [path, *([path.parent] if path.name.lower().startswith("label") else [])]
    files = [file for folder in folders for file in sorted(folder.iterdir())]
    yamls = [file for file in files if file.suffix.lower() in YAML_SUFFIXES and file.is_file()]
    texts = {file: read_limited_bytes(file, max_bytes=MAX_TEXT_BYTES) for file in yamls}
    named = [file for file, text in texts.items() if NAMES_KEY.search(text)]
    return named[0] if len(named) == 1 else None


def _parse(line: str, names: Sequence[str] | None) -> tuple[str, Outline]:
    matched = LINE.fullmatch(line)
    if not matched:
        raise LabelError(
            f"{line[:40]!r} is not a class number with the numbers of a box or polygon"
        )
    written, *rest = line.split()
    class_id = _class(int(matched[1]), names) if matched[1] else written
    if names is not None and class_id not in names:
        raise LabelError(f"class {written[:40]!r} is not one of the {len(names)} that are named")
    try:
        values = tuple(map(float, rest))
    except ValueError as error:
        raise LabelError(f"{line[:40]!r} has values that are not numbers") from error
    if max(values) > MAX_FRACTION:
        raise LabelError(
            f"{line[:40]!r} is in pixels, but YOLO is in fractions of the image: divide x and "
            "width by the width of the image, y and height by its height"
        )
    if len(values) == 4:
        x, y, width, height = values
        return class_id, Box(
            x - width / 2, y - height / 2, x + width / 2, y + height / 2, relative=True
        )
    if len(values) == 5:
        raise LabelError(
            "it has six numbers, as detections with a score: labels have the class and the four "
            "of a box, or x and y of each point of a polygon"
        )
    return class_id, Polygons((values,), relative=True)


def _class(number: int, names: Sequence[str] | None) -> str:
    if names is not None and number >= len(names):
        raise LabelError(f"class {number} has no name: {len(names)} classes are named")
    return names[number] if names is not None else str(number)


def _read_text(path: Path, encodings: Encodings) -> str:
    return read_text(path, encodings, max_bytes=MAX_TEXT_BYTES)


def _read_names(path: Path, encodings: Encodings) -> list[str]:
    text = _read_text(path, encodings)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return [name.strip() for name in text.splitlines() if name.strip()]
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True  # Of other keys than the names, which are all that is read.
    try:
        content = yaml.load(text)
    except (*YAML_ERRORS, RecursionError) as error:
        raise LabelError(f"{path} is not readable YAML. Fix its names.") from error
    content = content if isinstance(content, dict) else {}
    if "kpt_shape" in content:
        raise LabelError(
            f"{path} says kpt_shape: its labels are the points of poses, not the outlines of "
            "defects. Label the defects by polygons, or if they are, remove kpt_shape."
        )
    names = content.get("names")
    if isinstance(names, dict) and [*map(str, names)] == [*map(str, range(len(names)))]:
        names = list(names.values())
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise LabelError(f"{path} has no list of names, or one whose numbers have gaps.")
    return [str(name) for name in names]
