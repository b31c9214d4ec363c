"""CSV files whose rows are on disk as they come, and only whole rows."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from defectkit.csv_cells import read_cell
from defectkit.files import csv_bytes, csv_text, open_limited, output_error
from defectkit.process_settings import next_csv_row

MAX_BYTES = 2**50
"""The files may be larger than those that are read at once."""


class GrowingCsv:
    """A new CSV file to append rows to, as ``write_csv`` writes them.

    Whatever ends the process, the rows that were appended are in the file. Of rows that the disk
    has no space for, none is.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, keep: int = 0) -> None:
        """Create the file, or go on with one that is there.

        Args:
            path: the file.
            columns: the names of the columns.
            keep: number of bytes of whole rows, the header with them, that stay of a file that is
                there; what follows is cut off. 0 creates a new file.

        Raises:
            OutputError: the file exists or, with ``keep``, is missing; or it cannot be written.
        """
        self._path = path
        self._size = keep
        try:
            self._file = path.open("r+b" if keep else "xb", buffering=0)
            if keep:
                self._file.truncate(keep)
                self._file.seek(keep)
        except OSError as error:
            raise output_error(path, error) from error
        if not keep:
            self.append([columns])

    @property
    def size(self) -> int:
        """Number of bytes in the file."""
        return self._size

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Append rows.

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        self.append_lines(csv_bytes(rows))

    def append_lines(self, lines: bytes) -> None:
        """Append rows as they are in another such file.

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        content = memoryview(lines)
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise output_error(self._path, error) from error
        self._size = self._file.tell()

    def sync(self) -> None:
        """Let the rows that were appended be on disk (fsync), also if the machine stops.

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; its bytes are on disk then (fsync).

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        try:
            self.sync()
        finally:
            self._file.close()


def read_whole_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    """Yield the rows of such a file, each with the size of the file up to its end.

    A row that was cut off by the end of its process is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it has other columns, or is damaged.
    """
    with open_limited(path, MAX_BYTES) as handle:
        header = handle.readline()
        if header.endswith(b"\n") and header != csv_text([columns]).encode():
            raise ValueError(f"{path.name} has other columns than {', '.join(columns)}")
        end = len(header)
        for line in handle:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            cells = next_csv_row(csv.reader([line.decode("utf-8")])) or []
            if len(cells) != len(columns):
                raise ValueError(f"{path.name} has a row of {len(cells)} cells")
            yield [read_cell(cell) for cell in cells], end
