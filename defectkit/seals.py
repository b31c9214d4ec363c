"""Seals: whether a JSON file, or a table beside it, was changed after it was written.

The seal is the SHA-256 of the other entries of the file. Where these have the SHA-256 of tables, it
seals the tables with it. That shows accidents: a flipped bit, an edit, a file of another folder. It
is no signature: whoever forges a file can seal it again.

Line ends do not count, since git and copies in text mode change them.
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from defectkit.errors import DefectkitWarning
from defectkit.files import (
    MAX_JSON_BYTES,
    json_text,
    open_limited,
    parse_json,
    read_limited,
    sha256_bytes,
)

FORMAT_VERSION = 2
"""The entry ``format_version`` of sealed files; files of version 1 may have no seal."""


class SealError(ValueError):
    """A file that was changed after it was written, or whose format is not known."""


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the seal of the entries of a file, without the entry ``seal`` itself."""
    entries = {key: value for key, value in content.items() if key != "seal"}
    return sha256_bytes(_json_bytes(entries))


def add_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with its format version, if it has none, and its seal, for ``write_json``.

    An earlier seal is replaced.
    """
    entries = {"format_version": FORMAT_VERSION, **content}
    return {**entries, "seal": seal_of(entries)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether a file has a seal; those of earlier versions of defectkit have none."""
    return "seal" in content


def read_sealed(path: Path | str) -> dict[str, Any]:
    """Read a JSON file and check its seal, which only a file of format version 1 may lack.

    Raises:
        OSError: it cannot be read.
        SealError: it is not JSON, was changed after it was written, or is of another format
            version.
        ValueError: it is larger than ``MAX_JSON_BYTES``, not a regular file, or no JSON object.
    """
    path = Path(path)
    text = read_limited(path, MAX_JSON_BYTES)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise SealError(f"{path.name} is not JSON ({error})") from error
    return _check(path.name, content, text)


def warn_if_not_sealed(content: Mapping[str, Any], *, what: str, way_out: str) -> None:
    """Warn that nothing shows whether ``what``, a file that was read, was changed."""
    if not is_sealed(content):
        warnings.warn(
            f"{what} was written by an earlier version of defectkit, without a seal: whether it "
            f"was changed since then is not known. {way_out} to get one.",
            DefectkitWarning,
            stacklevel=3,
        )


def hash_table(path: Path) -> str:
    r"""Return the SHA-256 of a text file with each line end as ``\n``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than ``MAX_FILE_BYTES``, or not a regular file.
    """
    digest = hashlib.sha256()
    with open_limited(path) as handle:
        for line in handle:
            digest.update(_one_line_end(line))
    return digest.hexdigest()


def hash_tables(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the hash of each of the tables ``names`` that is in ``folder``."""
    return {name: hash_table(folder / name) for name in names if (folder / name).exists()}


def check_tables(folder: Path, names: Iterable[str], recorded: Mapping[str, str]) -> None:
    """Check that the tables ``names`` in ``folder`` are those whose hashes were ``recorded``.

    Raises:
        OSError: one cannot be read.
        SealError: one was changed, removed or added.
    """
    now = hash_tables(folder, names)
    for name in names:
        if now.get(name) != recorded.get(name):
            what = "is missing" if name not in now else "was changed after it was written"
            raise SealError(f"{name} {what}")


def _one_line_end(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")


def _check(name: str, content: Any, text: bytes) -> dict[str, Any]:
    """Return ``content``, read from ``text``, if it is an object and what was written."""
    if not isinstance(content, dict):
        raise ValueError(f"{name} is not a JSON object")
    version = content.get("format_version", 1)
    if version not in range(1, FORMAT_VERSION + 1):
        raise SealError(
            f"{name} has format version {version}; this version of defectkit reads 1 to "
            f"{FORMAT_VERSION}"
        )
    if not is_sealed(content) and version == 1:
        return content
    if content.get("seal") != seal_of(content) or _one_line_end(text) != _json_bytes(content):
        raise SealError(f"{name} was changed after it was written")
    return content


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return what ``write_json`` writes."""
    return json_text(content).encode("utf-8", "backslashreplace")
