"""A run's folder: its name, ``config.yaml`` and ``run.json``, and what a resumed run may change."""

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from defectkit.config import Config, load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError, DatasetError, OutputError, TrainingError
from defectkit.files import ensure_writable, read_json, write_json

MAY_CHANGE = ("device", "data.workers", "train.epochs", "train.max_time", "train.patience")
"""Settings that a resumed run may change; another would make it another run."""

FOLDERS = ("checkpoints", "checkpoints/best", "model", "progress")
"""Where below a run's folder training writes."""

LOCK_SECONDS = 10.0
"""How long to wait for a run: the loader's processes of a killed training hold on for seconds."""

# Their versions can change results.
PACKAGES = (
    *("defectkit", "torch", "torchvision", "timm", "segmentation-models-pytorch"),
    *("albumentations", "opencv-python-headless", "numpy", "pillow"),
)


def claim_run(approach: str, *, root: Path = Path("runs")) -> Path:
    """Make and return the first free ``runs/<approach>-<n>``; two that ask get two.

    Raises:
        OutputError: the folder cannot be made.
    """
    while True:
        folder = root / f"{approach}-{_last_number(approach, root) + 1}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                f"cannot make {folder}: {error.strerror}. Choose another folder with --out."
            ) from error
        return folder


def last_run(approach: str, *, root: Path = Path("runs")) -> Path:
    """Return the newest ``runs/<approach>-<n>`` that was begun.

    Raises:
        TrainingError: there is none.
    """
    # A folder without a configuration was claimed and left, say because the dataset was missing.
    number = _last_number(approach, root, holding="config.yaml")
    if not number:
        raise TrainingError(
            f"there is no run {root}/{approach}-<n> to resume. Name one with --out."
        )
    return root / f"{approach}-{number}"


def resumed_config(run: Path, settings: Sequence[str]) -> Config:
    """Return the configuration that a run was started with, with later ``--set`` changes.

    Raises:
        TrainingError: ``run`` is not a run.
        ConfigError: a setting is changed that would make it another run.
    """
    if not (run / "config.yaml").is_file():
        raise TrainingError(
            f"{run} is not a run (it has no config.yaml): there is nothing to resume."
        )
    config = load_config(run / "config.yaml", settings)
    before = _flat(load_config(run / "config.yaml").model_dump())
    changed = [key for key, value in _flat(config.model_dump()).items() if value != before[key]]
    refused = sorted(set(changed) - set(MAY_CHANGE))
    if refused:
        raise ConfigError(
            f"a resumed run cannot change {', '.join(refused)}; it may change "
            f"{', '.join(MAY_CHANGE)}. Start a new run without --resume."
        )
    return config


def read_facts(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` says.

    Raises:
        TrainingError: it is missing or damaged.
    """
    try:
        facts: dict[str, Any] = read_json(run / "run.json")
        for needed in ("dataset", "dataset_folder"):
            if not isinstance(facts[needed], str):
                raise TypeError(f"{needed} is no text")
        if not isinstance(facts.get("resumed", []), list):
            raise TypeError("resumed is no list")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{run / 'run.json'} is missing or damaged ({type(error).__name__}), so it is not "
            "known which data the run was trained on. Start anew with another --out."
        ) from error
    return facts


def check_folder(run: Path, *, resume: bool) -> None:
    """Prove that a run can be written to ``run``.

    Raises:
        OutputError: the folder or one below it cannot be written.
        TrainingError: it holds a run already, and that is not to be resumed.
    """
    _check_folder(run, resume=resume, alone=False)


@contextmanager
def lock_run(run: Path, *, resume: bool) -> Iterator[None]:
    """Check ``run`` as ``check_folder`` does, and keep other trainings out of it.

    What a killed one left half-written in a run that is resumed is removed. However the process
    ends, the system lets go of the lock.

    Raises:
        OutputError, TrainingError: as ``check_folder``, or another process is training there.
    """
    lock = FileLock(run / ".lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"another process is training into {run}. Wait for its end or stop it, then go on with "
            "--resume."
        ) from None
    try:
        _check_folder(run, resume=resume, alone=True)
        yield
    finally:
        lock.release()


def check_data(run: Path, dataset: Dataset, before: Mapping[str, Any]) -> None:
    """Check that ``dataset`` is what the run that ``before`` tells of was trained on.

    Raises:
        DatasetError: it is not.
    """
    if before and before["dataset"] != dataset.fingerprint:
        raise DatasetError(
            f"{run} was trained on other data than {dataset.folder} holds now. "
            "Name the same dataset with --data, or start anew without --resume."
        )


def new_facts(dataset: Dataset, device: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``run.json`` shall say; the start of a resumed run stays."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "dataset": dataset.fingerprint,
        "dataset_folder": str(dataset.folder.resolve()),
        "device": device,
        "started": before.get("started", now),
        **({"resumed": [*before.get("resumed", []), now]} if before else {}),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "command": sys.argv,
    }


@contextmanager
def record_status(run: Path, facts: Mapping[str, Any]) -> Iterator[None]:
    """Keep ``run.json`` true: running, then finished, interrupted (by a signal) or failed."""

    def write(status: str) -> None:
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run / "run.json", {**facts, "status": status, "ended": ended})

    write_json(run / "run.json", {**facts, "status": "running"})
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OutputError):  # What ended the training is worth more than that this fails.
            write("interrupted" if stopped else "failed")
        raise
    write("finished")


def _check_folder(run: Path, *, resume: bool, alone: bool) -> None:
    if not resume and (run / "config.yaml").exists():
        raise TrainingError(
            f"{run} already holds a run. Go on with --resume, or choose another --out."
        )
    for folder in (run, *(run / name for name in FOLDERS)):
        if folder == run or folder.is_dir():
            # A folder that is no run yet may be one in which other commands are writing.
            ensure_writable(folder, owned=alone and resume)


def _last_number(approach: str, root: Path, *, holding: str = "") -> int:
    folders = (path for path in root.glob(f"{approach}-*") if (path / holding).exists())
    names = (re.fullmatch(rf"{approach}-(\d+)", path.name) for path in folders)
    return max((int(name[1]) for name in names if name), default=0)


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
