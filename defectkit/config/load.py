"""From a YAML file and ``--set`` options to a configuration, with all mistakes at once.

A file has only differences from the defaults; ``--set train.lr=3e-4`` is checked in the same way.
Every mistake is reported with its dotted path and, where there is one, a suggestion.
"""

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from defectkit.config.sections import Config
from defectkit.config.yaml_file import MAX_YAML_BYTES, parse_yaml
from defectkit.errors import MAX_MISTAKES, ConfigError, shown
from defectkit.files import read_limited

MAX_SETTINGS = 1000
"""Max. number of ``KEY=VALUE`` settings; a file takes more."""


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Read a YAML file of differences from the defaults, then apply ``KEY=VALUE`` settings.

    Raises:
        ConfigError: something in the file or the settings does not fit; all of it is named.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            text = read_limited(path, MAX_YAML_BYTES).decode("utf-8")
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise ConfigError(
                f"cannot read the configuration {path}: {reason}. Give the path of a YAML file; "
                "'defectkit configs copy NAME FILE' makes one of those that are included."
            ) from error
        content = parse_yaml(text, name=str(path))
    return make_config(content, name=str(path) if path else "--set", settings=settings)


def make_config(content: Mapping[str, Any], *, name: str, settings: Sequence[str] = ()) -> Config:
    """Validate a nested mapping, changed by ``KEY=VALUE`` settings.

    ``name`` says in messages where the mapping came from.

    Raises:
        ConfigError: something does not fit; all of it is named.
    """
    if len(settings) > MAX_SETTINGS:
        raise ConfigError(
            f"{len(settings):,} settings are more than {MAX_SETTINGS:,}: write a file for --config."
        )
    changed = copy.deepcopy(dict(content))
    for setting in settings:
        _apply(changed, setting)
    own, asked = content.get("approach"), changed.get("approach")
    if own is not None and own != asked:
        raise ConfigError(
            f"{name} is a configuration of {shown(own)}, but the approach is to be {shown(asked)}. "
            "Give one of them alone."
        )
    try:
        return Config.model_validate(changed)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()[:MAX_MISTAKES]]
        if (more := error.error_count() - MAX_MISTAKES) > 0:
            lines.append(f"  and {more:,} more.")
        raise ConfigError(f"{name} is not valid:\n" + "\n".join(lines)) from None


def flatten_settings(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings of a nested mapping by their dotted keys.

    >>> flatten_settings({"seed": 0, "train": {"lr": 0.1}})
    {'seed': 0, 'train.lr': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _apply(content: dict[str, Any], setting: str) -> None:
    key, separator, value = setting.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"--set {shown(setting)}: write it as KEY=VALUE, for example train.lr=3e-4."
        )
    *parents, last = key.strip().split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        nested = content[parent]
        if not isinstance(nested, dict):
            raise ConfigError(f"--set {shown(setting)}: {parent} is a value, not a section.")
        content = nested
    content[last] = parse_yaml(f"value: {value}", name=f"--set {key}")["value"]


def _explain(detail: Mapping[str, Any]) -> str:
    path = ".".join(str(part) if len(str(part)) <= 100 else shown(part) for part in detail["loc"])
    value = shown(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            return f"  {path}: no such key.{_suggest(detail['loc'])}"
        case "literal_error":
            return f"  {path}: {value} is not one of {detail['ctx']['expected']}."
        case "model_type":
            return f"  {path}: {value} is not a section with keys of its own."
        case "value_error":
            return f"  {path}{': ' if path else ''}{detail['ctx']['error']}."
        case _:
            return f"  {path}: {value}: {detail['msg'].lower()}."


def _fields_of(location: Sequence[int | str]) -> list[str]:
    section: Any = Config
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _suggest(location: Sequence[int | str]) -> str:
    """Propose the key of that section with a similar name, or that of another with the same one."""
    *section, key = map(str, location)
    known = _fields_of(location[:-1])
    close = [
        *(".".join([*section, name]) for name in difflib.get_close_matches(key[:100], known, n=1)),
        *(path for path in flatten_settings(Config().model_dump()) if path.endswith(f".{key}")),
    ]
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(known)}."
