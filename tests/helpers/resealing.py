"""Sealed files, changed as the one who wrote them could have: with a seal that fits."""

import json
from pathlib import Path
from typing import Any

from defectkit.data.dataset import TABLES
from defectkit.files import read_json, write_json
from defectkit.seals import add_seal, hash_tables


def reseal(path: Path, **changes: Any) -> None:
    """Change entries of a sealed JSON file."""
    write_json(path, add_seal({**read_json(path), **changes}))


def reseal_dataset(folder: Path, **changes: Any) -> None:
    """Change entries of ``dataset.json``, and seal the tables as they are now."""
    reseal(folder / "dataset.json", tables=hash_tables(folder, TABLES), **changes)


def unseal(path: Path, *further: str) -> None:
    """Write a sealed file as the version of defectkit before seals did, without further entries."""
    new = {*NEW_ENTRIES, *further}
    content = {key: value for key, value in read_json(path).items() if key not in new}
    path.write_text(json.dumps({**content, "format_version": 1}, indent=2), encoding="utf-8")


NEW_ENTRIES = {"seal", "tables", "versions"}
"""Entries that files of version 1 have not."""
