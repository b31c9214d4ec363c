"""Which columns a label CSV has, what each is for, and the cells of a row by it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_boxes import NUMBER, BoxColumns, find_box_columns
from defectkit.labels.formats.csv_text import DELIMITERS, CsvRow, CsvText

Role = Literal["id_class", "id", "rle", "class"]
"""What a column is for; ``id_class`` is image id and class id in one."""

COLUMN_NAMES: Mapping[Role, tuple[str, ...]] = {
    "id_class": ("imageidclassid", "imagelabel", "imageclass", "filenamelabel", "filenameclass"),
    "id": (
        *("imageid", "filename", "imagename", "image", "img", "file", "filepath", "imagepath"),
        *("path", "name", "id"),
    ),
    "rle": ("encodedpixels", "rle", "rlemask", "maskrle", "mask", "label"),
    "class": (
        *("classname", "categoryname", "labelname", "classid", "class", "category", "categoryid"),
        *("defectclass", "defecttype", "defect", "label", "labels"),
    ),
}
"""Header names by role, the clearest first, names before numbers; case, blanks, ``_`` and ``-``
do not count. ``id_class`` is id and class in one, separated by the ``_`` after the extension or by
the last one; ``label`` is the RLE unless another column is."""
UNCLEAR_RLE = ("mask", "label")
"""Header names of an RLE that may also be a file's or a class's."""
AFTER_EXTENSION = re.compile(r"(?<=\.png|\.jpg|\.bmp|\.tif|\.pgm)_|(?<=\.jpeg|\.tiff)_", re.I)
RLE_LIKE = re.compile(r"\d\s+\d")
MAX_ROWS_TRIED = 1000
MAX_COLUMNS = 1000

HEADERLESS: Mapping[int, tuple[Role, ...]] = {2: ("id", "rle"), 3: ("id", "class", "rle")}
"""The roles of the columns of a file without a header, by their number."""

HEADERLESS_BOX = ("image", "x1", "y1", "x2", "y2", "class")

META_COLUMNS = ("group", "split", "lot")

BLANK = frozenset({"", "nan", "none", "null", "na", "<na>"})
"""How an empty cell may be written, in lower case."""
NO_DEFECT = BLANK | {"-1", "[]"}
"""How an empty RLE may be written; ``-1`` is that of the SIIM competition."""


NO_PLACE = (
    "the table names classes of images, but not where the defects are. It needs a column of masks "
    "(EncodedPixels) or columns of boxes (xmin, ymin, xmax, ymax)."
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table: the index of each role's, and of each further one by its name."""

    delimiter: str
    has_header: bool
    names: tuple[str, ...]
    columns: dict[Role, int]
    extra: dict[str, int]
    box: BoxColumns | None = None


def find_layout(text: CsvText, *, roles: Sequence[Role]) -> Layout:
    """Detect the delimiter and the columns from the first row.

    Raises:
        LabelError: it has too many columns, or none that is needed.
    """
    firsts = [(delimiter, next(text.rows(delimiter), CsvRow(1, []))) for delimiter in DELIMITERS]
    for _, first in firsts:
        if len(first.cells) > MAX_COLUMNS:
            raise LabelError(
                f"{text.path}:{first.line}: the table has {len(first.cells):,} columns, more than "
                f"{MAX_COLUMNS:,}. Keep those of images, classes and masks or boxes."
            )
    for delimiter, first in firsts:
        columns = _header_columns(first.cells, roles)
        if not columns.keys() & {"id", "id_class"}:
            continue
        if "rle" not in roles:
            return _layout_of_header(text, delimiter, first, columns)
        plain = [_normalized(name) for name in first.cells]
        box = find_box_columns(plain)
        unclear = "rle" in columns and plain[columns["rle"]] in UNCLEAR_RLE
        if box and ("rle" not in columns or unclear):
            columns = _header_columns(first.cells, ("id_class", "id", "class"))
            return _layout_of_header(text, delimiter, first, columns, box)
        if "rle" in columns:
            layout = _layout_of_header(text, delimiter, first, columns)
            if unclear:
                _refuse_other_cells(text, layout)
            return layout
        if len(first.cells) > 1 and "class" in columns:
            raise LabelError(f"{text.path}:{first.line}: {NO_PLACE}")
    for delimiter, first in firsts:
        names = HEADERLESS.get(len(first.cells), ())
        if "rle" in roles and names and _is_rle_like(first.cells[-1]):
            return Layout(delimiter, False, names, _header_columns(names, roles), {})
    for delimiter, first in firsts:
        if "rle" in roles and _has_headerless_box(first.cells):
            columns = _header_columns(HEADERLESS_BOX, ("id", "class"))
            box = find_box_columns(HEADERLESS_BOX)
            return Layout(delimiter, False, HEADERLESS_BOX, columns, {}, box)
    longest = max((first for _, first in firsts), key=lambda first: len(first.cells))
    found = ", ".join(repr(name[:30]) for name in longest.cells[:20]) or "none"
    needed = "ImageId and EncodedPixels" if "rle" in roles else "ImageId"
    raise LabelError(
        f"{text.path}:{longest.line}: the header must name the columns {needed}, but has {found}. "
        "Add a header or rename its columns."
    )


def _layout_of_header(
    text: CsvText,
    delimiter: str,
    header: CsvRow,
    columns: dict[Role, int],
    box: BoxColumns | None = None,
) -> Layout:
    plain = [_normalized(name) for name in header.cells]
    for name in header.cells:
        if name and plain.count(_normalized(name)) > 1:
            raise LabelError(
                f"{text.path}:{header.line}: two columns are called {name!r}. Rename one."
            )
    used = {*columns.values(), *(box.columns if box else ())}
    extra = {
        _normalized(name) if _normalized(name) in META_COLUMNS else name: index
        for index, name in enumerate(header.cells)
        if name and index not in used
    }
    return Layout(delimiter, True, tuple(header.cells), columns, extra, box)


def _refuse_other_cells(text: CsvText, layout: Layout) -> None:
    """Refuse a table whose column of RLEs has names of files or of classes.

    Raises:
        LabelError: none of the cells that were tried looks like an RLE.
    """
    rows = islice(data_rows(text, layout), MAX_ROWS_TRIED)
    cells = [rle for row in rows if (rle := ids_and_rle(row.cells, layout)[2])]
    if not cells or any(map(RLE_LIKE.search, cells)):
        return
    name = layout.names[layout.columns["rle"]]
    if all(re.search(r"\.[a-zA-Z]{3,4}$", cell) for cell in cells):
        raise LabelError(
            f"{text.path}: the column {name!r} has names of files, such as {cells[0][:60]!r}. Give "
            "the folder of the masks instead of the table."
        )
    raise LabelError(f"{text.path}: the column {name!r} has {cells[0][:60]!r}: {NO_PLACE}")


def _header_columns(names: Sequence[str], roles: Sequence[Role]) -> dict[Role, int]:
    """Return the index of each role's column, as far as ``names`` has them."""
    plain = [_normalized(name) for name in names]
    columns: dict[Role, int] = {}
    if {"imageid", "filename", "image"} & set(plain) and "imageidclassid" not in plain:
        roles = [role for role in roles if role != "id_class"]  # Then it is a class.
    for role in roles:
        for known in COLUMN_NAMES[role]:
            if known in plain and plain.index(known) not in columns.values():
                columns[role] = plain.index(known)
                break
    return columns


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _has_headerless_box(cells: Sequence[str]) -> bool:
    """Return whether a row is a file, four numbers and a class, as in tables of RetinaNet."""
    return (
        len(cells) == len(HEADERLESS_BOX)
        and bool(AFTER_EXTENSION.search(f"{cells[0]}_"))
        and all(NUMBER.fullmatch(cell) for cell in cells[1:5])
    )


def _is_rle_like(cell: str) -> bool:
    return cell.lower() in NO_DEFECT or cell[0] in "+-0123456789"


def data_rows(text: CsvText, layout: Layout) -> Iterator[CsvRow]:
    """Return the rows below the header."""
    rows = text.rows(layout.delimiter)
    if layout.has_header:
        next(rows)
    return rows


def ids_and_rle(cells: Sequence[str], layout: Layout) -> tuple[str, str, str]:
    """Return image id, class id and RLE of a row, "" for what it lacks."""

    def cell(role: Role) -> str:
        index = layout.columns.get(role, len(cells))
        return cells[index] if index < len(cells) else ""

    image_id, class_id, rle = cell("id"), cell("class"), cell("rle")
    if "id_class" in layout.columns:
        image_id, class_id = _split_id(cell("id_class"))
    elif "class" not in layout.columns:
        class_id = "1"
    rle = _unless_blank(rle, NO_DEFECT)
    # Beside a mask or box, NA or None is the name of a class.
    return image_id, class_id if rle or layout.box else _unless_blank(class_id, BLANK), rle


def _split_id(cell: str) -> tuple[str, str]:
    """Return image id and class id of ``part_1.jpg_deep_scratch``, or of ``part_1_scratch``."""
    if found := AFTER_EXTENSION.search(cell):
        return cell[: found.start()], cell[found.end() :]
    image_id, separator, class_id = cell.rpartition("_")
    return (image_id, class_id) if separator else (class_id, "")


def _unless_blank(cell: str, blanks: Collection[str]) -> str:
    return "" if cell.lower() in blanks else cell
