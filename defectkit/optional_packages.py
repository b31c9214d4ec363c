"""Packages that not every installation has: those of the extras in ``pyproject.toml``."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

from defectkit.errors import MissingPackageError

Extra = Literal["train", "export", "openvino", "onnx"]
"""The extras that install packages for a part of defectkit."""


def import_package(name: str, *, extra: Extra, what: str) -> ModuleType:
    """Import a package that ``what`` needs, and that comes with an extra.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise  # It is there, and lacks one of its own.
        raise MissingPackageError(
            f"{what} needs {name}, which is not installed. Install it with: "
            f"pip install 'defectkit[{extra}]'"
        ) from error


@contextmanager
def without_package(name: str) -> Iterator[None]:
    """Let a package appear as not installed to what is imported meanwhile, unless it is there.

    Afterwards it can be imported as before.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(name, None)
