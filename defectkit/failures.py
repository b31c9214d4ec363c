"""What a failure is: a mistake of the user, a lack of space, or a fault of defectkit to report."""

import errno
import importlib.metadata
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from defectkit import __version__
from defectkit.errors import (
    DefectkitError,
    MemoryShortageError,
    OutputError,
    first_line,
    is_out_of_memory,
)
from defectkit.files import DISK_FULL_CODES, output_error, write_text
from defectkit.optional_packages import missing_package

PATH_REFUSED = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}
"""Error codes of a path that the system refuses: its user alone can help."""
MAX_LINE = 1000
"""Characters of a line of a report: the text of an error may have a whole file in it."""


def known_failure(error: Exception) -> DefectkitError | None:
    """Return the error that a failure is for the user; None for a fault of defectkit."""
    if isinstance(error, DefectkitError):
        return error
    if missing := missing_package(error):
        return missing
    if is_out_of_memory(error):
        return MemoryShortageError(
            f"out of memory ({first_line(error)}). Close other programs, or use smaller images."
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL_CODES:
        return output_error(error.filename or "a file", error)
    if isinstance(error, OSError) and error.errno in PATH_REFUSED and error.filename:
        return DefectkitError(
            f"{error.filename}: {error.strerror}. Give another path, or the right to read it."
        )
    return None


def write_report(error: Exception) -> Path | None:
    """Write a report of a fault into the current folder, or else into that of temporary files.

    It has the versions, the command line, the system and the traceback; no content of any image.
    Returns its path, None where no folder can be written.
    """
    now = datetime.now(UTC)
    text = "\n".join(line[:MAX_LINE] for line in _report(error, now)) + "\n"
    for folder in (Path(), Path(tempfile.gettempdir())):
        path = folder / f"defectkit-error-{now:%Y%m%d-%H%M%S-%f}.txt"
        try:
            write_text(path, text)
        except OutputError:
            continue
        return path
    return None


def _report(error: Exception, now: datetime) -> Iterator[str]:
    yield f"defectkit {__version__}, {now.isoformat(timespec='seconds')}"
    yield f"command: {shlex.join(sys.argv)}"
    yield f"Python {sys.version}"
    yield f"system: {platform.platform()}"
    yield ""
    for text in traceback.format_exception(error):
        yield from text.splitlines()
    yield ""
    yield "packages:"
    packages = {(one.name, one.version) for one in importlib.metadata.distributions()}
    yield from (f"{name} {version}" for name, version in sorted(packages))
