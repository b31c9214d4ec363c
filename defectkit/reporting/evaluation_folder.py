"""``RUN/evaluation/…/``: tables, metrics, overlays, plots and the report of an evaluation."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit.deployment.data_to_evaluate import DataToEvaluate
from defectkit.deployment.evaluate_images import (
    Evaluation,
    Judged,
    JudgedImage,
    by_split,
    summarize_images,
)
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.evaluation.drift import warn_of_drift
from defectkit.evaluation.evaluation_result import TABLES
from defectkit.evaluation.operating_points import rate_warning
from defectkit.evaluation.promise import ErrorKind
from defectkit.evaluation.threshold_rule import BEST_F1, ThresholdRule
from defectkit.files import json_text, write_json
from defectkit.models.model_folder import warnings_of
from defectkit.reporting.drawing.plots import plot_scores
from defectkit.reporting.drawing.size_plot import plot_region_recall
from defectkit.reporting.evaluation_pictures import (
    describe_overlays,
    evaluated_overlay_name,
    picture_files,
)
from defectkit.reporting.evaluation_progress import (
    WAY_ON,
    EvaluationProgress,
    describe_evaluation,
    files_in_progress,
    judge_with_progress,
)
from defectkit.reporting.evaluation_summary import export_command, print_evaluation
from defectkit.reporting.evaluation_tables import IMAGES, GrowingTables, write_tables
from defectkit.reporting.html.page_images import PageImage
from defectkit.reporting.html.report import ReportedRun, write_report
from defectkit.reporting.stopped import tell_if_stopped
from defectkit.results_folder import Results, write_results
from defectkit.seals import add_seal, hash_tables
from defectkit.vocabulary import Overlays

if TYPE_CHECKING:
    import pandas as pd

METRICS_FILE = "metrics.json"
EVALUATION_FILES = ("images.csv", "regions.csv", "scores.png", "region_recall.png", "report.html")


def evaluation_folder(run: Path, data: DataToEvaluate) -> Path:
    """Return the folder of an evaluation in its run."""
    return run / "evaluation" / data.folder


def open_evaluation(
    run: Path, data: DataToEvaluate, *, resume: bool = False
) -> AbstractContextManager[Results]:
    """Lock the folder of an evaluation in ``run``; one that is complete replaces what is there.

    What is called as a file of the evaluation is replaced, also where it was damaged or copied from
    another run; other files stay. With ``resume`` so does what an evaluation that did not end left.

    Raises:
        OutputError: another process evaluates there, or the folder cannot be written.
    """
    return write_results(
        evaluation_folder(run, data),
        kind="evaluation",
        head=METRICS_FILE,
        names=files_in_progress([]),
        adopt=[METRICS_FILE, *EVALUATION_FILES, *picture_files(data.records)],
        keep=resume,
        otherwise="",
    )


def evaluate_data(
    results: Results,
    run: Path,
    model: LoadedModel,
    data: DataToEvaluate,
    *,
    rule: ThresholdRule = BEST_F1,
    all_regions: bool = False,
    overlays: Overlays = "flagged",
    resume: bool = False,
    console: Console,
) -> Evaluation:
    """Evaluate a run's model on data, write the files of the evaluation and print a summary.

    Args:
        results: of ``open_evaluation``.
        run: the run's folder.
        model: the run's model, with its thresholds.
        data: what to evaluate on.
        rule: what the thresholds were chosen by; if the result does not show the escape rate that
            it promises, there is a warning.
        all_regions: whether regions of images with the verdict good are listed too.
        overlays: which images are drawn.
        resume: whether to go on behind the last image that an evaluation which did not end kept.
        console: where to report.

    Raises:
        ConfigError: what is to be continued is another evaluation, or damaged.
        DatasetError: an image was changed.
        ImageError: an image cannot be read.
        OutputError: the folder cannot be written.
    """
    same = describe_evaluation(model, data, all_regions=all_regions, overlays=overlays)
    places = range(len(data.records))
    progress = EvaluationProgress(results, model, data, places, overlays=overlays)
    progress.begin(same, resume=resume, console=console)
    with tell_if_stopped(console, results, IMAGES, way_on=WAY_ON):
        with progress, GrowingTables(results.folder) as tables:
            for row, matches in progress.kept:
                tables.add(row, matches)

            def write(judged: JudgedImage) -> None:
                progress.add(judged)
                tables.add(judged.row, judged.matches)

            judge_with_progress(
                progress,
                model,
                all_regions=all_regions,
                on_image=write,
                title=f"evaluating {data.folder}",
                console=console,
            )
        progress.check_pictures()
        return write_evaluation(
            results,
            run,
            model,
            data,
            progress.judged,
            page_images=progress.pictures.page_images,
            n_overlays=progress.pictures.drawn,
            rule=rule,
            all_regions=all_regions,
            on_written=progress.end,
            console=console,
        )


def write_evaluation(
    results: Results,
    run: Path,
    model: LoadedModel,
    data: DataToEvaluate,
    judged: Judged,
    *,
    page_images: Mapping[str, PageImage],
    n_overlays: int,
    rule: ThresholdRule = BEST_F1,
    all_regions: bool,
    on_written: Callable[[], None] = lambda: None,
    console: Console,
) -> Evaluation:
    """Write the files of an evaluation whose images are judged and drawn; print a summary.

    Args:
        results: of ``open_evaluation``; it has the pictures.
        run: the run's folder.
        model: the run's model, with its thresholds.
        data: what was evaluated on.
        judged: all of its images.
        page_images: what the page shows of each image, by its id.
        n_overlays: number of overlays.
        rule: what the thresholds were chosen by.
        all_regions: whether regions of images with the verdict good are listed too.
        on_written: called when all files are written, before pictures that the page has taken in
            are removed: no evaluation goes on without these.
        console: where to report.

    Raises:
        OutputError: the folder cannot be written.
    """
    evaluation = summarize_images(model, judged, folder=results.out, all_regions=all_regions)
    if data.lot is None and data.split == "all":
        evaluation.metrics["by_split"] = by_split(evaluation.images, model.thresholds)
    drift = evaluation.metrics["drift"]["against_validation"] or {}
    warnings = [*warnings_of(model.info), *data.warnings(model), *warn_of_drift(drift)]
    warnings += _warn_of_rates(evaluation.images, rule)
    _write_files(evaluation, results.folder, data.describe(model.info))
    write_report(
        results.folder,
        metrics=evaluation.metrics,
        images=_report_rows(evaluation.images),
        run=_reported_run(run, model, data, warnings),
        regions=_records(evaluation.regions),
        page_images=page_images,
        on_written=on_written,
    )
    print_evaluation(
        console,
        evaluation,
        model.thresholds,
        warnings,
        overlays=describe_overlays(n_overlays, len(evaluation.images)),
        pixel_pitch=data.dataset.info.get("pixel_pitch"),
        lot="" if data.lot is None else data.title,
        export=export_command(run, model),
    )
    return evaluation


def _warn_of_rates(images: "pd.DataFrame", rule: ThresholdRule) -> Iterator[str]:
    """Yield which of the promised rates the result does not show."""
    defective = images["defective"].astype(bool)
    promised: list[tuple[ErrorKind, float | None, pd.DataFrame]] = [
        ("escape", rule.max_escape_rate, images[defective]),
        ("overkill", rule.max_overkill_rate, images[~defective]),
    ]
    for kind, rate, own in promised:
        if rate is not None:
            errors = own.loc[own["outcome"] == kind, "group"].nunique()
            n = own["group"].nunique()
            if warning := rate_warning(errors, n, rate, kind, rule.confidence):
                yield warning


def _write_files(evaluation: Evaluation, folder: Path, evaluated: Mapping[str, Any]) -> None:
    metrics, images = evaluation.metrics, evaluation.images
    write_tables(folder, evaluation)
    sealed = {**metrics, "evaluated": evaluated, "tables": hash_tables(folder, TABLES)}
    write_json(folder / METRICS_FILE, add_seal(sealed))
    plot_scores(
        folder / "scores.png",
        images["score"].tolist(),
        images["defective"].tolist(),
        threshold_low=metrics["image"]["threshold_low"],
        threshold_high=metrics["image"]["threshold_high"],
    )
    plot_region_recall(
        folder / "region_recall.png",
        metrics["region"]["recall_by_area"],
        metrics["detection"]["by_area"],
    )


def _report_rows(images: "pd.DataFrame") -> list[dict[Any, Any]]:
    return [
        {**row, "overlay": evaluated_overlay_name(row["image_id"], row["outcome"])}
        for row in _records(images)
    ]


def _records(table: "pd.DataFrame") -> list[dict[Any, Any]]:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    return rows


def _reported_run(
    run: Path, model: LoadedModel, data: DataToEvaluate, warnings: Sequence[str]
) -> ReportedRun:
    info = model.info
    shown = {name: info.get(name) for name in ("run", "dataset", "sha256", "tuning", "thresholds")}
    return ReportedRun(
        title=f"{run.name}: {data.title}",
        rule=model.thresholds.rule,
        command=f"defectkit evaluate {shlex.quote(str(run))}",
        facts={
            "approach": model.approach_name,
            "network": model.network_name,
            "dataset": str(data.dataset.folder),
            "split": data.split,
            "another lot": data.lot is not None,
            "threshold_low": f"{model.thresholds.low:.9g}",
            "threshold_high": f"{model.thresholds.high:.9g}",
            "thresholds": model.thresholds.rule,
            "epoch": info["epoch"],
        },
        warnings=warnings,
        settings={
            "Configuration": json_text(info["config"]),
            "Versions": json_text(info.get("versions", {})),
            "Model, with hashes": json_text(shown),
        },
        folder=run,
        pixel_pitch=data.dataset.info.get("pixel_pitch"),
    )
