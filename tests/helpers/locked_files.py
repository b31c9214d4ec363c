"""Files that the user may not read, also where the tests run as root."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def lock(monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    """Make opening ``path`` fail as without the right to read it; return what is to be told."""
    opened = Path.open

    def refuse(self: Path, *given: Any, **options: Any) -> Any:
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, *given, **options)

    monkeypatch.setattr(Path, "open", refuse)
    return f"cannot read {path}: Permission denied. Give yourself the right to read it."
