"""The earlier run that ``novelty`` is fused with: its model, taken over into a new one."""

from pathlib import Path

from defectkit.approaches.fused import EarlierRun, Fused
from defectkit.data.dataset import Dataset
from defectkit.deployment.best_model import find_own_model, identify_model
from defectkit.deployment.bundle import TrainedModel
from defectkit.errors import DatasetError, ModelError
from defectkit.models.novelty.fused_network import FusedNetwork


def take_over_again(run: Path, *, identity: str) -> EarlierRun | None:
    """Return what the model of a fused run has of the earlier run, which may be gone by now.

    ``identity`` is that of the run. Without a model there is None.
    """
    folder = find_own_model(run, identity=identity)
    if folder is None:
        return None
    model = TrainedModel.load(folder, device="cpu")
    approach, network = model.approach, model.network
    assert isinstance(approach, Fused)
    assert isinstance(network, FusedNetwork)
    return EarlierRun(approach.trained, network.trained, approach.trained_run)


def take_over(model: TrainedModel) -> EarlierRun:
    """Return what is taken over of the model of an earlier run."""
    return EarlierRun(model.approach, model.network, identify_model(model.info))


def load_run_to_fuse(run: Path, dataset: Dataset) -> TrainedModel:
    """Load the model of a run that novelty is to be fused with, on the CPU.

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
        "fuses what is learned from the same data: give that dataset with --data, or train a new "
        "run on this one."
    )


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes)
