"""``defectkit evaluate``: metrics, verdicts, overlays and the report of one split."""

from pathlib import Path

from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel, replace_thresholds
from defectkit.deployment.judge import Evaluation
from defectkit.deployment.run_dataset import load_dataset_of_run
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.files import ensure_writable
from defectkit.reporting.evaluation_folder import evaluate_split, predict_with_progress
from defectkit.vocabulary import Split


def run(
    *,
    run: Path,
    split: Split = "test",
    data: Path | None = None,
    max_escape_rate: float | None = None,
    cost_ratio: float | None = None,
    best_f1: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> Evaluation:
    """Judge a run on a split of its dataset and write ``RUN/evaluation/<split>/``.

    Thresholds come from the validation split: those in the model (training chose them by F1), or
    new ones for ``max_escape_rate``, ``cost_ratio`` or ``best_f1``, which are then kept in the
    model for inspection.

    Returns:
        The evaluation: metrics, tables of images and regions, and its folder.

    Raises:
        DefectkitError: the run or its dataset is missing or does not fit, or an option is bad.
    """
    console = console or Console(stderr=True)
    model = TrainedModel.load(run, device=device)
    dataset = load_dataset_of_run(run, model, data)
    ensure_writable(run / "evaluation" / split)  # Before the work on validation.
    if max_escape_rate is not None or cost_ratio is not None or best_f1:
        model = _choose_thresholds(run, model, dataset, max_escape_rate, cost_ratio, console)
    return evaluate_split(
        run, model, dataset, split, max_escape_rate=max_escape_rate, console=console
    )


def _choose_thresholds(
    run: Path,
    model: TrainedModel,
    dataset: Dataset,
    max_escape_rate: float | None,
    cost_ratio: float | None,
    console: Console,
) -> TrainedModel:
    """Return the model with thresholds chosen again on validation, and keep them in its folder."""
    records = dataset.split("val")
    predictions = predict_with_progress(
        model, records, title="choosing thresholds on val", console=console
    )
    thresholds, warnings = choose_thresholds(
        [prediction.finding.score for prediction in predictions],
        [record.defective for record in records],
        max_escape_rate=max_escape_rate,
        cost_ratio=cost_ratio,
    )
    model = replace_thresholds(run, model, thresholds, warnings)
    console.print("the new thresholds are kept in the model: inspect uses them from now on")
    return model
