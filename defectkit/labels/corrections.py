"""``--relabel``: a CSV of corrections, such as the page of ``suspects`` saves.

Its columns are ``image_id,class_id,x,y,width,height,action,new_class``. A row names a labeled
region by its class and its box, as ``suspects.csv`` and ``defects.csv`` do.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from defectkit.arrays import BoxXywh
from defectkit.csv_cells import read_cell
from defectkit.errors import LabelError
from defectkit.labels.formats.csv_text import read_csv_text
from defectkit.vocabulary import RELABEL_ACTIONS, RelabelAction

CORRECTION_COLUMNS = ("image_id", "class_id", "x", "y", "width", "height", "action", "new_class")
BOX_COLUMNS = ("x", "y", "width", "height")
MAX_ROWS_SHOWN = 10

OF_A_REGION: tuple[RelabelAction, ...] = ("drop-label", "set-class")
"""The actions whose row names a labeled region."""


TOLD: dict[RelabelAction, tuple[str, str, str]] = {
    "drop-label": ("label", "labels", "dropped"),
    "set-class": ("label", "labels", "given another class"),
    "ignore": ("box", "boxes", "ignored"),
    "mark-good": ("image", "images", "marked good"),
    "leave-out": ("image", "images", "left out"),
    "keep": ("label", "labels", "kept"),
}
"""What each action does, and to what."""


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True, kw_only=True)
class Correction:
    """One row: what is done with an image, with a labeled region of it, or with a box in it.

    ``line`` is the line of the file. ``new_class`` is empty but for ``set-class``.
    """

    line: int
    image_id: str
    action: RelabelAction
    class_id: str = ""
    box_xywh: BoxXywh | None = None
    new_class: str = ""


def read_corrections(path: Path) -> list[Correction]:
    """Read a CSV of corrections; its order is the one in which they are applied.

    Raises:
        LabelError: the file is missing, or has no image or action, or rows that say nothing.
    """
    text = read_csv_text(path)
    for delimiter in (",", ";", "\t"):  # as a spreadsheet may save it
        rows = text.rows(delimiter)
        header = next(rows, None)
        names = [read_cell(cell).strip() for cell in header.cells] if header else []
        if "image_id" in names:
            break
    if missing := [name for name in ("image_id", "action") if name not in names]:
        raise LabelError(
            f"{path} has no column {' and no column '.join(missing)}. The first line must name the "
            f"columns: {','.join(CORRECTION_COLUMNS)}."
        )
    corrections, bad = [], []
    for row in rows:
        cells = dict(zip(names, map(read_cell, row.cells), strict=False))
        if not any(cell.strip() for cell in cells.values()):
            continue
        try:
            corrections.append(_read_row(row.line, cells))
        except LabelError as error:
            bad.append((row.line, str(error)))
    refuse_corrections(path, bad)
    return corrections


def refuse_corrections(path: Path, bad: Sequence[tuple[int, str]]) -> None:
    """Refuse a file with rows that cannot be applied, given by line and reason.

    Raises:
        LabelError: there are any; the first ones are named.
    """
    if not bad:
        return
    named = [f"  {path}:{line}: {reason}" for line, reason in sorted(bad)[:MAX_ROWS_SHOWN]]
    more = [f"  and {len(bad) - MAX_ROWS_SHOWN} more"] if len(bad) > MAX_ROWS_SHOWN else []
    rows = "1 row" if len(bad) == 1 else f"{len(bad)} rows"
    raise LabelError(
        "\n".join(
            [
                f"{rows} of {path} cannot be applied:",
                *named,
                *more,
                "Fix or remove them. If the labels were changed since, run 'defectkit suspects' "
                "again.",
            ]
        )
    )


def describe_corrections(corrections: Sequence[Correction]) -> str:
    """Return how many corrections of each kind there are, as text.

    >>> describe_corrections([Correction(line=2, image_id="a", action="keep")])
    '1 label kept'
    """
    counts = Counter(one.action for one in corrections)
    told = [
        f"{counts[action]} {noun if counts[action] == 1 else plural} {done}"
        for action, (noun, plural, done) in TOLD.items()
        if counts[action]
    ]
    return ", ".join(told) or "no row"


def _read_row(line: int, cells: dict[str, str]) -> Correction:
    action = cells["action"].strip()
    known = {name: name for name in get_args(RelabelAction)}
    if action not in known:
        raise LabelError(f"the action {action[:60]!r} is none of {', '.join(RELABEL_ACTIONS)}")
    if not cells["image_id"]:
        raise LabelError("the row has no image_id")
    correction = Correction(
        line=line,
        image_id=cells["image_id"],
        action=known[action],
        class_id=cells.get("class_id", ""),
        box_xywh=_read_box(cells),
        new_class=cells.get("new_class", ""),
    )
    if action in OF_A_REGION and not (correction.class_id and correction.box_xywh):
        raise LabelError(f"{action} needs a class_id and the box of a region")
    if action == "ignore" and not correction.box_xywh:
        raise LabelError("ignore needs a box: x, y, width and height")
    if action == "set-class" and not correction.new_class:
        raise LabelError("set-class needs a new_class")
    return correction


def _read_box(cells: dict[str, str]) -> BoxXywh | None:
    texts = [cells.get(name, "").strip() for name in BOX_COLUMNS]
    if not any(texts):
        return None
    if not all(text.isdecimal() and len(text) < 10 for text in texts) or "0" in texts[2:]:
        raise LabelError(f"the box {','.join(texts)[:60]!r} is not four whole numbers of pixels")
    x, y, width, height = map(int, texts)
    return x, y, width, height
