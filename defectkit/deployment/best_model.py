"""The best model of a training: kept twice in the run, so that a kill damages one at most."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from defectkit.approaches.interface import Approach
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import MAX_WEIGHT_BYTES, ROI_BY_IMAGE, is_intact, save_model
from defectkit.files import read_limited, write_bytes
from defectkit.models.network import Network
from defectkit.training.validation import Validation

SECOND_COPY = Path("checkpoints") / "best"
"""Where in a run the best model is kept a second time."""


def save_best_model(
    run: Path,
    approach: Approach,
    network: Network,
    validation: Validation,
    *,
    epoch: int,
    dataset_facts: dict[str, Any],
) -> None:
    """Write the model of ``epoch`` with the thresholds that validation chose, twice.

    ``dataset_facts`` are those of ``describe_dataset``.
    """
    # One after the other: whenever the run is killed, one of them is whole.
    for folder in (run / SECOND_COPY, run / "model"):
        save_model(
            folder,
            approach=approach,
            network=network,
            pixel_threshold=validation.pixel_threshold,
            thresholds=validation.thresholds,
            facts={
                "epoch": epoch,
                **dataset_facts,
                "validation": {
                    "image_average_precision": validation.image_ap,
                    "pixel_average_precision": validation.pixel_ap,
                    "dice": validation.dice,
                },
                "warnings": list(validation.warnings),
            },
        )


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return what a model keeps of its dataset: fingerprint, pixel format, region to inspect.

    The region is kept where it is the same in all images, else ``"by image"`` if there are any.
    """
    roi: Any = asdict(dataset.common_roi) if dataset.common_roi else None
    if not roi and any(record.roi for record in dataset.records):
        roi = ROI_BY_IMAGE
    pixels = dataset.pixels.to_dict()
    return {"dataset": dataset.fingerprint, "pixels": pixels, "roi": roi}


def repair_model(run: Path) -> None:
    """Restore the run's model from its second copy where a kill damaged it."""
    if not is_intact(run / "model") and is_intact(run / SECOND_COPY):
        for name in ("model.safetensors", "model.json"):
            write_bytes(
                run / "model" / name, read_limited(run / SECOND_COPY / name, MAX_WEIGHT_BYTES)
            )
