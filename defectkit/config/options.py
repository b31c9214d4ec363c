"""From the options of ``train`` to a configuration."""

import re
from collections.abc import Sequence
from pathlib import Path

from defectkit.config.load import load_config, make_config
from defectkit.config.sections import MAX_SECONDS, Config
from defectkit.configs import path_of
from defectkit.errors import ConfigError, shown
from defectkit.vocabulary import ApproachName, Device

SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def options_as_settings(
    *,
    approach: ApproachName | None,
    device: Device | None,
    seed: int | None,
    epochs: int | None,
    max_time: str | float | None,
    folds: int | None = None,
) -> list[str]:
    """Return the options that are given as ``KEY=VALUE`` settings.

    Raises:
        ConfigError: ``max_time`` is not a time, or is given beside ``epochs``.
    """
    if epochs is not None and max_time is not None:
        raise ConfigError("epochs and max_time exclude each other: give --epochs or --max-time.")
    given = {
        "approach": approach,
        "device": device,
        "seed": seed,
        "train.epochs": epochs,
        "train.folds": folds,
        "train.max_time": None if max_time is None else parse_seconds(max_time),
    }
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def resolve_config(config: str | Path | Config | None, settings: Sequence[str]) -> Config:
    """Return a given, shipped or default configuration, or that of a file, changed by settings.

    Args:
        config: a configuration, the name of a shipped one, or the path of a YAML file.
        settings: ``KEY=VALUE`` changes.

    Raises:
        ConfigError: there is no such configuration, or anything in it does not fit.
    """
    if isinstance(config, Config):
        given = config.model_dump(mode="json", exclude_unset=True)
        return make_config(given, name="config", settings=settings)
    if config is not None and not Path(config).is_file() and Path(config).stem == str(config):
        config = path_of(str(config))
    return load_config(Path(config) if config else None, settings)


def parse_seconds(time: str | float) -> float:
    """Return a time in seconds.

    >>> parse_seconds("90s"), parse_seconds("20m"), parse_seconds("1.5h"), parse_seconds(30)
    (90.0, 1200.0, 5400.0, 30.0)

    Raises:
        ConfigError: it is not a time above 0, or longer than ``MAX_SECONDS``.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(time).strip(), re.ASCII)
    seconds = float(match[1]) * SECONDS_PER_UNIT[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(
            f"{shown(time)} is not a time. Write for example 90s, 20m or 1.5h, at most "
            f"{MAX_SECONDS:,.0f} seconds."
        )
    return seconds
