"""``history.csv``: one row per epoch."""

from pathlib import Path

from defectkit.errors import TrainingError, refusal
from defectkit.files import read_csv, write_csv

Row = dict[str, float | int | None]
"""The values of an epoch by column; None where there is no value."""


def write_history(path: Path, rows: list[Row]) -> None:
    """Write all rows; columns are those of any row, in order of appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_csv(path, columns, ([row.get(column) for column in columns] for row in rows))


def read_history(path: Path) -> list[Row]:
    """Read rows written by ``write_history``; empty cells become None.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    try:
        return [{key: _number(cell) for key, cell in row.items()} for row in read_csv(path)]
    except (OSError, ValueError) as error:
        raise TrainingError(
            refusal(error)
            or f"{path} is missing or damaged ({error}). Put an empty file there: --resume then "
            "continues without the earlier rows."
        ) from error


def _number(cell: str) -> float | int | None:
    if not cell:
        return None
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)
