"""The files that name the values or the colors of masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_text import DELIMITERS, CsvRow, read_csv_text
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.labels.formats.untrusted_files import read_text
from defectkit.preparation.mask_values import IGNORE_VALUE, MaskImage, Meaning, color_name

CLASSES_FILE = "classes.csv"
"""Beside the masks, optional: the columns ``value`` (a number or ``#rrggbb``) and ``class_id``."""
CLASSES_FILES = (CLASSES_FILE, "_classes.csv")
"""The same with Roboflow's name; its columns are called ``Pixel Value`` and ``Class``."""
VALUE_COLUMNS = frozenset({"value", "pixelvalue", "color"})
CLASS_COLUMNS = frozenset({"classid", "class", "classname", "name", "label"})
"""The names of columns, in lower case and of letters alone."""
COLORS_FILE = "labelmap.txt"
"""Beside the masks, optional: CVAT's colors, ``label:red,green,blue:parts:actions``."""
COLOR_LINE = re.compile(r"\s*([^:]+?)\s*:\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:.*)?")
BACKGROUND = frozenset({"background", "_background_"})
"""The names of what is no defect, in lower case."""
VOID = 0xE0E0C0
"""The color that Pascal VOC's palette has for 255, ignored pixels."""
MAX_TEXT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class MaskNames:
    """The classes of values, or of ``colors``, as ``file`` gives them; "" is no defect.

    ``notes`` say how the file was read.
    """

    file: Path
    classes: Mapping[int, str] = field(default_factory=dict)
    colors: bool = False
    notes: tuple[str, ...] = ()


def find_mask_names(path: Path, folders: Sequence[Path] = ()) -> MaskNames | None:
    """Read the names of the values of masks.

    Args:
        path: the folder of the masks: the file lies in it or up to two folders above,
        folders: or in each of these, its subfolders that have masks.

    Raises:
        LabelError: there is a file of names, and it cannot be read, or two differ.
    """
    for folder in (path, path.parent, path.parent.parent):
        if names := _names_in(folder, certain=folder == path):
            return names
    found = [names for folder in folders if (names := _names_in(folder, certain=True))]
    for names in found[1:]:
        if (names.classes, names.colors) != (found[0].classes, found[0].colors):
            raise LabelError(
                f"{found[0].file} and {names.file} give different names. Keep one file."
            )
    return found[0] if found else None


def _names_in(folder: Path, *, certain: bool) -> MaskNames | None:
    """Read the names in a folder; unless ``certain``, a table of other columns is about others."""
    for name in CLASSES_FILES:
        if (folder / name).is_file() and (certain or _find_columns(folder / name)):
            return _read_classes(folder / name)
    return _read_colors(folder / COLORS_FILE) if (folder / COLORS_FILE).is_file() else None


def named_meaning(names: MaskNames, masks: Sequence[MaskImage]) -> Meaning:
    """Return what ``names`` says of the values of ``masks``."""
    values = {value for mask in masks for value in mask.rles}
    ignore = VOID if names.colors else IGNORE_VALUE
    ignored = frozenset({ignore} & (values - names.classes.keys()))
    notes = [f"{_show(names, ignore)}, which {names.file.name} does not name, is ignored"]
    return Meaning(
        {value: names.classes[value] for value in values & names.classes.keys()},
        {
            value: f"its value {_show(names, value)} has no name in {names.file.name}"
            for value in values - names.classes.keys() - ignored
        },
        ignored,
        (*names.notes, *(notes if ignored else ())),
    )


def _show(names: MaskNames, value: int) -> str:
    return color_name(value) if names.colors else str(value)


def _find_columns(path: Path) -> tuple[list[CsvRow], int, int] | None:
    """Return the rows of a table and its columns of values and classes, if it has both."""
    text = read_csv_text(path)
    for delimiter in DELIMITERS:
        rows = text.rows(delimiter)
        header = [re.sub(r"[\W_]", "", cell).lower() for cell in next(rows, CsvRow(1, [])).cells]
        value, class_id = (
            next((index for index, cell in enumerate(header) if cell in words), None)
            for words in (VALUE_COLUMNS, CLASS_COLUMNS)
        )
        if value is not None and class_id is not None:
            return list(rows), value, class_id
    return None


def _read_classes(path: Path) -> MaskNames:
    try:
        rows, value, class_id = _find_columns(path) or ([], -1, -1)
        pairs = [(row.cells[value], row.cells[class_id]) for row in rows]
        colors = bool(pairs) and all(text.startswith("#") for text, _ in pairs)
        values = {int(text.lstrip("#"), 16 if colors else 10): name for text, name in pairs}
        if value < 0:
            raise ValueError
    except (ValueError, IndexError) as error:
        raise LabelError(
            f"{path} does not have the columns value and class_id, with numbers or with colors "
            "such as #ff0000."
        ) from error
    return _names(path, values, colors=colors, notes=read_csv_text(path).notes)


def _read_colors(path: Path) -> MaskNames:
    encodings = Encodings()
    lines = read_text(path, encodings, max_bytes=MAX_TEXT_BYTES).splitlines()
    values: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = COLOR_LINE.fullmatch(line)
        channels = [int(text) for text in match.group(2, 3, 4)] if match else [256]
        if match is None or max(channels) > 255:
            raise LabelError(f"{path}:{number}: {line[:40]!r} is not label:red,green,blue.")
        red, green, blue = channels
        values[red << 16 | green << 8 | blue] = match[1]
    return _names(path, values, colors=True, notes=encodings.notes())


def _names(path: Path, values: dict[int, str], *, colors: bool, notes: Sequence[str]) -> MaskNames:
    classes = {
        value: "" if name.casefold() in BACKGROUND else name for value, name in values.items()
    }
    if classes.pop(0, ""):
        what = "black" if colors else "0"
        raise LabelError(f"{path} names {what} {values[0]!r}, but {what} is no defect in masks.")
    return MaskNames(path, classes, colors, tuple(notes))
