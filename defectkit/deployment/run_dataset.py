"""The dataset that a run was trained on: found again, and the same for several runs."""

from collections.abc import Sequence
from pathlib import Path

from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel, model_folder
from defectkit.errors import DatasetError, ModelError
from defectkit.files import read_json


def load_dataset_of_run(run: Path, model: TrainedModel, data: Path | None = None) -> Dataset:
    """Load the dataset that a run was trained on.

    Args:
        run: the run's folder.
        model: the run's model.
        data: the dataset folder; by default the one that ``run.json`` names.

    Raises:
        ModelError: no dataset is named, and ``run.json`` is missing or damaged.
        DatasetError: the dataset is missing, or it is another one.
    """
    dataset = Dataset.load(data or _recorded_folder(run))
    if (dataset.fingerprint, dataset.classes) != (
        model.info.get("dataset"),
        model.approach.classes,
    ):
        raise DatasetError(
            f"{dataset.folder} is not the dataset that {run} was trained on: its images, masks, "
            "classes or splits differ, so its test images may have been trained on. Name the right "
            "one with --data."
        )
    return dataset


def check_trained_on_same_data(runs: Sequence[Path], names: Sequence[str]) -> None:
    """Check that all runs were trained on the same data; ``names`` are those for messages.

    Raises:
        DatasetError: two runs were not.
        ModelError: a model folder is missing or damaged.
    """
    fingerprints = []
    for run in runs:
        path = model_folder(run) / "model.json"
        try:
            fingerprints.append(read_json(path)["dataset"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    for name, fingerprint in zip(names, fingerprints, strict=True):
        if fingerprint != fingerprints[0]:
            raise DatasetError(
                f"{names[0]} and {name} were trained on different data: the images, masks or "
                f"splits of their datasets differ (fingerprints {fingerprints[0][:8]} and "
                f"{str(fingerprint)[:8]}), so they cannot be compared. Train both on one dataset."
            )


def _recorded_folder(run: Path) -> Path:
    path = run / "run.json"
    if not path.is_file():
        raise ModelError(f"{run} is not a run (it has no run.json). Name its dataset with --data.")
    try:
        return Path(read_json(path)["dataset_folder"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}). Name the dataset with --data.") from error
