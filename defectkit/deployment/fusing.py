"""The earlier run that ``novelty`` is joined to: its model, taken over into a new one."""

from pathlib import Path

from defectkit.approaches.fused import Fused
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.errors import DatasetError, ModelError


def load_run_to_fuse(run: Path, dataset: Dataset) -> TrainedModel:
    """Load the model of a run that novelty is to be joined to, on the CPU.

    Args:
        run: the run or its model folder, as ``novelty.fuse`` names it.
        dataset: what the new model is trained on.

    Raises:
        ModelError: the model cannot be loaded, is one of ``novelty`` or itself fused, or has seen
            the validation images in its training.
        DatasetError: it was trained on other data.
    """
    model = TrainedModel.load(run, device="cpu")
    approach, way_out = model.approach, "Name a run of segment, patch or box with novelty.fuse."
    if isinstance(approach, Fused):
        raise ModelError(
            f"{run} is fused itself, from novelty and {approach.trained.config.approach}: it "
            f"cannot be fused again. {way_out}"
        )
    if approach.config.approach == "novelty":
        raise ModelError(f"{run} is a run of novelty, which knows no defects to add. {way_out}")
    if model.out_of_fold:
        raise ModelError(
            f"{run} was trained with --folds, so its model has seen the validation images, by "
            "which both are weighed. Name a run without --folds with novelty.fuse."
        )
    _check_same_data(run, model, dataset)
    return model


def _check_same_data(run: Path, model: TrainedModel, dataset: Dataset) -> None:
    own, given = model.approach, dataset
    different = "its images, masks or splits differ"
    if own.classes != given.classes:
        different = f"it has the classes {_listed(given.classes)}, not {_listed(own.classes)}"
    elif own.channels != given.channels:
        different = f"its images have {given.channels} channels, not {own.channels}"
    elif model.info.get("dataset") == given.fingerprint:
        return
    raise DatasetError(
        f"{given.folder} is not the dataset that {run} was trained on: {different}. novelty.fuse "
        "joins what is learned from the same data: give that dataset with --data, or train a new "
        "run on this one."
    )


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes)
