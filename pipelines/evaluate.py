"""``defectkit evaluate``: metrics, verdicts, overlays and the report of one split."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.process_settings import own_torch_settings
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import Device, EvaluatedSplit, Overlays

if TYPE_CHECKING:
    from defectkit.deployment.data_to_evaluate import DataToEvaluate
    from defectkit.deployment.evaluate_images import Evaluation
    from defectkit.deployment.loaded_model import LoadedModel
    from defectkit.evaluation.threshold_rule import ThresholdRule


@own_torch_settings()
def run(
    run: str | Path,
    *,
    split: EvaluatedSplit | None = None,
    data: str | Path | None = None,
    map_class: Sequence[str] = (),
    max_escape_rate: float | None = None,
    confidence: float = 0.95,
    max_review_rate: float | None = None,
    max_overkill_rate: float | None = None,
    cost_ratio: float | None = None,
    prevalence: float | None = None,
    best_f1: bool = False,
    all_regions: bool = False,
    overlays: Overlays = "flagged",
    open_page: bool = False,
    device: Device = "auto",
    resume: bool = False,
    shard: str | None = None,
    console: Console | None = None,
) -> "Evaluation":
    """Evaluate a run on labeled images: metrics, verdicts, overlays, report.html.

    Thresholds come from the validation split, never from the test split. New ones,
    chosen by an escape rate, a cost ratio or the best F1, are saved in the model for inspect.

    An escape rate is promised: with the given confidence no more of the groups of images have an
    escape, on images like those of validation. Where these are too few for that, none of them may
    escape, and a warning says which rate they support.

    Regions of images with the verdict good are not listed, so what is missed there was not found.
    Rows of images.csv and regions.csv are on disk as they come. Whatever ends an evaluation, also
    kill -9, --resume continues it behind the images that are done, of which those of the last ten
    seconds may be done again; the result is that of one that was not interrupted, but for times.

    With --data and a dataset that the run was not trained on, it is evaluated on another lot. How
    far scores and gray levels have drifted from those of validation is told.

    Several processes or machines share the work with --shard: each evaluates its part of the images
    into the folder shards/ of the evaluation, and 'defectkit merge RUN/evaluation/SPLIT' makes of
    all parts what one process writes.

    Examples:
        defectkit evaluate runs/segment-1
        defectkit evaluate runs/segment-1 --max-escape-rate 0.01
        defectkit evaluate runs/segment-1 --max-escape-rate 0.05 --max-review-rate 0.02
        defectkit evaluate runs/segment-1 --max-escape-rate 0.05 --max-overkill-rate 0.1
        defectkit evaluate runs/segment-1 --cost-ratio 50 --prevalence 0.005
        defectkit evaluate runs/segment-1 --data lot_7 --map-class scratches=scratch
        defectkit evaluate runs/segment-1 --open
        defectkit evaluate runs/segment-1 --split all --resume
        seq 4 | xargs -P 4 -I{} defectkit evaluate runs/segment-1 --shard {}/4

    Args:
        run: The run folder, or with --data an exported model.
        split: The split to evaluate on, or all images together; by default test, and all of
            another lot.
        data: The dataset folder; by default the one that the run was trained on.
        map_class: That a class of another lot counts as a class of the model; may be repeated.
        max_escape_rate: The fraction of defective images called good that is promised not to be
            exceeded.
        confidence: The probability with which that promise holds.
        max_review_rate: With an escape rate, the fraction of images that people may review; by
            default all between the promise and the threshold of the best F1 score.
        max_overkill_rate: With an escape rate, the fraction of good images called defective that
            is promised not to be exceeded; people review the images between both promises.
        cost_ratio: Cost of an escape, in overkills.
        prevalence: The fraction of defective images at the line, by which F1, cost and reviews are
            weighed; by default that of the validation images.
        best_f1: Choose the threshold with the best F1 again.
        all_regions: List the regions of images with the verdict good too, and count them.
        overlays: Which images to draw: flagged are escapes, overkills, those to review, and a
            sample of the others, always the same 50 of each outcome.
        open_page: Open the report in the browser at the end.
        device: Where to compute; auto takes a GPU if there is one.
        resume: Continue an interrupted evaluation of the same images with the same model and
            options, on the same device; where there is none, begin.
        shard: Evaluate only a part of the images: 2/4 is the second of four parts.
        console: Where to report; by default the standard error stream.

    Returns:
        The evaluation: metrics, a table of images, one of regions, and the folder with its files.
        Of a shard it is that of its own images, without metrics if there are none.

    Raises:
        DefectkitError: The run or its dataset is missing or does not fit, an option is bad, or what
            is to be continued is another evaluation.
    """
    # Long: the command's parameters are declared here alone, and imports that would slow down its
    # help stand here; the steps themselves are short.
    from defectkit.deployment.data_to_evaluate import load_data_to_evaluate
    from defectkit.deployment.load_model import load_model
    from defectkit.evaluation.threshold_rule import ThresholdRule
    from defectkit.reporting.evaluation_folder import evaluate_data, open_evaluation
    from defectkit.reporting.evaluation_progress import describe_evaluation
    from defectkit.reporting.evaluation_shards import (
        evaluate_shard,
        finished_shard,
        open_shard,
    )
    from defectkit.reporting.open_page import open_page as open_in_browser
    from defectkit.shards import Shard

    console = console or SafeConsole()
    rule = ThresholdRule(
        max_escape_rate=max_escape_rate,
        confidence=confidence,
        max_review_rate=max_review_rate,
        max_overkill_rate=max_overkill_rate,
        cost_ratio=cost_ratio,
        prevalence=prevalence,
        best_f1=best_f1,
    )
    part = None if shard is None else Shard.parse(shard)
    if part:
        _refuse_in_shards(rule, open_page=open_page)
    run = Path(run)
    model = load_model(run, device=device)
    evaluated = load_data_to_evaluate(
        run, model, data=Path(data) if data else None, split=split, map_class=map_class
    )
    if rule.is_asked:
        _refuse_another_lot(run, evaluated)
    if part:
        same = describe_evaluation(model, evaluated, all_regions=all_regions, overlays=overlays)
        if resume and (done := finished_shard(run, model, evaluated, part, same, console)):
            return done
        with open_shard(run, evaluated, part, resume=resume) as results:
            return evaluate_shard(
                results,
                run,
                model,
                evaluated,
                shard=part,
                same=same,
                all_regions=all_regions,
                overlays=overlays,
                options={"data": str(data or ""), "map_class": list(map_class)},
                resume=resume,
                console=console,
            )
    with open_evaluation(run, evaluated, resume=resume) as results:
        if rule.is_asked:
            model = _choose_thresholds(run, model, evaluated, rule, console)
        evaluation = evaluate_data(
            results,
            run,
            model,
            evaluated,
            rule=rule,
            all_regions=all_regions,
            overlays=overlays,
            resume=resume,
            console=console,
        )
    if open_page:
        open_in_browser(evaluation.folder / "report.html", console)
    return evaluation


def _refuse_in_shards(rule: "ThresholdRule", *, open_page: bool) -> None:
    """Raise ConfigError where a shard is to do what only a whole evaluation can."""
    if rule.is_asked:
        raise ConfigError(
            "thresholds are chosen for all shards at once. Choose them first, by an evaluation "
            "without --shard, such as with --split val; then evaluate the shards with these."
        )
    if open_page:
        raise ConfigError("a shard has no report. Leave out --open; the merge writes the report.")


def _refuse_another_lot(run: Path, data: "DataToEvaluate") -> None:
    """Raise ConfigError where thresholds would be chosen for images of another lot."""
    if data.lot is not None:
        folder = data.dataset.folder
        raise ConfigError(
            f"thresholds are chosen on validation images of the dataset that {run} was trained on, "
            f"not on another lot. Choose them first, without --data {folder}; then evaluate that."
        )


def _choose_thresholds(
    run: Path,
    model: "LoadedModel",
    data: "DataToEvaluate",
    rule: "ThresholdRule",
    console: Console,
) -> "LoadedModel":
    """Return the model with thresholds chosen again on validation, and keep them in its folder.

    ``data`` is what is evaluated next, of the dataset that the model was trained on.
    """
    from defectkit.deployment.bundle import replace_thresholds
    from defectkit.evaluation.operating_points import choose_thresholds
    from defectkit.reporting.evaluation_progress import predict_with_progress
    from defectkit.training.runs import hold_run

    records = data.dataset.split("val")
    with hold_run(run):  # before the work, which a training would make useless
        if model.out_of_fold:  # the model was trained on validation
            scores, defective, groups = model.out_of_fold
        else:
            predictions = predict_with_progress(
                model, records, title="choosing thresholds on val", console=console
            )
            scores = [prediction.finding.score for prediction in predictions]
            defective = [record.defective for record in records]
            groups = [record.group for record in records]
        thresholds, warnings = choose_thresholds(scores, defective, rule, groups=groups)
        model = replace_thresholds(run, model, thresholds, warnings)
    console.print("the new thresholds are saved in the model; inspect uses them from now on")
    evaluated = sorted(path.parent.name for path in run.glob("evaluation/*/metrics.json"))
    if earlier := ", ".join(name for name in evaluated if name != data.folder):
        console.print(f"the evaluation of {earlier} has the earlier thresholds: evaluate it again")
    return model
