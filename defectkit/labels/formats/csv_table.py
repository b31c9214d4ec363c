"""CSV label tables: the common forms of ``train.csv``, read as text, every row accounted for.

No cell is turned into a number, so the ids ``007``, ``NA`` and ``1e5`` survive. Columns are known
by their header names (``COLUMN_NAMES``). Without a header, two columns are id and RLE, three are
id, class and RLE. Comma, semicolon or tab.
"""

from collections.abc import Collection
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_boxes import corner_notes, read_box, scale_boxes
from defectkit.labels.formats.csv_layout import (
    META_COLUMNS,
    NO_DEFECT,
    Layout,
    Role,
    data_rows,
    find_layout,
    ids_and_rle,
)
from defectkit.labels.formats.csv_text import CsvRow, read_csv_text
from defectkit.labels.formats.via import is_via_table, read_via_table
from defectkit.labels.table import (
    LabelRow,
    LabelTable,
    RefusedRow,
    class_notes,
    clean_class,
    means_good,
    refuse_names,
)
from defectkit.vocabulary import SPLIT_WORDS, SPLITS

ROLES: tuple[Role, ...] = ("id_class", "id", "rle", "class")


def read_table(path: Path | str) -> LabelTable:
    """Read a label CSV in any of the forms above.

    Lines with nothing but blanks and delimiters are skipped; every other row is in the result.

    Raises:
        LabelError: the file is missing, empty or not a CSV, has no id or no column that says where
            defects are, or has a quotation mark that is never closed.
    """
    text = read_csv_text(path)
    if is_via_table(next(text.rows(","), CsvRow(1, [])).cells):
        return read_via_table(text)
    layout = find_layout(text, roles=ROLES)
    rows: list[LabelRow] = []
    refused: list[RefusedRow] = []
    meta: dict[str, dict[str, str]] = {}
    varying: set[str] = set()
    for row in data_rows(text, layout):
        image_id, class_id, rle = ids_and_rle(row.cells, layout)
        class_id, note = clean_class(class_id)
        try:
            _refuse_row(row, layout, image_id, class_id)
            box = read_box(row.cells, layout.box, NO_DEFECT) if layout.box else None
            if (rle or box) and not class_id:
                raise LabelError(f"the row has {'a box' if box else 'an RLE'} but no class")
            if not rle and not box and means_good(class_id):
                class_id, note = "", ""
            if layout.box and not box and class_id:
                raise LabelError(
                    f"the class {class_id[:60]!r} has no box. Fill its cells, or if the image is "
                    "good, empty the class too"
                )
            if extra := _extra_cells(row, layout):
                varying |= _add_meta(meta, image_id, extra, refuse=META_COLUMNS)
        except LabelError as error:
            refused.append(RefusedRow(row.line, image_id, class_id, str(error)))
        else:
            rows.append(LabelRow(row.line, image_id, class_id, rle, box, note=note))
    for known in meta.values():
        for name in varying & known.keys():
            del known[name]
    form = ",".join(layout.names) + ("" if layout.has_header else " (no header)")
    if layout.box:
        rows, unit = scale_boxes(rows)
        form += f" (boxes: {layout.box.form}, {unit})"
    corners = corner_notes(layout.names, layout.box, rows) if layout.box else []
    return LabelTable(
        text.path,
        form,
        text.encoding,
        tuple(rows),
        tuple(refused),
        meta,
        kind="boxes" if layout.box else "masks",
        files=(text.path,),
        notes=(
            *text.notes,
            *corners,
            *class_notes(row.class_id for row in rows if row.rle or row.outline),
        ),
    )


def has_boxes(path: Path) -> bool:
    """Return whether a file is a table of boxes, as its header shows."""
    try:
        text = read_csv_text(path)
        return is_via_table(next(text.rows(","), CsvRow(1, [])).cells) or bool(
            find_layout(text, roles=ROLES).box
        )
    except LabelError:
        return False


def read_meta(path: Path | str) -> dict[str, dict[str, str]]:
    """Read a ``--meta`` CSV: a header with ``ImageId`` and any other columns, a row per image.

    Returns the cells that are not blank, as in ``LabelTable.meta``, of every image listed.

    Raises:
        LabelError: as ``read_table``, or a row cannot be used.
    """
    text = read_csv_text(path)
    layout = find_layout(text, roles=("id",))
    meta: dict[str, dict[str, str]] = {}
    for row in data_rows(text, layout):
        image_id, class_id, _ = ids_and_rle(row.cells, layout)
        try:
            _refuse_row(row, layout, image_id, class_id)
            _add_meta(meta, image_id, _extra_cells(row, layout), refuse=layout.extra)
        except LabelError as error:
            raise LabelError(f"{path}:{row.line}: {error}. Fix or remove this row.") from error
    return meta


def _refuse_row(row: CsvRow, layout: Layout, image_id: str, class_id: str) -> None:
    """Raise if the row does not fit the table, or its names are refused."""
    if row.problem:
        raise LabelError(row.problem)
    if len(row.cells) != len(layout.names):
        raise LabelError(f"the row has {len(row.cells)} cells instead of {len(layout.names)}")
    refuse_names(image_id, class_id)


def _extra_cells(row: CsvRow, layout: Layout) -> dict[str, str]:
    cells = {name: row.cells[index] for name, index in layout.extra.items()}
    extra = {name: cell for name, cell in cells.items() if cell}
    if "split" in extra:
        split = SPLIT_WORDS.get(extra["split"].casefold())
        if split is None:
            raise LabelError(f"split {extra['split'][:30]!r} is not one of {', '.join(SPLITS)}")
        extra["split"] = split
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
