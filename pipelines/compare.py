"""``defectkit compare``: the metrics of several runs in one table, their findings in a picture."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.files import write_text
from defectkit.process_settings import own_torch_settings
from defectkit.results_folder import write_results
from defectkit.tables import make_table, write_table
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import Device, Split

if TYPE_CHECKING:
    import pandas as pd

    from defectkit.data.dataset import ImageRecord
    from defectkit.deployment.loaded_model import LoadedModel
    from defectkit.evaluation.evaluation_result import EvaluationResult
    from defectkit.reporting.drawing.comparison import ComparedImage, RunFinding

Row = dict[str, Any]
PAGE_FILES = ("comparison.png", "comparison.html")


class InspectedRun(NamedTuple):
    """What the model of a run gives for the comparison, so that no two models are in memory.

    ``facts`` are cells of ``comparison.csv``; ``rule`` is that of the thresholds; ``notes`` are
    about this run alone; ``findings`` has one finding for each example image.
    """

    facts: Row
    rule: str
    notes: list[str]
    findings: "list[RunFinding]"


@own_torch_settings()
def run(
    *runs: str | Path,
    out: str | Path = "comparison",
    split: Split = "test",
    data: str | Path | None = None,
    open_page: bool = False,
    device: Device = "auto",
    console: Console | None = None,
) -> "pd.DataFrame":
    """Compare runs: a table of their metrics, the significant differences, their findings.

    All must have been trained on one dataset. A run whose model, as it is now, was not evaluated
    yet is evaluated. Differences to the best run are significant where resampled groups of images
    show them, after a correction for all that are tested. An exported model is compared as a run
    is, with what it answers at the line.

    Examples:
        defectkit compare runs/*
        defectkit compare runs/patch-1 runs/segment-1 --out patch-or-segment
        defectkit compare runs/segment-1 runs/segment-1/exported

    Args:
        runs: The run folders, or those of exported models.
        out: The folder to write; an earlier comparison there is replaced.
        split: The split to evaluate on.
        data: The dataset folder; by default the one that the first run was trained on.
        open_page: Open the page of the comparison in the browser at the end.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        A frame with a row per run, in the order given, and the columns of ``comparison.csv``.

    Raises:
        ConfigError: No run is named, or one is named twice.
        DatasetError: Two runs were trained or evaluated on different data.
        DefectkitError: A run cannot be loaded or evaluated.
    """
    from defectkit.deployment.run_dataset import check_trained_on_same_data, dataset_of_runs
    from defectkit.evaluation.comparison import (
        compare_results,
        metric_cells,
        warn_of_incomparable,
    )
    from defectkit.reporting.comparison_table import print_comparison
    from defectkit.reporting.drawing.comparison import ComparedImage
    from defectkit.reporting.open_page import open_page as open_in_browser

    console = console or SafeConsole()
    folders = [Path(run) for run in runs]
    names = _name_runs(folders)
    check_trained_on_same_data(folders, names)
    data = Path(data) if data else dataset_of_runs(folders)
    with write_results(out, kind="comparison", head="comparison.csv", names=PAGE_FILES) as written:
        results = [
            _read_or_evaluate(folder, name, split=split, data=data, device=device, console=console)
            for folder, name in zip(folders, names, strict=True)
        ]
        estimates = compare_results(results)
        examples, inspected = _inspect_examples(
            folders, results, split=split, data=data, device=device, console=console
        )
        rows = [
            {
                "run": result.name,
                **one.facts,
                **metric_cells(result, {key: each[index] for key, each in estimates.items()}),
            }
            for index, (result, one) in enumerate(zip(results, inspected, strict=True))
        ]
        notes = warn_of_incomparable(results, [one.rule for one in inspected])
        notes += [note for one in inspected for note in one.notes]
        findings = zip(*(one.findings for one in inspected), strict=True)
        compared = list(map(ComparedImage.of, examples, findings))
        table = make_table(rows)
        write_table(written.folder / "comparison.csv", table)
        _write_page(written.folder, rows, compared, results[0], split=split, notes=notes)
    print_comparison(console, rows, notes, written.out)
    if open_page:
        open_in_browser(written.out / "comparison.html", console)
    return table


def _name_runs(runs: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, or its path where two folders share one."""
    from defectkit.models.model_folder import model_folder

    if not runs:
        raise ConfigError("there is no run to compare. Name one or more, such as runs/segment-1.")
    for folder, times in Counter(model_folder(run).resolve() for run in runs).items():
        if times > 1:
            raise ConfigError(f"the model {folder} is named {times} times. Name each run once.")
    names = [run.resolve().name for run in runs]
    return [
        name if names.count(name) == 1 else run.as_posix()
        for name, run in zip(names, runs, strict=True)
    ]


def _read_or_evaluate(
    run: Path, name: str, *, split: Split, data: Path | None, device: Device, console: Console
) -> "EvaluationResult":
    """Read the evaluation of a run's model; evaluate the model first if there is none of it."""
    from defectkit.deployment.data_to_evaluate import DataToEvaluate
    from defectkit.deployment.evaluate_images import describe_evaluated
    from defectkit.deployment.load_model import load_model
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.evaluation_result import EvaluationResult
    from defectkit.models.model_folder import model_folder, read_model_info
    from defectkit.reporting.evaluation_folder import evaluate_data, open_evaluation

    folder = run / "evaluation" / split
    # A result that is damaged or of an earlier version is made again.
    with suppress(OSError, KeyError, TypeError, ValueError):
        result = EvaluationResult.read(folder, name=name)
        info = read_model_info(model_folder(run))
        if result.metrics["evaluated"] == describe_evaluated(info, split):
            return result
    console.print(f"evaluating [bold]{one_line(name)}[/] on {split}, which was not done yet")
    model = load_model(run, device=device)
    own = DataToEvaluate.of_split(load_dataset_of_run(run, model, data), split)
    with open_evaluation(run, own) as results:
        evaluate_data(results, run, model, own, console=console)
    return EvaluationResult.read(folder, name=name)


def _choose_examples(
    run: Path,
    model: "LoadedModel",
    results: "Sequence[EvaluationResult]",
    *,
    split: Split,
    data: Path | None,
) -> "list[ImageRecord]":
    """Return the images to show, from the dataset of ``run``, whose model is given."""
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.comparison_examples import choose_examples

    dataset = load_dataset_of_run(run, model, data)
    by_id = {record.image_id: record for record in dataset.split(split)}
    classes_of = {image_id: sorted(record.rles) for image_id, record in by_id.items()}
    return [by_id[image_id] for image_id in choose_examples(results, classes_of)]


def _inspect_examples(
    runs: Sequence[Path],
    results: "Sequence[EvaluationResult]",
    *,
    split: Split,
    data: Path | None,
    device: Device,
    console: Console,
) -> "tuple[list[ImageRecord], list[InspectedRun]]":
    """Return the images to show and what each run finds in them, one model in memory at a time."""
    from defectkit.deployment.load_model import load_model
    from defectkit.deployment.out_of_fold import warn_of_trained_images
    from defectkit.reporting.progress import track

    examples: list[ImageRecord] = []
    inspected = []
    progress = track(runs, "inspecting images", console=console)
    for run, result in zip(progress, results, strict=True):
        model = load_model(run, device=device)
        examples = examples or _choose_examples(run, model, results, split=split, data=data)
        all_regions = result.metrics["region"]["all_regions"]
        findings = [_find(model, record, all_regions=all_regions) for record in examples]
        notes = [f"{result.name}: {note}" for note in warn_of_trained_images(model, split)]
        facts = _run_facts(run, model)
        inspected.append(InspectedRun(facts, model.thresholds.rule, notes, findings))
    return examples, inspected


def _find(model: "LoadedModel", record: "ImageRecord", *, all_regions: bool) -> "RunFinding":
    from defectkit.evaluation.verdicts import judge, list_regions
    from defectkit.reporting.drawing.comparison import RunFinding

    finding = model.find(record.read_image(model.channels), record.read_scope())
    judgment = judge(finding.score, model.thresholds, defective=record.defective)
    assert judgment.outcome is not None
    return RunFinding(
        predicted=list_regions(finding, judgment, all_regions=all_regions).mask,
        score=finding.score,
        verdict=judgment.verdict,
        outcome=judgment.outcome,
    )


def _run_facts(run: Path, model: "LoadedModel") -> Row:
    """Return the cells of ``comparison.csv`` about the run's model and its cost."""
    from defectkit.config import WITHOUT_ENCODER
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.cost import count_flops, count_parameters
    from defectkit.training.history import read_history
    from defectkit.training.run_info import training_seconds

    config = model.info["config"]["model"]
    history = run / "history.csv"
    last: Mapping[str, Any] = read_history(history)[-1] if history.is_file() else {}
    cost: Row = {"parameters": None, "flops": None}
    if isinstance(model, TrainedModel):  # else it has no network, but a graph
        cost = {
            "parameters": count_parameters(model.network),
            "flops": count_flops(model.approach, model.network),
        }
    return {
        "approach": model.approach_name,
        "network": model.network_name,
        "encoder": None if config["architecture"] in WITHOUT_ENCODER else config["encoder"],
        "exported": model.exported_as,
        **cost,
        "train_seconds": training_seconds(run) or None,
        "epochs": last.get("epoch"),
    }


def _write_page(
    out: Path,
    rows: Sequence[Row],
    compared: "Sequence[ComparedImage]",
    result: "EvaluationResult",
    *,
    split: Split,
    notes: Sequence[str],
) -> None:
    """Write the picture and the page; ``result`` is any of the evaluations."""
    from defectkit.data.images import write_png
    from defectkit.reporting.comparison_table import describe_model
    from defectkit.reporting.drawing.comparison import draw_comparison
    from defectkit.reporting.html.comparison import comparison_page

    titles = [(row["run"], ", ".join(describe_model(row))) for row in rows]
    picture = draw_comparison(compared, titles)
    write_png(out / "comparison.png", picture)
    title = f"Comparison: {split} split"
    counts = {"images": len(result.image_ids), "groups": len(set(result.groups.tolist()))}
    page = comparison_page(rows, picture, title=title, notes=notes, examples=compared, **counts)
    write_text(out / "comparison.html", page)
