"""Reading and writing files. Every output passes through ``atomic_write``: complete or absent."""

# Long: each way to read or write a file is here, and nowhere else.

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from defectkit.control_characters import IN_JSON
from defectkit.csv_cells import read_cell, write_cell
from defectkit.errors import DiskFullError, OutputError
from defectkit.process_settings import next_csv_row

TEMP_MARK = ".defectkit-tmp-"
"""Part of the name of every unfinished file, by which leftovers are recognized and removed."""
STRAY_SECONDS = 3600.0
"""Seconds without a change after which an unfinished file counts as left by a killed write."""

MAX_FILE_BYTES = 2**31
"""2 GiB, the limit on all files where none is smaller."""
MAX_JSON_BYTES = 2**24
"""16 MiB; no JSON file of defectkit is larger."""

DISK_FULL_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error codes of a full disk, an exhausted quota and a limit on file sizes."""

WAYS_OUT = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Choose a folder that you may write to."),
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOLCK: "The file system has no locks: choose a folder on a disk of this machine.",
}
"""What to do after other error codes, where it is not just to choose another folder."""

WINDOWS_DEVICES = {"con", "prn", "aux", "nul"}
WINDOWS_DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
"""Names that no file can have on Windows, with any suffix."""


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``.

    The bytes are on disk (fsync) before the rename, and the folder entry after it, so a crash
    leaves the old file or the new one, complete. On an error the temporary file is removed.

    Raises:
        DiskFullError: there is no space for the file.
        OutputError: the folder cannot be created or written.
    """
    target = Path(path)
    temp = _temp_beside(target)
    try:
        make_folder(target.parent)
        yield temp
        with temp.open("rb+") as handle:
            os.fsync(handle.fileno())
        replace_file(temp, target)
        sync_folder(target.parent)
    except OSError as error:
        _remove(temp)
        raise output_error(target, error) from error
    except BaseException:
        _remove(temp)
        raise


def output_error(path: Path | str, error: OSError) -> OutputError:
    """Return the error to raise for one of the system while ``path`` was written."""
    told = f"cannot write {path}: {error.strerror or error}."
    if error.errno in DISK_FULL_CODES:
        return DiskFullError(f"{told} Free some space or choose another folder.")
    return OutputError(f"{told} {WAYS_OUT.get(error.errno or 0, 'Choose another folder.')}")


def write_bytes(path: Path | str, content: bytes | memoryview) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_write(path) as temp:
        temp.write_bytes(content)


def write_pieces(path: Path | str, pieces: Iterable[bytes]) -> None:
    """Write what comes piece by piece to ``path`` atomically; no more is in memory than a piece."""
    with atomic_write(path) as temp, temp.open("wb") as handle:
        handle.writelines(pieces)


def write_text(path: Path | str, content: str) -> None:
    """Write ``content`` to ``path`` atomically as UTF-8, line ends as they are.

    Lone surrogates, which stand for bytes of file names that are not Unicode, become escapes.
    """
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write ``content`` as readable JSON; NaN and infinities are refused (they are not JSON)."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """Return what ``write_json`` writes."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return IN_JSON.sub(lambda found: json.dumps(found[0]).strip('"'), text)


def read_json(path: Path | str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read JSON written by ``write_json``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, nested too deeply, or larger than ``max_bytes``.
    """
    return parse_json(read_limited(path, max_bytes))


def parse_json(text: bytes) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def open_limited(path: Path | str, max_bytes: int = MAX_FILE_BYTES) -> io.BufferedReader:
    """Open a file of at most ``max_bytes`` bytes to read it, as all files are opened.

    A device or a pipe is not: reading it may never end, and opening a pipe waits for its writer.

    Raises:
        OSError: it is missing, a folder, or may not be read.
        ValueError: it is larger, or not a regular file.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError("it is not a regular file, but a device, a pipe or a socket")
    if status.st_size > max_bytes:
        raise ValueError(f"it is larger than the limit of {max_bytes:,} bytes")
    return path.open("rb")


def read_limited(path: Path | str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file of at most ``max_bytes`` bytes.

    Raises:
        OSError, ValueError: as ``open_limited``, or it grows while it is read.
    """
    with open_limited(path, max_bytes) as handle:
        size = os.fstat(handle.fileno()).st_size
        content = handle.read(size + 1)
    if len(content) > size:  # files of the kernel, as in /proc, say 0 and may have no end
        raise ValueError("it has more bytes than its size says: it is not a file on a disk")
    return content


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write ``rows`` under ``columns``; ``None`` becomes an empty cell.

    Text cells that a spreadsheet would run as a formula get a leading quote, and control characters
    become escapes: a terminal that shows the file obeys none. ``read_csv`` restores both. Numbers
    stay as they are, negative ones too. The rows are written as they come, and none is kept.
    """
    with (
        atomic_write(path) as temp,
        temp.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        _write_rows(handle, [columns])
        _write_rows(handle, rows)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return what ``write_csv`` writes of rows."""
    lines = io.StringIO()
    _write_rows(lines, rows)
    return lines.getvalue()


def csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Return the bytes that ``write_csv`` writes of rows."""
    return csv_text(rows).encode("utf-8", "backslashreplace")


def _write_rows(handle: TextIO, rows: Iterable[Sequence[object]]) -> None:
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerows([write_cell(cell) for cell in row] for row in rows)


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """Read rows written by ``write_csv``, as text; cells may have any length.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    return [*iterate_csv(path)]


def iterate_csv(path: Path | str) -> Iterator[dict[str, str]]:
    """Yield the rows that ``read_csv`` returns, without keeping them."""
    lines = read_cells(path)
    columns = next(lines, [])
    return (dict(zip(columns, cells, strict=True)) for cells in lines)


def read_cells(path: Path | str) -> Iterator[list[str]]:
    """Yield the names of the columns, then the cells of each row, as ``read_csv`` reads them."""
    with io.TextIOWrapper(open_limited(path), encoding="utf-8", newline="") as handle:
        reader = csv.reader(handle)
        columns = next_csv_row(reader) or []
        yield [read_cell(column) for column in columns]
        while (cells := next_csv_row(reader)) is not None:
            if len(cells) != len(columns):
                raise ValueError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells but the header "
                    f"{len(columns)}"
                )
            yield [read_cell(cell) for cell in cells]


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in chunks."""
    with open_limited(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def safe_name(text: str, *, caseless: bool = False) -> str:
    """Return ``text`` as part of a file name, safe on all systems and unique for each text.

    Letters, digits, dots, dashes and underscores stay; a text that had to be changed gets eight
    digits of its SHA-256, so that no two texts share a name. On Windows and macOS "a" and "A" are
    one file: with ``caseless``, a text with capitals gets the digits too.
    """
    safe = re.sub(r"[^\w.-]", "_", text).lstrip(".")[:60]
    safe = safe.encode()[:180].decode(errors="ignore")  # Names have up to 255 bytes, with prefixes.
    if safe.split(".")[0].lower() in WINDOWS_DEVICES:
        safe = "_" + safe
    if safe != text or not safe or (caseless and text != text.casefold()):
        safe += "-" + sha256_bytes(text.encode("utf-8", "surrogatepass"))[:8]
    return safe


def ensure_writable(folder: Path | str, *, owned: bool = False) -> Path:
    """Create ``folder`` and check, before any long work, that a file can be written there.

    Unfinished files of killed writes are removed, those of live writes are not. With ``owned``
    nobody else writes there, so every unfinished file is of a killed write.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    folder = Path(folder)
    _write_probe(folder)
    for leftover in folder.glob(f"{TEMP_MARK}*"):
        with contextlib.suppress(OSError):  # Another process may remove it, too.
            if owned or time.time() - leftover.stat().st_mtime > STRAY_SECONDS:
                leftover.unlink()
    return folder


def check_place(folder: Path) -> None:
    """Check that a folder can be written or, if it is missing, made; nothing is left behind.

    Raises:
        OutputError: it cannot.
    """
    _write_probe(next(one for one in (folder, *folder.absolute().parents) if one.exists()))


def _write_probe(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder. Choose another.")
    probe = _temp_beside(folder / "probe")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        cause = error.__cause__
        # Told is the folder, which the user knows.
        raise (output_error(folder, cause) if isinstance(cause, OSError) else error) from cause
    _remove(probe)


def _temp_beside(target: Path) -> Path:
    return target.with_name(f"{TEMP_MARK}{secrets.token_hex(4)}-{target.name}")


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, and flush their entries to disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def _remove(temp: Path) -> None:
    # The error that led here matters more than a failure of this, say because the parent is a file.
    with contextlib.suppress(OSError):
        temp.unlink()


def replace_file(temp: Path, target: Path) -> None:
    """Rename a file to ``target``, in whose place it comes."""
    # On Windows a virus scanner may lock the target for a moment (conan#19532): try again.
    for wait in (0.05, 0.2, 0.5, None):
        try:
            temp.replace(target)
            return
        except PermissionError:
            if wait is None or os.name != "nt":
                raise
            time.sleep(wait)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    if os.name == "nt":  # Windows cannot open folders for fsync.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
