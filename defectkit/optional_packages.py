"""Packages that not every installation has: those of the extras in ``pyproject.toml``."""

import importlib
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
