"""Boxes in the columns of a CSV table: which columns they are, and the box of a row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.formats.shapes import box_of
from defectkit.labels.formats.untrusted_files import image_size
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow

BoxForm = Literal["edges", "corner and sides", "center and sides"]
"""What the four numbers of a box are."""

FORMS: tuple[tuple[BoxForm, tuple[str, ...]], ...] = (
    ("edges", ("xmin", "ymin", "xmax", "ymax")),
    ("edges", ("x1", "y1", "x2", "y2")),
    ("edges", ("x0", "y0", "x1", "y1")),
    ("edges", ("left", "top", "right", "bottom")),
    ("corner and sides", ("x", "y", "w", "h")),
    ("corner and sides", ("x", "y", "width", "height")),
    ("corner and sides", ("xmin", "ymin", "w", "h")),
    ("corner and sides", ("xmin", "ymin", "width", "height")),
    ("corner and sides", ("left", "top", "width", "height")),
    ("center and sides", ("xcenter", "ycenter", "width", "height")),
    ("center and sides", ("centerx", "centery", "width", "height")),
    ("center and sides", ("cx", "cy", "w", "h")),
)
"""Header names, as ``COLUMN_NAMES`` writes them, also after ``bbox`` or ``box``."""
PREFIXES = ("", "bbox", "box")
ONE_CELL = ("bbox", "box", "boundingbox")
"""The header of a column with all four numbers: x and y of the corner, width and height."""
SIZES = (("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("height", "width"))
"""The header names of the image's size."""
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class BoxColumns:
    """The indices of the columns of a box, and of the image's height and width if they are there.

    One column of a box has all four numbers.
    """

    form: BoxForm
    columns: tuple[int, ...]
    size: tuple[int, int] | None


def find_box_columns(names: Sequence[str]) -> BoxColumns | None:
    """Return the columns of boxes among normalized header names, None where there are none."""
    for prefix in PREFIXES:
        for form, wanted in FORMS:
            wanted = tuple(prefix + name for name in wanted)
            if set(wanted) <= set(names):
                return BoxColumns(form, tuple(map(names.index, wanted)), _size(names, wanted))
    for name in ONE_CELL:
        if name in names:
            return BoxColumns("corner and sides", (names.index(name),), _size(names, (name,)))
    return None


def _size(names: Sequence[str], taken: Sequence[str]) -> tuple[int, int] | None:
    for height, width in SIZES:
        if {height, width} <= set(names) - set(taken):
            return names.index(height), names.index(width)
    return None


def read_box(cells: Sequence[str], columns: BoxColumns, blanks: frozenset[str]) -> Box | None:
    """Return the box of a row, None where all its cells are blank: no defect.

    Raises:
        LabelError: a cell is not a number.
    """
    texts = [cells[index] for index in columns.columns]
    if all(text.lower() in blanks for text in texts):
        return None
    if len(texts) == 1:
        texts = [part for part in re.split(r"[\s,;\[\]()]+", texts[0]) if part]
    else:  # Where the delimiter is another one, spreadsheets write 1,5.
        texts = [text.replace(",", ".") for text in texts]
    bad = next((text for text in texts if not NUMBER.fullmatch(text)), None)
    if bad is not None or len(texts) != 4:
        shown = repr(cells[columns.columns[0]][:30]) if bad is None else repr(bad[:30])
        raise LabelError(f"{shown} is not a number of its box, or not all four are there")
    x, y, third, fourth = map(float, texts)
    size: ImageSize | None = None
    if columns.size:
        size = image_size(*(cells[index] for index in columns.size))
    match columns.form:
        case "edges":
            return box_of(x, y, third, fourth, size)
        case "corner and sides":
            return Box(x, y, x + third, y + fourth, size)
        case "center and sides":
            half_width, half_height = third / 2, fourth / 2
            return Box(x - half_width, y - half_height, x + half_width, y + half_height, size)


def corner_notes(names: Sequence[str], columns: BoxColumns, rows: Sequence[LabelRow]) -> list[str]:
    """Say that x and y are read as a corner, where by names and numbers they may be the center."""
    if columns.form != "corner and sides" or len(columns.columns) != 4:
        return []
    x, y = (names[index] for index in columns.columns[:2])
    boxes = [row.outline for row in rows if isinstance(row.outline, Box)]
    # A box around (left, top) would leave the image.
    certain = any(3 * box.left < box.right or 3 * box.top < box.bottom for box in boxes)
    if certain or not boxes or not {x.lower()[-1:], y.lower()[-1:]} <= {"x", "y"}:
        return []
    return [
        f"{x} and {y} are read as the left top corner of a box. If they are its center, call them "
        "x_center and y_center"
    ]


def scale_boxes(rows: list[LabelRow]) -> tuple[list[LabelRow], str]:
    """Return the rows, and what their boxes are measured in: pixels, or fractions of the sides.

    They are fractions where no box reaches beyond 1 and some side lies between 0 and 1.
    """
    boxes = [row.outline for row in rows if isinstance(row.outline, Box)]
    edges = [edge for box in boxes for edge in (box.left, box.top, box.right, box.bottom)]
    if not edges or max(edges) > 1 or all(edge in (0, 1) for edge in edges):
        return rows, "in pixels"
    scaled = [
        replace(row, outline=replace(row.outline, relative=True))
        if isinstance(row.outline, Box)
        else row
        for row in rows
    ]
    return scaled, "in fractions of the sides"
