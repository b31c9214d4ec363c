"""A run's folder: its name and lock, and checks before it is resumed."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from defectkit import launcher
from defectkit.config import Config, flatten_settings, load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError, DatasetError, OutputError, TrainingError
from defectkit.files import check_place, ensure_writable
from defectkit.results_folder import hold_lock
from defectkit.results_marker import check_out
from defectkit.seals import warn_if_not_sealed
from defectkit.training.folds import FOLDER, SCORES_TABLE, check_no_fold
from defectkit.training.run_info import CHANGEABLE_ON_RESUME, read_run_info
from defectkit.versions import warn_of_other_versions
from defectkit.vocabulary import ApproachName

SUBFOLDERS = ("checkpoints", "checkpoints/best", "model", "progress")
"""The folders in a run's folder that training writes to."""

WRITTEN_LATER = ("history.csv", "curves.png", "progress.gif", FOLDER, SCORES_TABLE)
"""What training writes to a run's folder after the configuration: where one of these is and no
configuration, it is the user's."""

LOCK_SECONDS = 10.0
"""Time to wait for the lock: loader processes of a killed training keep it for some seconds."""


def create_run_folder(approach: str, *, root: Path = Path("runs")) -> Path:
    """Create and return the first free ``runs/<approach>-<n>``; two processes get two.

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


def newest_run(approach: str, *, root: Path = Path("runs")) -> Path:
    """Return the newest ``runs/<approach>-<n>`` whose training has begun.

    Raises:
        TrainingError: there is none.
    """
    # A folder without a configuration was created only, say because the dataset was missing.
    number = _last_number(approach, root, with_file="config.yaml")
    if not number:
        raise TrainingError(
            f"there is no run {root}/{approach}-<n> to resume. Name one with --out."
        )
    return root / f"{approach}-{number}"


def load_resumed_config(run: Path, settings: Sequence[str]) -> Config:
    """Return the configuration that a run was started with, with later ``--set`` changes.

    Raises:
        TrainingError: ``run`` is not a run.
        DatasetError: it is that of a fold.
        ConfigError: a setting is changed that would make it another run, or ``config.yaml`` was
            edited.
    """
    if not (run / "config.yaml").is_file():
        raise TrainingError(
            f"{run} is not a run (it has no config.yaml): there is nothing to resume. Name one "
            "with --out, or start it without --resume."
        )
    check_no_fold(run)
    info = read_run_info(run)
    warn_if_not_sealed(info, what=str(run / "run.json"), way_out="Start a new run")
    warn_of_other_versions(info.get("versions", {}), what=str(run))
    config = load_config(run / "config.yaml", settings)
    before = info.get("config") or load_config(run / "config.yaml").model_dump(mode="json")
    _refuse_other_settings(run, config, flatten_settings(before), settings)
    return config


def _refuse_other_settings(
    run: Path, config: Config, before: Mapping[str, Any], settings: Sequence[str]
) -> None:
    """Refuse settings that differ from those ``before``, unless given and changeable on resume."""
    after = flatten_settings(config.model_dump(mode="json"))
    changed = {key for key, value in after.items() if value != before.get(key, value)}
    given = {setting.partition("=")[0].strip() for setting in settings}
    edited = sorted(changed - given)
    if edited:
        differences = (f"{key} is {after[key]} and was {before[key]}" for key in edited)
        raise ConfigError(
            f"{run / 'config.yaml'} was changed after it was written: {'; '.join(differences)}. "
            f"Change it back. Give --resume what may change with --set "
            f"({', '.join(CHANGEABLE_ON_RESUME)}); for other settings start a new run."
        )
    refused = sorted(changed - set(CHANGEABLE_ON_RESUME))
    if refused:
        raise ConfigError(
            f"a resumed run cannot change {', '.join(refused)}; it may change "
            f"{', '.join(CHANGEABLE_ON_RESUME)}. Start a new run without --resume and with another "
            "--out."
        )


def is_of_this_launch(run: Path) -> bool:
    """Return whether a run was begun by this ``torchrun``, which has restarted its processes."""
    if not (run / "config.yaml").is_file():
        return False
    return read_run_info(run).get("launch") == launcher.launch_name()


def check_run_folder(run: Path, *, resume: bool) -> None:
    """Check that a run can be written to the folder ``run``.

    Raises:
        OutputError: the folder or one below it cannot be written.
        TrainingError: it has a run already, and ``resume`` is false.
    """
    _check_writable(run, resume=resume, locked=False)


@contextmanager
def lock_run(run: Path, *, resume: bool) -> Iterator[None]:
    """Check ``run`` as ``check_run_folder`` does, and lock it against other trainings.

    Half-written files of a killed training are removed when a run is resumed. However the process
    ends, the system releases the lock.

    Raises:
        OutputError, TrainingError: as ``check_run_folder``, or another process is training there.
    """
    with hold_run(run):
        _check_writable(run, resume=resume, locked=True)
        yield


def hold_run(run: Path) -> AbstractContextManager[None]:
    """Return what holds the lock of a run, for all that change it; wait ``LOCK_SECONDS`` for it.

    Raises:
        TrainingError: another process holds it.
    """
    busy = TrainingError(
        f"another process is changing {run}: a training, or an evaluation that chooses thresholds. "
        "Wait for its end or stop it, then try again; a stopped training goes on with --resume."
    )
    return hold_lock(run / ".lock", busy=busy, seconds=LOCK_SECONDS)


def check_dataset(dataset: Dataset, approach: ApproachName) -> None:
    """Check that the dataset has what an approach learns from.

    Raises:
        DatasetError: it has no defects, or boxes where masks are needed.
    """
    if approach == "novelty":
        return  # learns from good images alone; ``GoodSamples`` checks that there are some
    if not any(record.defective for record in dataset.records):
        raise DatasetError(
            f"{dataset.folder} has no defective image, so there is nothing to learn for {approach}."
            " Use --approach novelty, or label some and run 'defectkit prepare' again."
        )
    if dataset.label_kind == "boxes" and approach != "box":
        raise DatasetError(
            f"{dataset.folder} has boxes and no masks, so {approach} has no outlines to learn "
            "from. Use --approach box, or prepare labels that outline the defects."
        )


def check_same_dataset(run: Path, dataset: Dataset, before: Mapping[str, Any]) -> None:
    """Check that ``dataset`` is what a run to resume was trained on.

    ``before`` is its ``run.json``; empty for a new run, which may have any dataset.

    Raises:
        DatasetError: it is another dataset.
    """
    if before and before["dataset"] != dataset.fingerprint:
        raise DatasetError(
            f"{run} was trained on other data than {dataset.folder} has now. Name the same dataset "
            "with --data, or start a new run without --resume and with another --out."
        )


def _check_writable(run: Path, *, resume: bool, locked: bool) -> None:
    if not resume:
        _refuse_other_files(run)
    for folder in (run, *(run / name for name in SUBFOLDERS)):
        if not locked:
            check_place(folder)
        elif folder == run or folder.is_dir():
            # Other commands may be writing to a folder that is not a run yet.
            ensure_writable(folder, owned=resume)


def _refuse_other_files(run: Path) -> None:
    """Check that a new run mixes with nothing."""
    if (run / "config.yaml").exists():
        raise TrainingError(
            f"{run} already has a run. Continue it with --resume, or choose another --out."
        )
    check_out(run, "run")
    for name in (*SUBFOLDERS, *WRITTEN_LATER):
        if os.path.lexists(run / name):
            raise OutputError(
                f"{run / name} stands where training writes. Move it away, or choose another "
                "folder with --out."
            )


def _last_number(approach: str, root: Path, *, with_file: str = "") -> int:
    folders = (path for path in root.glob(f"{approach}-*") if (path / with_file).exists())
    names = (re.fullmatch(rf"{approach}-(\d+)", path.name) for path in folders)
    return max((int(name[1]) for name in names if name), default=0)
