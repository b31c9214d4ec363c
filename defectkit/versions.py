"""The versions of the packages that scores depend on: recorded by a training, compared later."""

import importlib.metadata
import platform
import warnings
from collections.abc import Mapping

from defectkit import __version__
from defectkit.errors import DefectkitWarning

PACKAGES = (
    *("defectkit", "torch", "torchvision", "timm", "segmentation-models-pytorch"),
    *("albumentations", "opencv-python-headless", "numpy", "pillow"),
)
"""Packages whose versions can change results."""


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of those ``PACKAGES`` that are installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # opencv-python does as well.
            continue
    return versions


def describe_software() -> dict[str, str]:
    """Return what must be the same in all processes that share work, by its name for people."""
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    return {"the version of defectkit": __version__, "packages": versions}


def warn_of_other_versions(recorded: Mapping[str, str], *, what: str) -> None:
    """Warn where a package has another version, in its first two numbers, than was recorded.

    ``what`` is the subject of the sentence, such as a path. A package without a recorded version
    is not compared.
    """
    now = installed_versions()
    other = [
        f"{name} {recorded[name]} (now {now[name]})"
        for name in PACKAGES
        if name in recorded and name in now and _release(recorded[name]) != _release(now[name])
    ]
    if other:
        warnings.warn(
            f"{what} was trained with {', '.join(other)}: scores may differ from those of the "
            "training. Evaluate the run again, or install these versions.",
            DefectkitWarning,
            stacklevel=3,
        )


def _release(version: str) -> list[str]:
    return version.split(".")[:2]
