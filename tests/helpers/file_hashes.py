"""The content of a folder, to compare."""

from collections.abc import Iterable
from pathlib import Path

from defectkit.files import sha256_file
from defectkit.results_marker import LOCK, MARKER, Marker, sizes_of


def hashes_of(folder: Path) -> dict[str, str]:
    """The files below ``folder``, as relative paths, with their SHA-256."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hashes_of_results(folder: Path) -> dict[str, str]:
    """The same of a folder of results, without its marker and its lock."""
    return {name: value for name, value in hashes_of(folder).items() if name not in (MARKER, LOCK)}


def mark(folder: Path, names: Iterable[str], kind: str = "inspection") -> None:
    """Mark files of a folder as the results of a command."""
    Marker(kind, complete=True, files=sizes_of(folder, names)).write(folder)


def mark_unfinished(folder: Path, kind: str = "inspection") -> None:
    """Mark a folder as one where a command was writing to when it was killed."""
    Marker(kind, complete=False, files={}).write(folder)
