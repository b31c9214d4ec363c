"""Untrusted CSV files, read strictly and as text: no row is lost, and none is guessed at."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from defectkit.csv_cells import unquote_formula
from defectkit.errors import LabelError
from defectkit.files import read_limited
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.process_settings import next_csv_row

DELIMITERS = ",;\t"
MAX_BYTES = 2**30
"""Larger tables are refused: 1 GiB."""
MAX_CELL = 2**24
"""Max. number of characters of a cell, about two million runs of a mask."""

NOT_CSV: Mapping[bytes, str] = {
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an Excel file of the old kind",
    b"\x1f\x8b": "a gzip file",
}
"""What kind of file starts with these bytes."""

EXCEL_DELIMITER = re.compile(r"\A\ufeff?\"?sep=[,;\t]\"?\r?\n", re.I)
"""A first line that tells Excel the delimiter."""
SPREADSHEET_LIMIT = 32_767
CUT_CELL = (
    f"a cell has {SPREADSHEET_LIMIT:,} characters, the most that a spreadsheet keeps: the rest of "
    "it was cut off. Use the table as it was before it was saved in a spreadsheet"
)
"""Why a row cannot be used that lost the end of a cell."""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row of cells, or the ``problem`` why it could not be split into cells.

    ``line`` is the 1-based physical line on which the row starts.
    """

    line: int
    cells: list[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CsvText:
    """The text of a CSV file, its encoding, and what the user should know of it."""

    path: Path
    encoding: str
    text: str
    notes: tuple[str, ...] = ()

    def rows(self, delimiter: str) -> Iterator[CsvRow]:
        """Yield every row that has more than blanks and delimiters, with its cells stripped.

        The quote that keeps ``=1.png`` from being a formula in a spreadsheet is removed.

        Raises:
            LabelError: a quotation mark is never closed, so all rows after it are in doubt.
        """
        lines = io.StringIO(self.text, newline="")
        # Strict: else a stray quotation mark swallows the rest of the file without a word.
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
        while True:
            line = reader.line_num + 1
            try:
                raw = next_csv_row(reader)
            except csv.Error as error:
                if str(error) == "unexpected end of data":
                    raise LabelError(
                        f"{self.path}:{line}: a quotation mark in this row is never closed. "
                        "Close it or remove it."
                    ) from error
                last = reader.line_num
                where = f"line {line}" if last == line else f"lines {line} to {last}"
                yield CsvRow(line, [], f"the quotation marks in {where} do not pair up")
            else:
                if raw is None:
                    return
                cells = [unquote_formula(cell.strip()) for cell in raw]
                if SPREADSHEET_LIMIT in map(len, raw):
                    yield CsvRow(line, cells, CUT_CELL)
                elif max(map(len, raw), default=0) > MAX_CELL:
                    yield CsvRow(line, [], f"a cell has more than {MAX_CELL:,} characters")
                elif any(cells):
                    yield CsvRow(line, cells)


def read_csv_text(path: Path | str) -> CsvText:
    """Read a text file whole.

    Raises:
        LabelError: the file is missing, empty, or not text, as ``decode_text``.
    """
    path = Path(path)
    try:
        content = read_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelError(f"cannot read {path}: {reason}. Check the path.") from error
    for magic, kind in NOT_CSV.items():
        if content.startswith(magic):
            raise LabelError(f"{path} is {kind}. Save it as CSV (UTF-8).")
    encodings = Encodings()
    text = encodings.decode(content, str(path))
    text = EXCEL_DELIMITER.sub("\n", text)  # A blank line in its place: lines keep their numbers.
    if not text.strip(" \r\n" + DELIMITERS):
        raise LabelError(f"{path} is empty. It needs rows such as 'image.png,1,1 3 10 5'.")
    return CsvText(path, encodings.common, text, tuple(encodings.notes()))
