"""The content of a folder, to compare."""

from pathlib import Path

from defectkit.files import sha256_file


def hashes_of(folder: Path) -> dict[str, str]:
    """The files below ``folder``, as relative paths, with their SHA-256."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
