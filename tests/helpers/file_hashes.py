"""The content of a folder, to compare."""

from pathlib import Path

from defectkit.files import sha256_file
from defectkit.results_marker import LOCK, MARKER


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
