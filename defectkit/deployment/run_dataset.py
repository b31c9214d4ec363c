"""The dataset that a run was trained on, found again."""

from pathlib import Path

from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
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


def _recorded_folder(run: Path) -> Path:
    path = run / "run.json"
    if not path.is_file():
        raise ModelError(f"{run} is not a run (it has no run.json). Name its dataset with --data.")
    try:
        return Path(read_json(path)["dataset_folder"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}). Name the dataset with --data.") from error
