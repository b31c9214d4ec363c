"""The files that name the values or the colors of masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.files import read_csv
from defectkit.labels.formats.untrusted_files import read_limited_bytes
from defectkit.preparation.mask_values import IGNORE_VALUE, MaskImage, Meaning, color_name

CLASSES_FILE = "classes.csv"
"""Beside the masks, optional: the columns ``value`` (a number or ``#rrggbb``) and ``class_id``."""
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
    """The classes of values, or of ``colors``, as ``file`` gives them; "" is no defect."""

    file: Path
    classes: Mapping[int, str] = field(default_factory=dict)
    colors: bool = False


def find_mask_names(path: Path) -> MaskNames | None:
    """Read the names of the values of the masks in ``path``, from it or up to two folders above.

    Raises:
        LabelError: there is a file of names, and it cannot be read.
    """
    for folder in (path, path.parent, path.parent.parent):
        if (folder / CLASSES_FILE).is_file() and folder == path:
            return _read_classes(folder / CLASSES_FILE)
        if (folder / COLORS_FILE).is_file():
            return _read_colors(folder / COLORS_FILE)
    return None


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
        tuple(notes) if ignored else (),
    )


def _show(names: MaskNames, value: int) -> str:
    return color_name(value) if names.colors else str(value)


def _read_classes(path: Path) -> MaskNames:
    try:
        rows = [(row["value"].strip(), row["class_id"].strip()) for row in read_csv(path)]
        colors = bool(rows) and all(value.startswith("#") for value, _ in rows)
        values = {int(value.lstrip("#"), 16 if colors else 10): name for value, name in rows}
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(
            f"{path} does not have the columns value and class_id, with numbers or with colors "
            "such as #ff0000."
        ) from error
    return _names(path, values, colors=colors)


def _read_colors(path: Path) -> MaskNames:
    try:
        lines = read_limited_bytes(path, max_bytes=MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 text.") from error
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
    return _names(path, values, colors=True)


def _names(path: Path, values: dict[int, str], *, colors: bool) -> MaskNames:
    classes = {
        value: "" if name.casefold() in BACKGROUND else name for value, name in values.items()
    }
    if classes.pop(0, ""):
        what = "black" if colors else "0"
        raise LabelError(f"{path} names {what} {values[0]!r}, but {what} is no defect in masks.")
    return MaskNames(path, classes, colors)
