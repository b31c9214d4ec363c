"""``run.json``: what a run was trained from and with, and how far it came."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from defectkit import launcher, ranks
from defectkit.config import Config, flatten_settings
from defectkit.data.dataset import Dataset
from defectkit.errors import OutputError, TrainingError, refusal
from defectkit.files import write_json
from defectkit.seals import add_seal, read_sealed, seal_of
from defectkit.training.folds import FOLDER, RUN_SETTINGS, describe_folds
from defectkit.training.history import read_history
from defectkit.versions import installed_versions

CHANGEABLE_ON_RESUME = (
    *("device", "data.workers", "data.cache_mib"),
    *("train.epochs", "train.max_time", "train.patience"),
)
"""Settings that may change when a run is resumed; any other would make it another run."""


def identify_run(dataset: str, config: Mapping[str, Any]) -> str:
    """Return a hash of what makes a run: its data, and the settings that a resume cannot change.

    Checkpoints and models of another run are known by it.

    Args:
        dataset: the fingerprint of the dataset.
        config: the configuration, as in ``run.json`` and ``model.json``.
    """
    settings = sorted(flatten_settings(config).items())
    kept = {key: value for key, value in settings if key not in CHANGEABLE_ON_RESUME}
    return seal_of({"dataset": dataset, "settings": kept})


def read_run_info(run: Path) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises:
        TrainingError: it is missing, damaged or changed.
    """
    try:
        info = read_sealed(run / "run.json")
        for needed in ("dataset", "dataset_folder"):
            if not isinstance(info[needed], str):
                raise TypeError(f"{needed} is not a text")
        for name, kind in (("resumed", list), ("config", dict), (RUN_SETTINGS, dict)):
            if not isinstance(info.get(name, kind()), kind):
                raise TypeError(f"{name} is not a {kind.__name__}")
        _check_seconds(info.get("seconds", 0.0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            refusal(error)
            or f"{run / 'run.json'} is missing or damaged ({type(error).__name__}), so it is not "
            "known which data the run was trained on. Start a new run with another --out."
        ) from error
    return info


def _check_seconds(seconds: Any) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError("seconds is not a number")
    if not 0.0 <= seconds <= sys.float_info.max:
        raise ValueError("seconds is negative or not finite")


def make_run_info(
    dataset: Dataset, config: Config, before: Mapping[str, Any], *, device: str, precision: str
) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Args:
        dataset: the data of the run.
        config: its configuration.
        before: the content before this session, of a run to resume; else empty.
        device: what ``describe_device`` says.
        precision: what ``describe_precision`` says.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    settings = config.model_dump(mode="json")
    return {
        # A version with more settings would find another one: what is recorded stays.
        "identity": before.get("identity") or identify_run(dataset.fingerprint, settings),
        "dataset": dataset.fingerprint,
        "dataset_folder": str(dataset.folder.resolve()),
        "config": settings,
        **({"note": describe_folds(config.train.folds)} if config.train.folds else {}),
        "device": device,
        "precision": precision,
        "started": before.get("started", now),
        **({"resumed": [*before.get("resumed", []), now]} if before else {}),
        "versions": installed_versions(),
        "command": sys.argv,
        **_describe_launch(),
    }


def _describe_launch() -> dict[str, Any]:
    """Return by how many processes, and by which launch of them, where there are several."""
    if ranks.world() == 1:
        return {}
    return {"processes": ranks.world(), "launch": launcher.launch_name()}


@contextmanager
def record_status(run: Path, info: Mapping[str, Any]) -> Iterator[None]:
    """Write the status to ``run.json``: running, then finished, interrupted (signal) or failed.

    With each come the seconds of all sessions that have ended, so that a kill loses none of them.
    """
    start, earlier = time.monotonic(), training_seconds(run)

    def write(status: str) -> None:
        ended = {
            "status": status,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(earlier + time.monotonic() - start, 3),
        }
        write_json(run / "run.json", add_seal({**info, **ended}))

    write_json(run / "run.json", add_seal({**info, "status": "running", "seconds": earlier}))
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OutputError):  # The error that ended the training matters more than this one.
            write("interrupted" if stopped else "failed")
        raise
    write("finished")


def training_seconds(run: Path) -> float:
    """Return the seconds of all sessions of a run, with validations and the trainings of folds.

    Of a session that was killed, its finished epochs count alone. What is missing or damaged counts
    as 0.
    """
    recorded, epochs = 0.0, 0.0
    with suppress(TrainingError):
        recorded = read_run_info(run).get("seconds", 0.0)
    with suppress(TrainingError):
        epochs = sum(row.get("seconds") or 0.0 for row in read_history(run / "history.csv")[-1:])
    return max(recorded, epochs + sum(map(training_seconds, run.glob(f"{FOLDER}/fold-*"))))
