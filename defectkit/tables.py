"""Tables that people read, as pandas frames, and their CSV files.

The files are those of ``write_csv``: text stays text, so that ids such as ``007``, ``NA`` and
``1e5`` come back as they were. pandas takes long to import, so that only the functions that make a
frame import it.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectkit.files import read_cells, write_csv

if TYPE_CHECKING:
    import pandas as pd


def make_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Return a frame of ``rows``; ``None`` is a missing value.

    ``columns`` are the keys that all rows have; by default those of the first row.
    """
    import pandas as pd

    names = columns if columns is not None else list(rows[0]) if rows else []
    return pd.DataFrame({name: _series([row[name] for row in rows]) for name in names})


def table_rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a frame as ``make_table`` takes them."""
    cells = table.astype(object).where(table.notna(), None)
    return [{str(name): cell for name, cell in row.items()} for row in cells.to_dict("records")]


def write_table(path: Path | str, table: "pd.DataFrame") -> None:
    """Write a frame, without its index, as ``write_csv`` does.

    Missing values become empty cells, true and false become 1 and 0.
    """
    flags = table.select_dtypes("bool").columns
    cells = table.astype(dict.fromkeys(flags, int)).astype(object).where(table.notna(), None)
    write_csv(path, list(cells.columns), cells.itertuples(index=False, name=None))


def read_table(path: Path | str, *, text: Collection[str]) -> "pd.DataFrame":
    """Read a table that was written by ``write_table`` or ``write_csv``.

    Args:
        path: the CSV file.
        text: the columns that are text, whatever they contain. The others are numbers; an empty
            cell there is a missing value.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row has more or fewer cells than the header, or a cell is not a number.
    """
    import pandas as pd

    columns, *rows = read_cells(path)
    cells = dict(
        zip(columns, zip(*rows, strict=True) if rows else [()] * len(columns), strict=True)
    )
    return pd.DataFrame(
        {
            name: _series(own if name in text else [_number(cell) for cell in own])
            for name, own in cells.items()
        }
    )


def _series(cells: Sequence[Any]) -> "pd.Series[Any]":
    import pandas as pd

    kinds = {type(cell) for cell in cells}
    if str in kinds:
        return pd.Series(cells, dtype=object)  # The same in all versions of pandas.
    if kinds == {int, type(None)}:
        return pd.Series(cells, dtype="Int64")  # By itself pandas makes floats of them.
    return pd.Series(cells)


def _number(cell: str) -> int | float | None:
    if not cell:
        return None
    return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
