"""``defectkit evaluate``: metrics, verdicts, overlays and the report of one split."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.process_settings import own_torch_settings
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import Device, Split

if TYPE_CHECKING:
    from defectkit.data.dataset import Dataset
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.evaluate_images import Evaluation


@own_torch_settings()
def run(
    run: str | Path,
    *,
    split: Split = "test",
    data: str | Path | None = None,
    max_escape_rate: float | None = None,
    cost_ratio: float | None = None,
    best_f1: bool = False,
    all_regions: bool = False,
    device: Device = "auto",
    console: Console | None = None,
) -> "Evaluation":
    """Evaluate a run on a split, by default test: metrics, verdicts, overlays, report.html.

    Thresholds come from the validation split, never from the test split. New ones,
    chosen by an escape rate, a cost ratio or the best F1, are saved in the model for inspect.
    Regions of images with the verdict good are not listed, so what is missed there was not found.

    Examples:
        defectkit evaluate runs/segment-1
        defectkit evaluate runs/segment-1 --max-escape-rate 0.01
        defectkit evaluate runs/segment-1 --cost-ratio 50

    Args:
        run: The run folder.
        split: The split to evaluate on.
        data: The dataset folder; by default the one that the run was trained on.
        max_escape_rate: Maximum fraction of defective images that are called good.
        cost_ratio: Cost of an escape, in overkills.
        best_f1: Choose the threshold with the best F1 again.
        all_regions: List the regions of images with the verdict good too, and count them.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        The evaluation: metrics, a table of images, one of regions, and the folder with its files.

    Raises:
        DefectkitError: The run or its dataset is missing or does not fit, or an option is bad.
    """
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.operating_points import check_options
    from defectkit.reporting.evaluation_folder import evaluate_split, open_evaluation

    console = console or SafeConsole()
    check_options(max_escape_rate, cost_ratio, best_f1=best_f1)
    run = Path(run)
    model = TrainedModel.load(run, device=device)
    dataset = load_dataset_of_run(run, model, Path(data) if data else None)
    with open_evaluation(run, dataset, split) as results:
        if max_escape_rate is not None or cost_ratio is not None or best_f1:
            model = _choose_thresholds(
                run, model, dataset, split, max_escape_rate, cost_ratio, console
            )
        return evaluate_split(
            results,
            run,
            model,
            dataset,
            split,
            max_escape_rate=max_escape_rate,
            all_regions=all_regions,
            console=console,
        )


def _choose_thresholds(
    run: Path,
    model: "TrainedModel",
    dataset: "Dataset",
    split: Split,
    max_escape_rate: float | None,
    cost_ratio: float | None,
    console: Console,
) -> "TrainedModel":
    """Return the model with thresholds chosen again on validation, and keep them in its folder.

    ``split`` is what is evaluated next.
    """
    from defectkit.deployment.bundle import replace_thresholds
    from defectkit.evaluation.operating_points import choose_thresholds
    from defectkit.reporting.evaluation_folder import predict_with_progress
    from defectkit.training.runs import hold_run

    records = dataset.split("val")
    with hold_run(run):  # before the work, which a training would make useless
        if model.out_of_fold:  # the model was trained on validation
            scores, defective = model.out_of_fold
        else:
            predictions = predict_with_progress(
                model, records, title="choosing thresholds on val", console=console
            )
            scores = [prediction.finding.score for prediction in predictions]
            defective = [record.defective for record in records]
        thresholds, warnings = choose_thresholds(
            scores,
            defective,
            max_escape_rate=max_escape_rate,
            cost_ratio=cost_ratio,
        )
        model = replace_thresholds(run, model, thresholds, warnings)
    console.print("the new thresholds are saved in the model; inspect uses them from now on")
    evaluated = sorted(path.parent.name for path in run.glob("evaluation/*/metrics.json"))
    if earlier := ", ".join(name for name in evaluated if name != split):
        console.print(f"the evaluation of {earlier} has the earlier thresholds: evaluate it again")
    return model
