"""The best model of a training: kept twice in the run, so that a kill damages one at most."""

from pathlib import Path

from defectkit.approaches.interface import Approach
from defectkit.deployment.bundle import is_intact, save_model
from defectkit.files import write_bytes
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
    dataset_hash: str,
) -> None:
    """Write the model of ``epoch`` with the thresholds that validation chose, twice."""
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
                "dataset": dataset_hash,
                "validation": {
                    "image_average_precision": validation.image_ap,
                    "pixel_average_precision": validation.pixel_ap,
                    "dice": validation.dice,
                },
                "warnings": list(validation.warnings),
            },
        )


def repair_model(run: Path) -> None:
    """Restore the run's model from its second copy where a kill damaged it."""
    if not is_intact(run / "model") and is_intact(run / SECOND_COPY):
        for name in ("model.safetensors", "model.json"):
            write_bytes(run / "model" / name, (run / SECOND_COPY / name).read_bytes())
