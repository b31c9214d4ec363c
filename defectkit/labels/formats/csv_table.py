"""CSV label tables: the common forms of ``train.csv``, read as text, every row accounted for.

No cell is turned into a number, so the ids ``007``, ``NA`` and ``1e5`` survive. Columns are known
by their header names (``COLUMN_NAMES``). Without a header, two columns are id and RLE, three are
id, class and RLE. Comma, semicolon or tab; UTF-8 or GB18030.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_text import DELIMITERS, CsvRow, CsvText, read_csv_text
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow, refuse_names
from defectkit.vocabulary import SPLITS

Role = Literal["id_class", "id", "rle", "class"]
"""What a column is for; ``id_class`` is image id and class id in one."""

COLUMN_NAMES: Mapping[Role, tuple[str, ...]] = {
    "id_class": ("imageidclassid",),
    "id": ("imageid", "filename", "imagename", "image", "img", "file", "name", "id"),
    "rle": ("encodedpixels", "rle", "rlemask", "maskrle", "mask", "label"),
    "class": ("classid", "class", "category", "categoryid", "defectclass", "label"),
}
"""Header names by role, the clearest first; case, blanks, ``_`` and ``-`` do not count.
``imageidclassid`` is id and class in one, separated by the last ``_``; ``label`` is the RLE unless
another column is."""

HEADERLESS: Mapping[int, tuple[Role, ...]] = {2: ("id", "rle"), 3: ("id", "class", "rle")}
"""The roles of the columns of a file without a header, by their number."""

META_COLUMNS = ("group", "split", "lot")

BLANK = frozenset({"", "nan", "none", "null", "na", "<na>"})
"""How an empty cell may be written, in lower case."""
NO_DEFECT = BLANK | {"-1"}
"""How an empty RLE may be written; ``-1`` is that of the SIIM competition."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a table: the index of each role's, and of each further one by its name."""

    delimiter: str
    has_header: bool
    names: tuple[str, ...]
    columns: dict[Role, int]
    extra: dict[str, int]


def read_table(path: Path | str) -> LabelTable:
    """Read a label CSV in any of the forms above.

    Lines with nothing but blanks and delimiters are skipped; every other row is in the result.

    Raises:
        LabelError: the file is missing, empty or not a CSV, has no id or no RLE column, or has a
            quotation mark that is never closed.
    """
    text = read_csv_text(path)
    layout = _find_layout(text, roles=("id_class", "id", "rle", "class"))
    rows: list[LabelRow] = []
    refused: list[RefusedRow] = []
    meta: dict[str, dict[str, str]] = {}
    varying: set[str] = set()
    for row in _data_rows(text, layout):
        image_id, class_id, rle = _ids_and_rle(row.cells, layout)
        try:
            _refuse_row(row, layout, image_id, class_id, rle)
            if extra := _extra_cells(row, layout):
                varying |= _add_meta(meta, image_id, extra, refuse=META_COLUMNS)
        except LabelError as error:
            refused.append(RefusedRow(row.line, image_id, class_id, str(error)))
        else:
            rows.append(LabelRow(row.line, image_id, class_id, rle))
    for known in meta.values():
        for name in varying & known.keys():
            del known[name]
    form = ",".join(layout.names) + ("" if layout.has_header else " (no header)")
    return LabelTable(
        text.path, form, text.encoding, tuple(rows), tuple(refused), meta, files=(text.path,)
    )


def read_meta(path: Path | str) -> dict[str, dict[str, str]]:
    """Read a ``--meta`` CSV: a header with ``ImageId`` and any other columns, a row per image.

    Returns the cells that are not blank, as in ``LabelTable.meta``, of every image listed.

    Raises:
        LabelError: as ``read_table``, or a row cannot be used.
    """
    text = read_csv_text(path)
    layout = _find_layout(text, roles=("id",))
    meta: dict[str, dict[str, str]] = {}
    for row in _data_rows(text, layout):
        image_id, class_id, rle = _ids_and_rle(row.cells, layout)
        try:
            _refuse_row(row, layout, image_id, class_id, rle)
            _add_meta(meta, image_id, _extra_cells(row, layout), refuse=layout.extra)
        except LabelError as error:
            raise LabelError(f"{path}:{row.line}: {error}. Fix or remove this row.") from error
    return meta


def _find_layout(text: CsvText, *, roles: Sequence[Role]) -> _Layout:
    """Detect the delimiter and the columns from the first row."""
    firsts = [(delimiter, next(text.rows(delimiter), CsvRow(1, []))) for delimiter in DELIMITERS]
    for delimiter, first in firsts:
        columns = _header_columns(first.cells, roles)
        if columns.keys() & {"id", "id_class"} and ("rle" in columns or "rle" not in roles):
            return _layout_of_header(text, delimiter, first, columns)
    for delimiter, first in firsts:
        names = HEADERLESS.get(len(first.cells), ())
        if "rle" in roles and names and _is_rle_like(first.cells[-1]):
            return _Layout(delimiter, False, names, _header_columns(names, roles), {})
    longest = max((first for _, first in firsts), key=lambda first: len(first.cells))
    found = ", ".join(repr(name[:30]) for name in longest.cells[:20]) or "none"
    needed = "ImageId and EncodedPixels" if "rle" in roles else "ImageId"
    raise LabelError(
        f"{text.path}:{longest.line}: the header must name the columns {needed}, but has {found}. "
        "Add a header or rename its columns."
    )


def _layout_of_header(
    text: CsvText, delimiter: str, header: CsvRow, columns: dict[Role, int]
) -> _Layout:
    plain = [_normalized(name) for name in header.cells]
    for name in header.cells:
        if name and plain.count(_normalized(name)) > 1:
            raise LabelError(
                f"{text.path}:{header.line}: two columns are called {name!r}. Rename one."
            )
    extra = {
        _normalized(name) if _normalized(name) in META_COLUMNS else name: index
        for index, name in enumerate(header.cells)
        if name and index not in columns.values()
    }
    return _Layout(delimiter, True, tuple(header.cells), columns, extra)


def _header_columns(names: Sequence[str], roles: Sequence[Role]) -> dict[Role, int]:
    """Return the index of each role's column, as far as ``names`` has them."""
    plain = [_normalized(name) for name in names]
    columns: dict[Role, int] = {}
    for role in roles:
        for known in COLUMN_NAMES[role]:
            if known in plain and plain.index(known) not in columns.values():
                columns[role] = plain.index(known)
                break
    return columns


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _is_rle_like(cell: str) -> bool:
    return cell.lower() in NO_DEFECT or cell[0] in "+-0123456789"


def _data_rows(text: CsvText, layout: _Layout) -> Iterator[CsvRow]:
    rows = text.rows(layout.delimiter)
    if layout.has_header:
        next(rows)
    return rows


def _ids_and_rle(cells: Sequence[str], layout: _Layout) -> tuple[str, str, str]:
    """Return image id, class id and RLE of a row, "" for what it lacks."""

    def cell(role: Role) -> str:
        index = layout.columns.get(role, len(cells))
        return cells[index] if index < len(cells) else ""

    image_id, class_id, rle = cell("id"), cell("class"), cell("rle")
    if "id_class" in layout.columns:
        image_id, separator, class_id = cell("id_class").rpartition("_")
        if not separator:
            image_id, class_id = class_id, ""
    elif "class" not in layout.columns:
        class_id = "1"
    rle = _unless_blank(rle, NO_DEFECT)
    # Beside a mask, NA or None is the name of a class.
    return image_id, class_id if rle else _unless_blank(class_id, BLANK), rle


def _unless_blank(cell: str, blanks: Collection[str]) -> str:
    return "" if cell.lower() in blanks else cell


def _refuse_row(row: CsvRow, layout: _Layout, image_id: str, class_id: str, rle: str) -> None:
    """Raise if the row does not fit the table, or its names are refused."""
    if row.problem:
        raise LabelError(row.problem)
    if len(row.cells) != len(layout.names):
        raise LabelError(f"the row has {len(row.cells)} cells instead of {len(layout.names)}")
    refuse_names(image_id, class_id)
    if rle and not class_id:
        raise LabelError("the row has an RLE but no class")


def _extra_cells(row: CsvRow, layout: _Layout) -> dict[str, str]:
    cells = {name: row.cells[index] for name, index in layout.extra.items()}
    extra = {name: cell for name, cell in cells.items() if cell}
    if "split" in extra:
        extra["split"] = extra["split"].lower()
        if extra["split"] not in SPLITS:
            raise LabelError(f"split {extra['split'][:30]!r} is not one of {', '.join(SPLITS)}")
    return extra


def _add_meta(
    meta: dict[str, dict[str, str]],
    image_id: str,
    extra: dict[str, str],
    *,
    refuse: Collection[str],
) -> set[str]:
    """Add ``extra`` to the cells of the image; return the columns that had another value.

    Raises:
        LabelError: they differ in a column of ``refuse``.
    """
    known = meta.setdefault(image_id, {})
    differing = {name for name, cell in extra.items() if known.get(name, cell) != cell}
    for name in sorted(differing.intersection(refuse)):
        raise LabelError(
            f"{name} {extra[name][:30]!r} contradicts {known[name][:30]!r} of an earlier row"
        )
    known.update(extra)
    return differing
