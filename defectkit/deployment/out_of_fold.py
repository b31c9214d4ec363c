"""What is chosen for a model that was trained on all images: by the models of the folds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from defectkit.approaches.interface import Approach
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.tables import make_table, write_table
from defectkit.training.failures import explain_failed_validation
from defectkit.training.folds import SCORES_TABLE
from defectkit.training.validation import Validation, validate_predictions
from defectkit.vocabulary import EvaluatedSplit


def warn_of_trained_images(model: LoadedModel, split: EvaluatedSplit) -> list[str]:
    """Return a sentence if the model was trained on images of ``split`` of its dataset."""
    trained = ("train", "val") if model.out_of_fold else ("train",)
    if split not in (*trained, "all"):
        return []
    names = " and ".join(trained) if split == "all" else split
    where = (
        f"{SCORES_TABLE} of the run has their scores by networks that were not."
        if model.out_of_fold
        else "The test split tells what to expect."
    )
    return [f"the model was trained on the images of {names}, so this result is too good. {where}"]


def validate_out_of_fold(
    run: Path, approach: Approach, folds: Sequence[tuple[Path, Dataset]]
) -> Validation:
    """Validate each fold by its own model, choose on all of them, and write the scores to ``run``.

    Args:
        run: the run whose model was trained on all images.
        approach: its approach.
        folds: the run of each fold and its dataset, whose validation split is the fold.
    """
    rows: list[dict[str, Any]] = []

    def predictions() -> Iterator[Prediction]:
        for number, (folder, dataset) in enumerate(folds, start=1):
            network = TrainedModel.load(folder, device=approach.config.device).network
            records = dataset.split("val")
            for one in predict(approach, network, records, batch_size=batch_size_for(network)):
                rows.append(
                    {
                        "image_id": one.record.image_id,
                        "group": one.record.group,
                        "fold": number,
                        "defective": one.record.defective,
                    }
                )
                yield one

    with explain_failed_validation(approach.config):
        validation = validate_predictions(approach, predictions())
    scored = zip(rows, validation.scores.tolist(), strict=True)
    write_table(run / SCORES_TABLE, make_table([{**row, "score": score} for row, score in scored]))
    return validation
