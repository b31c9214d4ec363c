"""What ``evaluate`` prints: the main metrics with their meaning, rates, thresholds and warnings."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.evaluate_images import Evaluation
from defectkit.deployment.exportable import exportable
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ExportError
from defectkit.evaluation.detection_by_size import DetectionBySize
from defectkit.evaluation.drift import describe_drift
from defectkit.evaluation.rates import describe_rate
from defectkit.evaluation.thresholds import Thresholds
from defectkit.reporting.confusion_table import confusion_table, describe_mixups
from defectkit.terminal import one_line

MAX_PRINTED_CLASSES = 8
"""Of more classes the table is too wide for a terminal; the report has it."""


def print_evaluation(
    console: Console,
    evaluation: Evaluation,
    thresholds: Thresholds,
    warnings: Sequence[str],
    *,
    overlays: str = "overlays",
    pixel_pitch: float | None = None,
    lot: str = "",
    export: str = "",
) -> None:
    """Print the summary of an evaluation.

    ``overlays`` says which there are, "" where none is; ``pixel_pitch`` is the side of a pixel in
    mm; ``lot`` names a dataset that the model was not trained on; ``export`` is that of
    ``export_command``.
    """
    image = evaluation.metrics["image"]
    if lot:
        console.print(f"{one_line(lot)}: not the dataset that the model was trained on")
    console.print(_table(evaluation))
    if splits := evaluation.metrics.get("by_split"):
        console.print(_table_of_splits(splits))
    confusion = evaluation.metrics["class_confusion"]
    if confusion and 1 < len(confusion["classes"]) <= MAX_PRINTED_CLASSES:
        console.print(confusion_table(confusion))
    console.print(describe_rate("escapes", image["escapes"], image["n_defective"]))
    console.print(describe_rate("overkills", image["overkills"], image["n_good"]))
    if mixups := describe_mixups(confusion):
        console.print(one_line(mixups), highlight=False)
    if thresholds.low < thresholds.high:
        console.print(describe_rate("reviews", image["reviews"], len(evaluation.images)))
        chosen = f"thresholds {thresholds.low:.4f} and {thresholds.high:.4f}"
    else:
        chosen = f"threshold {thresholds.low:.4f}"
    console.print(f"{chosen}, chosen on validation {describe_rule(thresholds.rule)}")
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {one_line(warning)}")
    if told := describe_detection(evaluation.metrics["detection"]["by_area"], pixel_pitch):
        console.print(told)
    if lot and (drift := evaluation.metrics["drift"]["against_validation"]):
        console.print(describe_drift(drift))
    folder = evaluation.folder
    drawn = f"{overlays} in {folder / 'overlays'}, " if overlays else ""
    told = f"{drawn}report in {folder / 'report.html'}"
    console.print(f"\n{one_line(told)}")
    if export:
        console.print(f"next, for less time per image: {one_line(export)}")


def export_command(run: Path, model: LoadedModel) -> str:
    """Return the command that exports the model of ``run``, "" where that saves no time.

    That is: of a model that is exported already, that computes on a GPU, or that cannot be
    exported.
    """
    if not isinstance(model, TrainedModel) or model.device.type != "cpu":
        return ""
    if (run / "exported").exists():
        return ""
    try:
        exportable(model.approach, model.network)
    except ExportError:
        return ""
    return f"defectkit export {shlex.quote(str(run))}"


def describe_rule(rule: str) -> str:
    """Return in words by which rule thresholds were chosen.

    >>> describe_rule("f1"), describe_rule("cost_ratio=50")
    ('for the best F1 of the verdicts', 'by cost_ratio=50')
    """
    return "for the best F1 of the verdicts" if rule == "f1" else f"by {rule}"


def describe_detection(detection: DetectionBySize, pixel_pitch: float | None = None) -> str:
    """Return from which area on defects are found nine times in ten, "" if there are no defects.

    ``pixel_pitch`` is the side of a pixel in mm.

    >>> describe_detection({"n": 90, "a90": 400.0, "a90_95": None, "missing": "too few."})
    'defects of 400 pixels or more are found with 90 %; too few.'
    """
    if not detection["n"]:
        return ""
    if detection["a90"] is None:
        missing = detection["missing"]
        return f"the area from which 90 % of the defects are found cannot be told: {missing}"
    told = f"defects of {_area(detection['a90'], pixel_pitch)} or more are found with 90 %"
    if detection["a90_95"] is None:
        return f"{told}; {detection['missing']}"
    return f"{told}, with a confidence of 95 % those of {_area(detection['a90_95'], pixel_pitch)}"


def _area(pixels: float, pixel_pitch: float | None) -> str:
    in_mm = f" ({pixels * pixel_pitch**2:.3g} mm²)" if pixel_pitch else ""
    return f"{pixels:,.0f} pixels{in_mm}"


def _table_of_splits(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="by split", title_justify="left")
    table.add_column("split")
    for name in ("average precision", "escapes", "overkills", "reviews", "images"):
        table.add_column(name, justify="right")
    for split, image in splits.items():
        precision = image["average_precision"]
        n_defective, n_good = image["n_defective"], image["n_good"]
        table.add_row(
            split,
            "-" if precision is None else f"{precision:.3f}",
            f"{image['escapes']} of {n_defective}",
            f"{image['overkills']} of {n_good}",
            str(image["reviews"]),
            str(n_defective + n_good),
        )
    return table


def _describe_classes(count: int | None) -> str:
    if count is None:
        return "of the classes, which the approach does not tell apart"
    named = "1 class that is" if count == 1 else f"{count} classes that are"
    return f"overlap, mean over the {named} labeled or found"


def _table(evaluation: Evaluation) -> Table:
    image, pixel, region, box, speed = (
        evaluation.metrics[name] for name in ("image", "pixel", "region", "box", "speed")
    )
    recall, precision = region["recall"], region["precision"]
    on_good = region["good_images_with_false_alarms"]
    rows: tuple[tuple[str, float | None, str], ...] = (
        ("image average precision", image["average_precision"], "defective images rank above good"),
        ("image AUROC", image["auroc"], "chance that a random pair is ranked correctly"),
        ("pixel Dice", pixel["dice"], "overlap of found and true pixels, all images pooled"),
        (
            "pixel average precision",
            pixel["average_precision"],
            "defect pixels ranked above others",
        ),
        ("mean IoU", pixel["mean_iou"], _describe_classes(pixel["mean_iou_classes"])),
        ("region recall", recall["value"], f"{recall['found']} of {recall['total']} defects found"),
        (
            "region precision",
            precision["value"],
            f"{precision['count']} of {precision['total']} listed regions lie on a defect",
        ),
        (
            "false alarms per image",
            region["false_alarms_per_image"],
            "listed regions that touch no defect",
        ),
        (
            "... per good image",
            region["false_alarms_per_good_image"],
            f"in {on_good['count']} of {on_good['total']} good images",
        ),
        ("box mAP at 50 % overlap", box["map_50"], "boxes of listed regions, as COCO counts them"),
        ("ms per image", speed["ms_per_image_median"], f"median, on {speed['device']}"),
    )
    table = Table(title=f"{len(evaluation.images)} images", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("what it means", style="dim")
    for name, value, meaning in rows:
        table.add_row(name, "-" if value is None else f"{value:.3f}", meaning)
    return table
