"""The dataset that a run was trained on: found again, and the same for several runs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from defectkit.data.dataset import Dataset
from defectkit.deployment.best_model import identify_model
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import DatasetError, ModelError, refusal
from defectkit.models.model_folder import model_folder, read_model_info
from defectkit.seals import read_sealed
from defectkit.training.folds import check_no_fold


def load_dataset_of_run(run: Path, model: LoadedModel, data: Path | None = None) -> Dataset:
    """Load the dataset that a run was trained on.

    Args:
        run: the run's folder.
        model: the run's model.
        data: the dataset folder; by default the one that ``run.json`` names.

    Raises:
        ModelError: no dataset is named, and ``run.json`` is missing or damaged; or the model is
            that of another run.
        DatasetError: the dataset is missing, or it is another one; or the run is that of a fold.
    """
    recorded = _read_own_run(run, model, is_needed=data is None)
    dataset = Dataset.load(data or recorded["dataset_folder"])
    if (dataset.fingerprint, dataset.classes) != (
        model.info.get("dataset"),
        model.classes,
    ):
        raise DatasetError(
            f"{dataset.folder} is not the dataset that {run} was trained on: its images, masks, "
            "classes or splits differ, so its test images may have been trained on. Name the right "
            "one with --data."
        )
    return dataset


def load_any_dataset(run: Path, model: LoadedModel, data: Path) -> tuple[Dataset, Dataset | None]:
    """Load any dataset, and beside it the one that a run was trained on, if it is still there.

    Args:
        run: the run's folder.
        model: the run's model.
        data: the folder of the dataset.

    Raises:
        ModelError: the model is that of another run.
        DatasetError: the dataset is missing or damaged, or the run is that of a fold.
    """
    recorded = _read_own_run(run, model, is_needed=False)
    dataset = Dataset.load(data)
    if dataset.fingerprint == model.info.get("dataset"):
        return dataset, dataset
    own = None
    with suppress(DatasetError, KeyError):
        own = Dataset.load(recorded["dataset_folder"])
    is_same = own is not None and own.fingerprint == model.info.get("dataset")
    return dataset, own if is_same else None


def check_trained_on_same_data(runs: Sequence[Path], names: Sequence[str]) -> None:
    """Check that all runs were trained on the same data; ``names`` are those for messages.

    Raises:
        DatasetError: two runs were not, or one is that of a fold.
        ModelError: a model folder is missing or damaged.
    """
    for run in runs:
        check_no_fold(run)
    fingerprints = [read_model_info(model_folder(run)).get("dataset") for run in runs]
    for name, fingerprint in zip(names, fingerprints, strict=True):
        if fingerprint != fingerprints[0]:
            raise DatasetError(
                f"{names[0]} and {name} were trained on different data: the images, masks or "
                f"splits of their datasets differ (fingerprints {str(fingerprints[0])[:8]} and "
                f"{str(fingerprint)[:8]}), so they cannot be compared. Train both on one dataset."
            )


def dataset_of_runs(runs: Sequence[Path]) -> Path | None:
    """Return the folder of the dataset that the first of several runs names.

    Exported models name none; where none does, there is no folder.
    """
    for run in runs:
        with suppress(ModelError):
            return Path(_read_run(run)["dataset_folder"])
    return None


def _read_own_run(run: Path, model: LoadedModel, *, is_needed: bool) -> dict[str, Any]:
    """Return ``run.json`` of the run that trained the model, empty where it cannot be read."""
    check_no_fold(run)
    try:
        recorded = _read_run(run)
    except ModelError:
        if is_needed:
            raise
        recorded = {}
    _check_own_model(run, model, recorded)
    return recorded


def _check_own_model(run: Path, model: LoadedModel, recorded: Mapping[str, Any]) -> None:
    """Check that the model was trained by the run whose ``run.json`` is given."""
    own = identify_model(model.info)
    if recorded.get("identity", own) != own:  # Earlier versions did not record it.
        raise ModelError(
            f"{model_folder(run)} is the model of another run: it was trained on other data or "
            f"with other settings than {run / 'run.json'} has. Put the run's own model back with "
            f"'defectkit train --resume --out {run}'."
        )


def _read_run(run: Path) -> dict[str, Any]:
    path = run / "run.json"
    if not path.is_file():
        raise ModelError(f"{run} is not a run (it has no run.json). Name its dataset with --data.")
    try:
        recorded = read_sealed(path)
        recorded["dataset_folder"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            refusal(error) or f"{path} is damaged ({error}). Name the dataset with --data."
        ) from error
    return recorded
