"""What ``evaluate`` prints: the main metrics with their meaning, rates, thresholds and warnings."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from defectkit.deployment.evaluate_images import Evaluation
from defectkit.evaluation.rates import describe_rate
from defectkit.evaluation.thresholds import Thresholds
from defectkit.reporting.confusion_table import confusion_table
from defectkit.terminal import one_line

MAX_PRINTED_CLASSES = 8
"""Of more classes the table is too wide for a terminal; the report has it."""


def print_evaluation(
    console: Console, evaluation: Evaluation, thresholds: Thresholds, warnings: Sequence[str]
) -> None:
    """Print the summary of an evaluation."""
    image = evaluation.metrics["image"]
    console.print(_table(evaluation))
    confusion = evaluation.metrics["class_confusion"]
    if confusion and 1 < len(confusion["classes"]) <= MAX_PRINTED_CLASSES:
        console.print(confusion_table(confusion))
    console.print(describe_rate("escapes", image["escapes"], image["n_defective"]))
    console.print(describe_rate("overkills", image["overkills"], image["n_good"]))
    if thresholds.low < thresholds.high:
        console.print(describe_rate("reviews", image["reviews"], len(evaluation.images)))
        chosen = f"thresholds {thresholds.low:.4f} and {thresholds.high:.4f}"
    else:
        chosen = f"threshold {thresholds.low:.4f}"
    console.print(f"{chosen}, chosen on validation by {thresholds.rule}")
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {one_line(warning)}")
    folder = evaluation.folder
    told = f"overlays in {folder / 'overlays'}, report in {folder / 'report.html'}"
    console.print(f"\n{one_line(told)}")


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
            f"{precision['count']} of {precision['total']} listed regions right",
        ),
        (
            "false alarms per image",
            region["false_alarms_per_image"],
            "listed regions without a true pixel",
        ),
        (
            "... per good image",
            region["false_alarms_per_good_image"],
            f"in {on_good['count']} of {on_good['total']} good images",
        ),
        ("box mAP at 50 % overlap", box["map_50"], "boxes ranked by score, as COCO counts them"),
        ("ms per image", speed["ms_per_image_median"], f"median, on {speed['device']}"),
    )
    table = Table(title=f"{len(evaluation.images)} images", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("what it means", style="dim")
    for name, value, meaning in rows:
        table.add_row(name, "-" if value is None else f"{value:.3f}", meaning)
    return table
