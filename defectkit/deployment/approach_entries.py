"""What ``model.json`` keeps of an approach, and the approach that is built from it again."""

from typing import Any

from defectkit.approaches.build import build_approach
from defectkit.approaches.fused import Fused
from defectkit.approaches.interface import Approach
from defectkit.approaches.tuning import Tuning, read_tuning
from defectkit.config import Config, flatten_settings, make_config
from defectkit.errors import ConfigError, shown

FOR_TRAINING_ALONE: dict[str, Any] = {
    "plan": True,
    "train": True,
    "augment": True,
    "data": {
        *("workers", "cache_mib", "defect_fraction"),
        *("class_balance", "injection", "hard_negatives"),
    },
    "novelty": {"fuse"},
}
"""What inspection does not read of the configuration: models of earlier versions may lack it."""

BEFORE_ADDED: dict[str, dict[str, Any]] = {
    "loss": {"image": 0.0},
    "infer": {"margin": 0, "flip": False, "amp": "off"},
}
"""What models did that lack these settings, since they are older: not the defaults of today."""


def describe_approach(approach: Approach, tuning: Tuning) -> dict[str, Any]:
    """Return what an approach is built from again, besides classes and channels."""
    described = {"config": approach.config.model_dump(mode="json"), "tuning": tuning.model_dump()}
    if isinstance(approach, Fused):
        trained = approach.trained
        described["trained"] = {
            **describe_approach(trained, trained.tuning),
            "run": approach.trained_run,
        }
    return described


def read_approach(info: dict[str, Any], *, name: str) -> Approach:
    """Return the approach that ``info``, the content of ``model.json``, describes.

    Raises:
        ConfigError: its configuration cannot be read.
    """
    config, trained, trained_run = _read_config(info, name=name), None, ""
    if config.approach == "novelty" and (kept := info.get("trained")):
        own = {"config": kept["config"], "tuning": kept["tuning"], "trained": None}
        trained = read_approach({**info, **own}, name=f"{name} (trained)")
        trained_run = kept.get("run", "")
    return build_approach(
        _without_weights(config),
        classes=tuple(info["classes"]),
        channels=info["channels"],
        tuning=read_tuning(info),
        trained=trained,
        trained_run=trained_run,
    )


def _without_weights(config: Config) -> Config:
    # The trained weights follow: no pretrained ones are searched for.
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": "none"})})


def _read_config(info: dict[str, Any], *, name: str) -> Config:
    """Return the configuration in ``model.json``; what inspection reads has no defaults there."""
    given = info["config"]
    for section, settings in BEFORE_ADDED.items():
        if isinstance(own := given.get(section), dict):
            given = {**given, section: {**settings, **own}}
    config = make_config(given, name=name)
    others = FOR_TRAINING_ALONE | dict.fromkeys({"novelty"} - {config.approach}, True)
    needed = flatten_settings(config.model_dump(mode="json", exclude=others))
    if missing := needed.keys() - flatten_settings(given).keys():
        raise ConfigError(
            f"{name} lacks settings: {', '.join(sorted(missing))}. Inspect with the version of "
            f"defectkit that wrote it ({shown(info.get('defectkit'))}), or train again."
        )
    return config
