"""The standard streams of the command, which may be closed, full, or without a reader."""

import io
import os
import select
import sys
from typing import Any, TextIO

_files: dict[str, "_LenientFile"] = {}


class _LenientFile(io.FileIO):
    """A file that drops what it cannot write, and keeps the first error.

    Where another program has made the stream non-blocking, it waits as a blocking one does.
    Messages are not worth the work that they are about: an inspection must not end, or end with
    another status, since nobody reads them.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                while (written := super().write(data)) is None:  # non-blocking, and full
                    select.select([], [self], [])
                return written
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def open_streams() -> None:
    """Make the standard streams lenient.

    Closed ones become the null device: otherwise the next file that is opened would get their
    number, and the messages of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the lowest number that is free.
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # and not one of a test
            setattr(sys, name, _lenient(name, number, stream))


def output_failure() -> OSError | None:
    """Return why the standard output could not be written, after all that was printed."""
    sys.stdout.flush()
    file = _files.get("stdout")
    return file.error if file else None


def _lenient(name: str, number: int, stream: TextIO | None) -> TextIO:
    if stream and os.name == "nt" and stream.isatty():
        return stream  # Python writes to a console of Windows in Unicode, which a file cannot.
    if stream:
        stream.flush()
    file = _files[name] = _LenientFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding if stream else "utf-8",
        errors=(stream.errors if stream else None) or "backslashreplace",
        line_buffering=name == "stderr" or file.isatty(),
    )
