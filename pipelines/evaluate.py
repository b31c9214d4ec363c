"""``defectkit evaluate``: metrics, verdicts, overlays and the report of one split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from defectkit.approaches.interface import Approach
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import write_png
from defectkit.deployment.bundle import TrainedModel, set_thresholds
from defectkit.devices import describe_device
from defectkit.errors import DatasetError, ModelError
from defectkit.evaluation.box_metrics import BoxMetrics, ranked_boxes, true_boxes
from defectkit.evaluation.image_metrics import image_metrics
from defectkit.evaluation.operating_points import (
    Thresholds,
    choose_thresholds,
    doubt_escape_rate,
)
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction, predict
from defectkit.evaluation.rates import describe_rate
from defectkit.evaluation.region_matching import COLUMNS as REGION_COLUMNS
from defectkit.evaluation.region_matching import RegionRow, match_regions, region_metrics
from defectkit.evaluation.verdicts import outcome, verdict
from defectkit.files import ensure_writable, read_json, write_csv, write_json
from defectkit.reporting.drawing.overlay import draw_overlay, overlay_name, region_labels
from defectkit.reporting.drawing.plots import plot_region_recall, plot_scores
from defectkit.reporting.html.report import write_report
from defectkit.vocabulary import Split

# What a person should look at first.
URGENCY = {"escape": 0, "overkill": 1, "review": 2, "hit": 3, "pass": 4}


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
) -> dict[str, Any]:
    """Judge a run on a split of its dataset and write ``RUN/evaluation/<split>/``.

    Thresholds come from the validation split: those in the model (training chose them by F1), or
    new ones for ``max_escape_rate``, ``cost_ratio`` or ``best_f1``, which are then kept in the
    model for inspection.

    Returns:
        The content of ``metrics.json``.

    Raises:
        DefectkitError: the run or its dataset is missing or does not fit, or an option is bad.
    """
    console = console or Console(stderr=True)
    model = TrainedModel.load(run, device=device)
    dataset = dataset_of(model, run, data)
    out = ensure_writable(run / "evaluation" / split)
    for old in (out / "overlays").glob("*.png"):
        old.unlink()
    warnings: list[str] = list(model.info.get("warnings", ()))
    thresholds = model.thresholds
    if max_escape_rate is not None or cost_ratio is not None or best_f1:
        thresholds, warnings = _choose_again(
            model, dataset.split("val"), max_escape_rate, cost_ratio, console
        )
        set_thresholds(run, thresholds, warnings)
        console.print("the new thresholds are kept in the model: inspect uses them from now on")
    pixels = PixelMetrics(classes=dataset.classes, threshold=model.approach.pixel_threshold)
    boxes = BoxMetrics(classes=dataset.classes)
    rows: list[dict[str, Any]] = []
    regions: list[RegionRow] = []
    seconds: list[float] = []
    for look in _looks(model, dataset.split(split), f"evaluating {split}", console):
        finding, record = look.finding, look.record
        mask = model.mask(finding)
        pixels.update(finding.score_map, look.truth)
        boxes.update(ranked_boxes(finding), true_boxes(look.truth, dataset.classes))
        regions += match_regions(
            mask,
            look.truth,
            image_id=record.image_id,
            classes=dataset.classes,
            regions=finding.regions,
        )
        seconds.append(look.seconds)
        row = _image_row(look, thresholds, model.approach)
        rows.append(row)
        _write_overlay(out, look, mask, row, thresholds)
    metrics = {
        "image": image_metrics(
            [row["score"] for row in rows], [row["defective"] for row in rows], thresholds
        ),
        "pixel": pixels.result(),
        "region": region_metrics(regions, len(rows)),
        "box": boxes.result(),
        "speed": _speed(seconds, model),
    }
    if max_escape_rate is not None:
        image = metrics["image"]
        doubt = doubt_escape_rate(image["escapes"], image["n_defective"], max_escape_rate)
        warnings += [doubt] if doubt else []
    rows.sort(key=lambda row: (URGENCY[row["outcome"]], _doubt(row), row["image_id"]))
    _write_results(out, metrics, rows, regions, thresholds)
    write_report(
        out,
        metrics=metrics,
        images=rows,
        title=f"{run.name}: {split} split",
        run_info={
            "approach": model.approach.config.approach,
            "network": model.approach.config.model.architecture,
            "dataset": str(dataset.folder),
            "split": split,
            "thresholds": thresholds.rule,
            "best epoch": model.info["epoch"],
            "warnings": warnings,
        },
    )
    _print(console, metrics, rows, thresholds, warnings, out)
    return metrics


def dataset_of(model: TrainedModel, run: Path, data: Path | None) -> Dataset:
    """Return the dataset that a run was trained on: the one it remembers, or ``data``.

    Raises:
        ModelError: no dataset is named, and the run remembers none.
        DatasetError: the dataset is missing, or it is another one.
    """
    if data is None:
        facts = run / "run.json"
        if not facts.is_file():
            raise ModelError(f"{run} is no run (no run.json). Name its dataset with --data.")
        try:
            data = Path(read_json(facts)["dataset_folder"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{facts} is damaged ({error}). Name the dataset with --data."
            ) from error
    dataset = Dataset.load(data)
    if (dataset.fingerprint, dataset.classes) != (
        model.info.get("dataset"),
        model.approach.classes,
    ):
        raise DatasetError(
            f"{data} is not the dataset that {run} was trained on: its images, masks, classes or "
            "splits differ, so its test images may have been trained on. Name the right one with "
            "--data."
        )
    return dataset


def _choose_again(
    model: TrainedModel,
    records: Sequence[ImageRecord],
    max_escape_rate: float | None,
    cost_ratio: float | None,
    console: Console,
) -> tuple[Thresholds, list[str]]:
    looks = _looks(model, records, "choosing thresholds on val", console)
    scores = np.array([look.finding.score for look in looks])
    return choose_thresholds(
        scores,
        np.array([record.defective for record in records]),
        max_escape_rate=max_escape_rate,
        cost_ratio=cost_ratio,
    )


def _looks(
    model: TrainedModel, records: Sequence[ImageRecord], title: str, console: Console
) -> Any:
    # One image at a time, so that the speed is what one image has to wait.
    looks = predict(model.approach, model.network, records)
    return track(
        looks,
        title,
        total=len(records),
        console=console,
        disable=not console.is_terminal,
    )


def _image_row(look: Prediction, thresholds: Thresholds, approach: Approach) -> dict[str, Any]:
    record, finding = look.record, look.finding
    said = verdict(finding.score, thresholds)
    true, found = look.truth.any(axis=0), finding.defect_map >= approach.pixel_threshold
    return {
        "image_id": record.image_id,
        "defective": record.defective,
        "score": finding.score,
        "verdict": said,
        "outcome": outcome(said, record.defective),
        **{
            f"score_{name}": float(score)
            for name, score in zip(approach.classes, finding.class_scores, strict=True)
        },
        # What the pooled Dice is made of.
        "true_pixels": int(np.count_nonzero(true)),
        "found_pixels": int(np.count_nonzero(found)),
        "hit_pixels": int(np.count_nonzero(true & found)),
    }


def _doubt(row: dict[str, Any]) -> float:
    """Small for the worst: an escape of low score, an overkill of high score."""
    score: float = row["score"]
    return score if row["defective"] else -score


def _write_overlay(
    out: Path, look: Prediction, mask: Any, row: dict[str, Any], thresholds: Thresholds
) -> None:
    name = overlay_name(look.record.image_id)
    row["overlay"] = f"{URGENCY[row['outcome']] + 1}-{row['outcome']}-{name}"
    picture = draw_overlay(
        look.image,
        predicted=mask,
        truth=look.truth.max(axis=0) > 0,
        verdict=row["verdict"],
        outcome=row["outcome"],
        score=row["score"],
        threshold_low=thresholds.low,
        threshold_high=thresholds.high,
        image_id=look.record.image_id,
        labels=region_labels(look.finding),
        score_map=look.finding.score_map,
    )
    write_png(out / "overlays" / row["overlay"], picture, compress_level=1)


def _speed(seconds: Sequence[float], model: TrainedModel) -> dict[str, Any]:
    # The first image pays for what is set up once.
    milliseconds = 1000 * np.array(seconds[1:] or seconds)
    return {
        "ms_per_image_median": float(np.median(milliseconds)),
        "ms_per_image_p95": float(np.percentile(milliseconds, 95)),
        "images_per_second": float(1000 / milliseconds.mean()),
        "device": describe_device(model.device),
        "threads": torch.get_num_threads(),
    }


def _write_results(
    out: Path,
    metrics: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    regions: Sequence[RegionRow],
    thresholds: Thresholds,
) -> None:
    columns = [column for column in rows[0] if column != "overlay"]
    cells = ([_cell(row[column]) for column in columns] for row in rows)
    write_csv(out / "images.csv", columns, cells)
    write_csv(out / "regions.csv", REGION_COLUMNS, (region.cells() for region in regions))
    write_json(out / "metrics.json", metrics)  # Last: where it is new, the tables are too.
    plot_scores(
        out / "scores.png",
        [row["score"] for row in rows],
        [row["defective"] for row in rows],
        threshold_low=thresholds.low,
        threshold_high=thresholds.high,
    )
    plot_region_recall(out / "region_recall.png", metrics["region"]["recall_by_area"])


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case float():
            return f"{value:.9g}"  # So many digits give a float32 back as it was.
        case _:
            return value


def _print(
    console: Console,
    metrics: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    thresholds: Thresholds,
    warnings: Sequence[str],
    out: Path,
) -> None:
    image, pixel, region = metrics["image"], metrics["pixel"], metrics["region"]
    box, speed = metrics["box"], metrics["speed"]
    table = Table(title=f"{len(rows)} images", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("what it means", style="dim")

    def row(name: str, value: float | None, meaning: str) -> None:
        table.add_row(name, "-" if value is None else f"{value:.3f}", meaning)

    row("image average precision", image["average_precision"], "defective images ranked above good")
    row("image AUROC", image["auroc"], "the same, as a chance for a random pair")
    row("pixel Dice", pixel["dice"], "overlap of found and true pixels, all images pooled")
    row("pixel average precision", pixel["average_precision"], "the same over all thresholds")
    row("mean IoU", pixel["mean_iou"], "overlap, mean over the defect classes")
    found = region["recall"]
    row("region recall", found["value"], f"{found['found']} of {found['total']} defects found")
    row("false alarms per image", region["false_alarms_per_image"], "regions that are no defect")
    row("box mAP at 50 % overlap", box["map_50"], "boxes ranked by score, as COCO counts them")
    row("ms per image", speed["ms_per_image_median"], f"median, on {speed['device']}")
    console.print(table)
    console.print(describe_rate("escapes", image["escapes"], image["n_defective"]))
    console.print(describe_rate("overkills", image["overkills"], image["n_good"]))
    if thresholds.low < thresholds.high:
        console.print(describe_rate("reviews", image["reviews"], len(rows)))
    console.print(
        f"thresholds {thresholds.low:.4f} and {thresholds.high:.4f}, chosen on validation by "
        f"{thresholds.rule}"
    )
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    console.print(
        f"\noverlays in {out / 'overlays'}, report in {out / 'report.html'}", markup=False
    )
