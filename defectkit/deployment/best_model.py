"""The model that a training keeps: twice in the run, so that a kill damages one at most."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load

from defectkit.approaches.interface import Approach
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import save_model
from defectkit.deployment.model_info import ROI_BY_IMAGE
from defectkit.errors import ModelError, TrainingError
from defectkit.files import read_limited, write_bytes
from defectkit.models.model_folder import MAX_WEIGHT_BYTES, read_model, read_model_info
from defectkit.models.network import Network
from defectkit.training.checkpoint import has_checkpoint
from defectkit.training.folds import describe_folds
from defectkit.training.run_info import identify_run
from defectkit.training.validation import Validation

SECOND_COPY = Path("checkpoints") / "best"
"""Where in a run the model is kept a second time."""


def save_best_model(
    run: Path,
    approach: Approach,
    network: Network,
    validation: Validation,
    *,
    epoch: int,
    identity: str,
    dataset_facts: dict[str, Any],
) -> None:
    """Write the model of ``epoch`` with the thresholds that validation chose, twice.

    ``identity`` is that of the run, ``dataset_facts`` are those of ``describe_dataset``.
    """
    # One after the other: whenever the run is killed, one of them is whole.
    for folder in (run / SECOND_COPY, run / "model"):
        save_model(
            folder,
            approach=approach,
            network=network,
            tuning=validation.tuning,
            thresholds=validation.thresholds,
            facts={
                "epoch": epoch,
                "run": identity,
                **dataset_facts,
                "validation": {
                    "images": validation.images,
                    "image_average_precision": validation.image_ap,
                    "pixel_average_precision": validation.pixel_ap,
                    "dice": validation.dice,
                },
                "validation_levels": validation.levels.summarize(),
                "warnings": list(validation.warnings),
                "tuning_warnings": list(validation.tuning_warnings),
                **_describe_folds(approach.config.train.folds, validation),
            },
        )


def _describe_folds(folds: int | None, validation: Validation) -> dict[str, Any]:
    """Return what a model keeps to choose thresholds again, where it was trained on all images."""
    if not folds:
        return {}
    levels = validation.levels
    return {
        "note": describe_folds(folds),
        "out_of_fold": {
            "scores": levels.score.tolist(),
            "defective": levels.defective.tolist(),
            "groups": list(levels.groups),
        },
    }


def is_settled(run: Path, *, identity: str, epoch: int | None, images: int) -> bool:
    """Return whether a run has its model of ``epoch``, and all validation images chose for it.

    ``identity`` is that of the run, ``images`` the number of these images. With None any epoch will
    do: the model that an earlier one left.
    """
    if not _is_own_model(run / "model", identity):
        return False
    info = read_model_info(run / "model")
    return epoch in (None, info["epoch"]) and bool(info["validation"]["images"] == images)


def load_kept_weights(run: Path, network: Network) -> int:
    """Load the weights of the run's model into the network that was trained; return their epoch."""
    info, weights = read_model(run / "model")
    network.load_state_dict(load(weights))
    return int(info["epoch"])


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return what a model keeps of its dataset: fingerprint, pixel format, region to inspect.

    The region is kept where it is the same in all images, else ``"by image"`` if there are any.
    """
    roi: Any = asdict(dataset.common_roi) if dataset.common_roi else None
    if not roi and any(record.roi for record in dataset.records):
        roi = ROI_BY_IMAGE
    pixels = dataset.pixels.to_dict()
    return {"dataset": dataset.fingerprint, "pixels": pixels, "roi": roi}


def repair_model(run: Path, *, identity: str) -> None:
    """Restore the run's model from its second copy where it is damaged or of another run.

    ``identity`` is that of the run, as ``identify_run`` gives it.

    Raises:
        TrainingError: the run has finished epochs, but neither model is its own and whole.
    """
    if _is_own_model(run / "model", identity):
        return
    if _is_own_model(run / SECOND_COPY, identity):
        for name in ("model.safetensors", "model.json"):
            write_bytes(
                run / "model" / name, read_limited(run / SECOND_COPY / name, MAX_WEIGHT_BYTES)
            )
    elif has_checkpoint(run / "checkpoints"):
        raise TrainingError(
            f"the best model of {run} is lost: both {run / 'model'} and its copy in "
            f"{run / SECOND_COPY} are damaged or of another run. Start a new run without --resume "
            "and with another --out."
        )


def find_own_model(run: Path, *, identity: str) -> Path | None:
    """Return the folder of the run's own model or of its second copy; None if neither is whole."""
    folders = (run / "model", run / SECOND_COPY)
    return next((one for one in folders if _is_own_model(one, identity)), None)


def _is_own_model(folder: Path, identity: str) -> bool:
    try:
        info, _ = read_model(folder)
    except ModelError:
        return False
    return identify_model(info) == identity


def identify_model(info: Mapping[str, Any]) -> str:
    """Return the identity of the run that trained the model whose ``model.json`` is given."""
    # Earlier versions did not record it.
    return str(info.get("run") or identify_run(info["dataset"], info["config"]))
