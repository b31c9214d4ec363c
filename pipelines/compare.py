"""``defectkit compare``: several runs on the same images, in one table and one picture."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from defectkit.devices import let_idle_threads_sleep
from defectkit.errors import ConfigError, DatasetError, ModelError
from defectkit.files import ensure_writable, read_json, write_csv, write_text
from defectkit.vocabulary import Device, Split

if TYPE_CHECKING:
    from defectkit.arrays import Image
    from defectkit.data.dataset import ImageRecord
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.comparison import EvaluationResult
    from defectkit.reporting.drawing.comparison import ComparedImage, RunFinding

Row = dict[str, Any]


def run(
    *runs: str | Path,
    out: str | Path = "comparison",
    split: Split = "test",
    data: str | Path | None = None,
    device: Device = "auto",
    console: Console | None = None,
) -> list[Row]:
    """Compare runs: one table, which differences are more than chance, one picture of all.

    All runs must have been trained on one dataset. Those that were not evaluated since they were
    trained are evaluated now.

    Examples:
        defectkit compare runs/*
        defectkit compare runs/patch-1 runs/segment-1 --out patch-or-segment

    Args:
        runs: The run folders.
        out: The folder to write.
        split: The split to evaluate on.
        data: The dataset folder; by default the one of the first run.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        A row per run, in the order given, as in ``comparison.csv``.

    Raises:
        ConfigError: No run, or one twice.
        DatasetError: Two runs were trained or evaluated on different data.
        DefectkitError: Whatever keeps a run from being loaded or evaluated.
    """
    let_idle_threads_sleep()
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.comparison import compare_results, metric_cells
    from defectkit.reporting.drawing.comparison import draw_comparison

    console = console or Console(stderr=True)
    folders = [Path(run) for run in runs]
    data = Path(data) if data else None
    out = Path(out)
    names = _names(folders)
    _check_same_data(folders, names)
    ensure_writable(out)
    results = [
        _judge(run, name, split=split, data=data, device=device, console=console)
        for run, name in zip(folders, names, strict=True)
    ]
    estimates = compare_results(results)

    models = track(
        (TrainedModel.load(run, device=device) for run in folders),
        "looking at the same images",
        total=len(folders),
        console=console,
        disable=not console.is_terminal,
    )
    rows: list[Row] = []
    answers: list[list[RunFinding]] = []
    rules: list[str] = []
    records: list[ImageRecord] = []
    for place, (run, one, model) in enumerate(zip(folders, results, models, strict=True)):
        records = records or _examples(results, load_dataset_of_run(run, model, data).split(split))
        answers.append([_answer(model, record) for record in records])
        rules.append(model.thresholds.rule)
        own = {key: each[place] for key, each in estimates.items()}
        rows.append({"run": one.name, **_facts(run, model), **metric_cells(one, own)})
    notes = _notes(results, rules)
    picture = draw_comparison(
        [
            _example(record, said)
            for record, said in zip(records, zip(*answers, strict=True), strict=True)
        ],
        [(row["run"], f"{row['approach']}, {row['network']}") for row in rows],
    )
    _write(out, rows, picture, title=f"Comparison: {split} split", images=results[0], notes=notes)
    _print(console, rows, notes, out)
    return rows


def _names(runs: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, or its path where two folders share one."""
    from defectkit.deployment.bundle import model_folder

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


def _check_same_data(runs: Sequence[Path], names: Sequence[str]) -> None:
    from defectkit.deployment.bundle import model_folder

    prints = []
    for run in runs:
        path = model_folder(run) / "model.json"
        try:
            prints.append(read_json(path)["dataset"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    for name, fingerprint in zip(names, prints, strict=True):
        if fingerprint != prints[0]:
            raise DatasetError(
                f"{names[0]} and {name} were trained on different data: the images, masks or "
                f"splits of their datasets differ (fingerprints {prints[0][:8]} and "
                f"{str(fingerprint)[:8]}), so their figures do not compare. Train both on one "
                "dataset."
            )


def _judge(
    run: Path, name: str, *, split: Split, data: Path | None, device: Device, console: Console
) -> "EvaluationResult":
    from defectkit.deployment.bundle import TrainedModel, model_folder
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.comparison import EvaluationResult
    from defectkit.reporting.evaluation_folder import evaluate_split

    folder = run / "evaluation" / split
    result, model = folder / "metrics.json", model_folder(run) / "model.json"
    if result.is_file() and result.stat().st_mtime_ns > model.stat().st_mtime_ns:
        # What is damaged or of an earlier version is made anew.
        with suppress(OSError, KeyError, TypeError, ValueError):
            return EvaluationResult.read(folder, name=name)
    console.print(f"[bold]{escape(name)}[/] was not evaluated on {split} since it was trained")
    trained = TrainedModel.load(run, device=device)
    dataset = load_dataset_of_run(run, trained, data)
    evaluate_split(run, trained, dataset, split, console=console)
    return EvaluationResult.read(folder, name=name)


def _examples(
    results: "Sequence[EvaluationResult]", records: "Sequence[ImageRecord]"
) -> "list[ImageRecord]":
    from defectkit.evaluation.examples import choose_examples

    by_id = {record.image_id: record for record in records}
    classes_of = {image_id: sorted(record.rles) for image_id, record in by_id.items()}
    return [by_id[image_id] for image_id in choose_examples(results, classes_of)]


def _answer(model: "TrainedModel", record: "ImageRecord") -> "RunFinding":
    from defectkit.evaluation.verdicts import judge
    from defectkit.reporting.drawing.comparison import RunFinding

    finding = model.find(record.read_image(model.approach.channels))
    judgment = judge(finding.score, model.thresholds, defective=record.defective)
    assert judgment.outcome is not None
    return RunFinding(
        predicted=finding.mask,
        score=finding.score,
        verdict=judgment.verdict,
        outcome=judgment.outcome,
    )


def _example(record: "ImageRecord", answers: "Sequence[RunFinding]") -> "ComparedImage":
    import numpy as np

    from defectkit.reporting.drawing.comparison import ComparedImage

    classes = sorted(record.rles)
    kind = f"class {', '.join(classes)}" if classes else "good"
    return ComparedImage(
        image_id=record.image_id,
        kind=kind,
        image=record.read_image(record.channels),
        truth=np.asarray(record.read_masks(classes).any(axis=0)),
        findings=answers,
    )


def _facts(run: Path, model: "TrainedModel") -> Row:
    """Return what the run is and what it cost."""
    from defectkit.config import WITHOUT_ENCODER
    from defectkit.evaluation.cost import count_flops, count_parameters
    from defectkit.training.history import read_history

    config = model.approach.config
    history = run / "history.csv"
    last: Mapping[str, Any] = read_history(history)[-1] if history.is_file() else {}
    encoder = config.model.encoder
    return {
        "approach": config.approach,
        "network": config.model.architecture,
        "encoder": None if config.model.architecture in WITHOUT_ENCODER else encoder,
        "parameters": count_parameters(model.network),
        "flops": count_flops(model.approach, model.network),
        "train_seconds": last.get("seconds"),
        "epochs": last.get("epoch"),
    }


def _notes(results: "Sequence[EvaluationResult]", rules: Sequence[str]) -> list[str]:
    """Return what keeps figures from being compared, as sentences."""
    from defectkit.evaluation.operating_points import FEW_IMAGES

    notes = []
    places = [str(one.metrics["speed"]["device"]) for one in results]  # a CPU's with its threads
    if len(set(places)) > 1:
        notes.append(
            f"The milliseconds do not compare: {_listed(results, places)}. "
            "Run 'defectkit evaluate' on all of them on one machine."
        )
    if len(set(rules)) > 1:
        notes.append(
            f"Escapes and overkills rest on thresholds of different rules: "
            f"{_listed(results, rules)}. Give all runs one with 'defectkit evaluate'."
        )
    image = results[0].metrics["image"]
    if min(image["n_defective"], image["n_good"]) < FEW_IMAGES:
        notes.append(
            f"{image['n_defective']} defective and {image['n_good']} good images are few: "
            "most differences between runs may be chance."
        )
    return notes


def _listed(results: "Sequence[EvaluationResult]", values: Sequence[str]) -> str:
    return "; ".join(f"{one.name}: {value}" for one, value in zip(results, values, strict=True))


def _write(
    out: Path,
    rows: Sequence[Row],
    picture: "Image",
    *,
    title: str,
    images: "EvaluationResult",
    notes: Sequence[str],
) -> None:
    from defectkit.data.images import write_png
    from defectkit.reporting.html.comparison import comparison_page

    cells = ([int(c) if isinstance(c, bool) else c for c in row.values()] for row in rows)
    write_csv(out / "comparison.csv", list(rows[0]), cells)
    write_png(out / "comparison.png", picture)
    count = len(images.image_ids)
    page = comparison_page(rows, picture, title=title, images=count, notes=notes)
    write_text(out / "comparison.html", page)


def _print(console: Console, rows: Sequence[Row], notes: Sequence[str], out: Path) -> None:
    from defectkit.reporting.comparison_table import console_table

    console.print(console_table(rows))
    if len(rows) > 1:
        console.print("[bold]bold[/]: best  ▼: behind the best by more than chance")
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    console.print(
        f"\ntable in {out / 'comparison.csv'}, page in {out / 'comparison.html'}, "
        f"picture in {out / 'comparison.png'}",
        markup=False,
    )
