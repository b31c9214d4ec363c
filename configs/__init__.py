"""The shipped recipes, one YAML each; read as ``defectkit.configs``.

A file has only what differs from the defaults; its first comment line says what it is.
"""

from difflib import get_close_matches
from pathlib import Path

from defectkit.errors import ConfigError
from defectkit.files import read_limited

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names of the shipped configurations."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def summaries() -> dict[str, str]:
    """Each configuration's name and its first comment line."""
    return {name: text_of(name).partition("\n")[0].lstrip("# ") for name in names()}


def path_of(name: str) -> Path:
    """Return the file of a shipped configuration.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        close = get_close_matches(name[:100], names(), n=1, cutoff=0.7)
        meant = f" Did you mean '{close[0]}'?" if close else ""
        raise ConfigError(
            f"there is no configuration '{name}'.{meant} Shipped: {', '.join(names())}."
        )
    return FOLDER / f"{name}.yaml"


def text_of(name: str) -> str:
    """Return the text of a shipped configuration.

    Raises:
        ConfigError: there is none of that name.
    """
    return read_limited(path_of(name)).decode("utf-8")
