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


def make_table(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return a frame of ``rows``, which all have the same keys; ``None`` is a missing value."""
    import pandas as pd

    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return pd.DataFrame({name: _series(cells) for name, cells in columns.items()})


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
        text: the columns that are text, whatever stands in them. The others are numbers; an empty
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
