"""CSV files whose rows are on disk as they come, and only whole rows."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from defectkit.files import csv_text, output_error


class GrowingCsv:
    """A new CSV file to append rows to, as ``write_csv`` writes them.

    Whatever ends the process, the rows that were appended are in the file. Of rows that the disk
    has no space for, none is.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._size = 0
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise output_error(path, error) from error
        self.append([columns])

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Append rows.

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        content = memoryview(csv_text(rows).encode("utf-8", "backslashreplace"))
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise output_error(self._path, error) from error
        self._size = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; its bytes are on disk then (fsync).

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error(self._path, error) from error
        finally:
            self._file.close()
