"""The protections in the code, each with the patch that removes it and the check that must fail."""

from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

INDEX = Path(__file__).with_name("index.yaml")
PATCHES = Path(__file__).with_name("patches")


@dataclass(frozen=True, slots=True)
class Protection:
    """One line of ``index.yaml``.

    Attributes:
        check: the number of the check that must fail without it.
        protects: what the patch removes.
        patch: a file in ``patches/``, applied with ``git apply``.
        tests: which of the check's tests must fail, as for pytest's ``-k``; "" for any of them.
    """

    check: int
    protects: str
    patch: str
    tests: str = ""

    @property
    def path(self) -> Path:
        """The patch file."""
        return PATCHES / self.patch


def load_protections() -> list[Protection]:
    """Read the index, in its order."""
    return [Protection(**entry) for entry in YAML(typ="safe", pure=True).load(INDEX)]
