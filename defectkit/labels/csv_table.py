"""Label tables: the forms of ``train.csv`` in the wild, read as text, every row accounted for.

Nothing is turned into a number on the way, so the ids ``007``, ``NA`` and ``1e5`` survive. Columns
are known by their header names (``COLUMN_NAMES``). Without a header, two columns are id and RLE,
three are id, class and RLE. Comma, semicolon or tab; UTF-8 or GB18030.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.labels.csv_text import DELIMITERS, CsvText, Record, read_csv_text
from defectkit.labels.outlines import Outline
from defectkit.vocabulary import SPLITS, LabelKind

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "id_class": ("imageidclassid",),
    "id": ("imageid", "filename", "imagename", "image", "img", "file", "name", "id"),
    "rle": ("encodedpixels", "rle", "rlemask", "maskrle", "mask", "label"),
    "class": ("classid", "class", "category", "categoryid", "defectclass", "label"),
}
"""Header names by what the column holds, the most telling first; case, blanks, ``_`` and ``-`` do
not count. ``imageidclassid`` is id and class in one, parted by the last ``_``; ``label`` is the RLE
unless another column is."""

HEADERLESS: Mapping[int, tuple[str, ...]] = {2: ("id", "rle"), 3: ("id", "class", "rle")}

META_COLUMNS = ("group", "split", "lot")

BLANK = frozenset({"", "nan", "none", "null", "na", "<na>"})
"""What an empty cell is written as, in lower case."""
NO_DEFECT = BLANK | {"-1"}
"""What stands for an empty RLE; ``-1`` is that of the SIIM competition."""

MAX_ID_BYTES = 255
"""The longest file name that common file systems hold."""

OUTSIDE = re.compile(r"^/|^[A-Za-z]:|\\|\0|(^|/)\.\.(/|$)")
"""What no image id may hold: absolute paths of any system, ways up, and what no file name holds."""


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class LabelRow:
    """One usable row; ``rle`` is not decoded yet, and "" says: no defect (of this class).

    ``line`` is the 1-based physical line on which the row starts; in sources other than CSV, the
    1-based number of the annotation (of the mask file), files in the order of their names.
    ``class_id`` is "1" where the table has no classes, and "" where the row of a good image names
    none. ``outline`` says the mask in sources other than CSV; then ``rle`` is "".
    """

    line: int
    image_id: str
    class_id: str
    rle: str
    outline: Outline | None = None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One row that cannot be used: as much of it as could be read, and the reason."""

    line: int
    image_id: str
    class_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A label file. Each of its data rows is in ``rows`` or in ``refused``, in the file's order.

    ``form`` names the columns as found; ``encoding`` is "utf-8" or "gb18030". ``meta`` holds, by
    image, the cells of further columns that are not blank: ``group``, ``split`` and ``lot`` under
    these names, others under their own if they are the same in all rows of each image.
    ``unlabeled`` are the images that the source lists without any label: good ones. ``truth``
    tells whether its labels outline defects or only box them; ``files`` are all that was read.
    """

    path: Path
    form: str
    encoding: str
    rows: tuple[LabelRow, ...]
    refused: tuple[RefusedRow, ...]
    meta: dict[str, dict[str, str]]
    unlabeled: tuple[str, ...] = ()
    truth: LabelKind = "masks"
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in a row: ``column`` by keys of ``COLUMN_NAMES``, ``extra`` by name."""

    delimiter: str
    has_header: bool
    names: tuple[str, ...]
    column: dict[str, int]
    extra: dict[str, int]


def read_table(path: Path | str) -> LabelTable:
    """Read a label CSV in any of the forms above.

    Lines with nothing but blanks and delimiters are skipped; every other row is in the result.

    Raises:
        LabelError: the file is missing, empty or no CSV, has no id or no RLE column, or has a
            quotation mark that is never closed.
    """
    text = read_csv_text(path)
    layout = _find_layout(text, roles=("id_class", "id", "rle", "class"))
    rows: list[LabelRow] = []
    refused: list[RefusedRow] = []
    meta: dict[str, dict[str, str]] = {}
    varying: set[str] = set()
    for record in _data_records(text, layout):
        image_id, class_id, rle = _pick(record.cells, layout)
        try:
            _check(record, layout, image_id, class_id, rle)
            if extra := _extra_cells(record, layout):
                varying |= _add_meta(meta, image_id, extra, refuse=META_COLUMNS)
        except LabelError as error:
            refused.append(RefusedRow(record.line, image_id, class_id, str(error)))
        else:
            rows.append(LabelRow(record.line, image_id, class_id, rle))
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
    for record in _data_records(text, layout):
        image_id, class_id, rle = _pick(record.cells, layout)
        try:
            _check(record, layout, image_id, class_id, rle)
            _add_meta(meta, image_id, _extra_cells(record, layout), refuse=layout.extra)
        except LabelError as error:
            raise LabelError(f"{path}:{record.line}: {error}. Mend or remove this row.") from error
    return meta


def _find_layout(text: CsvText, *, roles: Sequence[str]) -> _Layout:
    """Find out the delimiter, and what the columns are, from the first row."""
    firsts = [(delimiter, next(text.records(delimiter), Record(1, []))) for delimiter in DELIMITERS]
    for delimiter, first in firsts:
        column = _header_columns(first.cells, roles)
        if column.keys() & {"id", "id_class"} and ("rle" in column or "rle" not in roles):
            return _header_layout(text, delimiter, first, column)
    for delimiter, first in firsts:
        names = HEADERLESS.get(len(first.cells), ())
        if "rle" in roles and names and _is_rle_like(first.cells[-1]):
            return _Layout(delimiter, False, names, _header_columns(names, roles), {})
    most = max((first for _, first in firsts), key=lambda first: len(first.cells))
    found = ", ".join(repr(name[:30]) for name in most.cells[:20]) or "none"
    needed = "ImageId and EncodedPixels" if "rle" in roles else "ImageId"
    raise LabelError(
        f"{text.path}:{most.line}: the header must name the columns {needed}, but has {found}. "
        "Add a header or rename its columns."
    )


def _header_layout(
    text: CsvText, delimiter: str, header: Record, column: dict[str, int]
) -> _Layout:
    plain = [_plain(name) for name in header.cells]
    for name in header.cells:
        if name and plain.count(_plain(name)) > 1:
            raise LabelError(
                f"{text.path}:{header.line}: two columns are called {name!r}. Rename one."
            )
    extra = {
        _plain(name) if _plain(name) in META_COLUMNS else name: index
        for index, name in enumerate(header.cells)
        if name and index not in column.values()
    }
    return _Layout(delimiter, True, tuple(header.cells), column, extra)


def _header_columns(names: Sequence[str], roles: Sequence[str]) -> dict[str, int]:
    """Return the index of each role's column, as far as ``names`` has them."""
    plain = [_plain(name) for name in names]
    column: dict[str, int] = {}
    for role in roles:
        for known in COLUMN_NAMES[role]:
            if known in plain and plain.index(known) not in column.values():
                column[role] = plain.index(known)
                break
    return column


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _is_rle_like(cell: str) -> bool:
    return cell.lower() in NO_DEFECT or cell[0] in "+-0123456789"


def _data_records(text: CsvText, layout: _Layout) -> Iterator[Record]:
    records = text.records(layout.delimiter)
    if layout.has_header:
        next(records)
    return records


def _pick(cells: Sequence[str], layout: _Layout) -> tuple[str, str, str]:
    """Return image id, class id and RLE of a row, "" for what it lacks."""

    def cell(role: str) -> str:
        index = layout.column.get(role, len(cells))
        return cells[index] if index < len(cells) else ""

    image_id, class_id, rle = cell("id"), cell("class"), cell("rle")
    if "id_class" in layout.column:
        image_id, mark, class_id = cell("id_class").rpartition("_")
        if not mark:
            image_id, class_id = class_id, ""
    elif "class" not in layout.column:
        class_id = "1"
    rle = _unless(rle, NO_DEFECT)
    # Beside a mask, NA or None is the name of a class.
    return image_id, class_id if rle else _unless(class_id, BLANK), rle


def _unless(cell: str, blanks: Collection[str]) -> str:
    return "" if cell.lower() in blanks else cell


def _check(record: Record, layout: _Layout, image_id: str, class_id: str, rle: str) -> None:
    """Raise if the row does not fit the table, or its names are refused."""
    if record.problem:
        raise LabelError(record.problem)
    if len(record.cells) != len(layout.names):
        raise LabelError(f"the row has {len(record.cells)} cells instead of {len(layout.names)}")
    refuse_names(image_id, class_id)
    if rle and not class_id:
        raise LabelError("the row has an RLE but no class")


def refuse_names(image_id: str, class_id: str) -> None:
    """Refuse an image id that is missing or could do harm as a path, and unprintable names.

    Raises:
        LabelError: with the reason.
    """
    if not image_id:
        raise LabelError("the row has no image id")
    shown = f"image id {image_id[:60]!r}"
    if re.search(r"[\x00-\x1f\x7f]", image_id + class_id):
        raise LabelError(f"{shown} or its class holds a control character")
    if len(image_id.encode()) > MAX_ID_BYTES:
        raise LabelError(f"{shown} is longer than a file name can be")
    if OUTSIDE.search(image_id):
        raise LabelError(f"{shown} may not have a drive, a backslash or '..', nor start with '/'")


def _extra_cells(record: Record, layout: _Layout) -> dict[str, str]:
    cells = {name: record.cells[index] for name, index in layout.extra.items()}
    extra = {name: cell for name, cell in cells.items() if cell}
    if "split" in extra:
        extra["split"] = extra["split"].lower()
        if extra["split"] not in SPLITS:
            raise LabelError(f"split {extra['split'][:30]!r} is none of {', '.join(SPLITS)}")
    return extra


def _add_meta(
    meta: dict[str, dict[str, str]],
    image_id: str,
    extra: dict[str, str],
    *,
    refuse: Collection[str],
) -> set[str]:
    """Add ``extra`` to what is known of the image; return the columns in which they differ.

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
