"""A model judged on labeled images: ``Evaluation``, the content of an evaluation's files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from defectkit.deployment.loaded_model import LoadedModel
from defectkit.evaluation.box_metrics import BoxMetrics, JudgedBoxes, judge_boxes
from defectkit.evaluation.drift import (
    MEASURES,
    Difference,
    Levels,
    compare_levels,
    measure_image,
)
from defectkit.evaluation.image_metrics import image_metrics
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction
from defectkit.evaluation.ranked_boxes import ranked_boxes
from defectkit.evaluation.region_matching import (
    COLUMNS,
    RegionMatch,
    class_confusion,
    detection_metrics,
    match_regions,
    region_metrics,
)
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import Judgment, judge, list_regions
from defectkit.seals import seal_of
from defectkit.tables import make_table
from defectkit.vocabulary import SPLITS, EvaluatedSplit

if TYPE_CHECKING:
    import pandas as pd

URGENCY = {"escape": 0, "overkill": 1, "review": 2, "hit": 3, "pass": 4}
"""The order of the outcomes: what a person should see first."""


COUNTED = (
    *("n_defective", "escapes", "escape_rate", "n_good", "overkills", "overkill_rate"),
    *("reviews", "average_precision"),
)
"""The image metrics of each split, where several are evaluated together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """How well a model judges the images of a split.

    - ``metrics``: the metrics in ``metrics.json``.
    - ``images``: a row per image, as in ``images.csv``: the most urgent outcomes first.
    - ``regions``: a row per true region and per listed region, as in ``regions.csv``.
    - ``folder``: the evaluation's files.

    Ids and classes are text.
    """

    metrics: dict[str, Any]
    images: "pd.DataFrame"
    regions: "pd.DataFrame"
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedImage:
    """One image: its prediction as it is listed, its judgment, its regions, and its ranked boxes.

    ``row`` is its row of ``images.csv``; ``is_first`` tells whether it is the first one of a
    process.
    """

    prediction: Prediction
    judgment: Judgment
    matches: Sequence[RegionMatch]
    boxes: Mapping[str, JudgedBoxes]
    row: Mapping[str, Any]
    is_first: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Judged:
    """What an evaluation is made from: what is kept of all judged images, in their order.

    Attributes:
        pixels: the pixel metrics.
        boxes: the metrics of boxes.
        rows: the rows of ``images.csv``.
        matches: the regions.
        first_seconds: seconds of finding, of the first image of each process, which pays for what
            is set up once.
        seconds: those of all other images.
        device: where they were computed.
        threads: number of threads that computed.
    """

    pixels: PixelMetrics
    boxes: BoxMetrics
    device: str
    threads: int
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    matches: list[RegionMatch] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def by(cls, model: LoadedModel) -> Self:
        """Return what a model has judged that has judged no image."""
        classes = model.found_classes
        return cls(
            pixels=PixelMetrics(classes=classes, threshold=model.tuning.pixel_threshold),
            boxes=BoxMetrics(classes=classes),
            device=model.device_name,
            threads=model.threads,
        )

    def add(
        self,
        row: Mapping[str, Any],
        matches: Sequence[RegionMatch],
        boxes: Mapping[str, JudgedBoxes],
        seconds: float,
        is_first: bool,
    ) -> None:
        """Add an image, all but its pixels; ``is_first`` is the first one of a process."""
        self.rows.append(row)
        self.matches += matches
        self.boxes.add(boxes)
        (self.first_seconds if is_first else self.seconds).append(seconds)


def evaluate_images(
    model: LoadedModel,
    predictions: Iterable[Prediction],
    *,
    folder: Path,
    all_regions: bool = False,
    on_image: Callable[[JudgedImage], None],
) -> Evaluation:
    """Return the evaluation of a model on labeled images.

    Args:
        model: gives the thresholds.
        predictions: the model's predictions, one or more; each is held only until the next.
        folder: the folder for the evaluation's files; nothing is written there.
        all_regions: whether regions of images with the verdict good are listed too.
        on_image: called with each image as soon as it is judged.
    """
    judged = Judged.by(model)
    judge_images(judged, model, predictions, all_regions=all_regions, on_image=on_image)
    return summarize_images(model, judged, folder=folder, all_regions=all_regions)


def judge_images(
    judged: Judged,
    model: LoadedModel,
    predictions: Iterable[Prediction],
    *,
    all_regions: bool,
    on_image: Callable[[JudgedImage], None],
) -> None:
    """Judge labeled images, and add them to ``judged``.

    Other arguments are as of ``evaluate_images``; there may be no image.
    """
    classes = model.found_classes
    for number, prediction in enumerate(predictions):
        record, finding = prediction.record, prediction.finding
        judgment = judge(finding.score, model.thresholds, defective=record.defective)
        truth = prediction.truth.as_found(classes)
        judged.pixels.update(finding.score_map, truth)
        boxes = judge_boxes(ranked_boxes(finding, classes, model.tuning), truth.regions)
        listed = list_regions(finding, judgment, all_regions=all_regions)
        own = match_regions(listed, prediction.truth, image_id=record.image_id)
        row = _image_row(prediction, judgment, model)
        judged.add(row, own, boxes, prediction.seconds, is_first=number == 0)
        on_image(
            JudgedImage(
                prediction=replace(prediction, finding=listed),
                judgment=judgment,
                matches=own,
                boxes=boxes,
                row=row,
                is_first=number == 0,
            )
        )


def summarize_images(
    model: LoadedModel, judged: Judged, *, folder: Path, all_regions: bool
) -> Evaluation:
    """Return the evaluation of one or more images that were judged, as ``evaluate_images`` does."""
    classes, matches = model.found_classes, judged.matches
    rows = list(judged.rows)
    scores, defective = ([row[name] for row in rows] for name in ("score", "defective"))
    confusion = class_confusion(matches, classes) if classes == model.classes else None
    metrics = {
        "image": image_metrics(scores, defective, model.thresholds),
        "pixel": judged.pixels.result(),
        "region": {
            **region_metrics(matches, {row["image_id"]: row["defective"] for row in rows}),
            "all_regions": all_regions,
        },
        "detection": detection_metrics(matches, {row["image_id"]: row["group"] for row in rows}),
        "class_confusion": confusion,
        "box": judged.boxes.result(),
        "speed": _speed(judged),
        "drift": {"against_validation": _drift(rows, model)},
    }
    rows.sort(key=_urgency)
    return Evaluation(
        metrics=metrics,
        images=make_table(rows),
        regions=make_table([match.row() for match in matches], columns=COLUMNS),
        folder=folder,
    )


def by_split(images: "pd.DataFrame", thresholds: Thresholds) -> dict[str, dict[str, Any]]:
    """Return what is counted of each split that the table ``images`` has images of."""
    counted: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        own = images[images["split"] == split]
        if len(own):
            image: Mapping[str, Any] = image_metrics(own["score"], own["defective"], thresholds)
            counted[split] = {name: image[name] for name in COUNTED}
    return counted


def describe_evaluated(info: Mapping[str, Any], split: EvaluatedSplit) -> dict[str, str]:
    """Return what an evaluation is of: the model whose ``model.json`` is given, its data, a split.

    An evaluation whose ``metrics.json`` has other entries is not one of this model.
    """
    return {"model": seal_of(info), "dataset": info["dataset"], "split": split}


def _image_row(prediction: Prediction, judgment: Judgment, model: LoadedModel) -> dict[str, Any]:
    """Return a row of ``images.csv``."""
    record, finding, truth = prediction.record, prediction.finding, prediction.truth
    found = finding.defect_map >= model.tuning.pixel_threshold
    brightness, contrast = measure_image(prediction.image, truth.scope)
    if truth.scope.counted is not None:
        found &= truth.scope.counted
    return {
        "image_id": record.image_id,
        "group": record.group,
        "split": record.split,
        "defective": record.defective,
        "score": judgment.score,
        "verdict": judgment.verdict,
        "outcome": judgment.outcome,
        **{
            f"score_{name}": float(score)
            for name, score in zip(model.found_classes, finding.class_scores, strict=True)
            if name  # else it is the score of any defect
        },
        # The counts from which the pooled Dice is made: of the score map, without min_area.
        "true_pixels": int(np.count_nonzero(truth.mask)),
        "found_pixels": int(np.count_nonzero(found)),
        "hit_pixels": int(np.count_nonzero(truth.mask & found)),
        "brightness": round(brightness, 3),
        "contrast": round(contrast, 3),
    }


def _urgency(row: Mapping[str, Any]) -> tuple[int, float, str]:
    """Return the key that sorts rows: by outcome, then escapes of low, overkills of high score."""
    score = row["score"] if row["defective"] else -row["score"]
    return URGENCY[row["outcome"]], score, row["image_id"]


def _drift(rows: Sequence[Mapping[str, Any]], model: LoadedModel) -> dict[str, Difference] | None:
    """Return how far the images differ from those of validation; None if none are kept."""
    if not model.validation_levels:
        return None
    scores, defective, groups = (
        [row[name] for row in rows] for name in ("score", "defective", "group")
    )
    gray = [(row["brightness"], row["contrast"]) for row in rows]
    measures = MEASURES if model.scores_as_validation else MEASURES[1:]
    return compare_levels(
        Levels.of(scores, gray, defective, groups), model.validation_levels, measures
    )


def _speed(judged: Judged) -> dict[str, Any]:
    milliseconds = 1000 * np.array(judged.seconds or judged.first_seconds)
    return {
        "ms_per_image_median": float(np.median(milliseconds)),
        "ms_per_image_p95": float(np.percentile(milliseconds, 95)),
        "images_per_second": float(1000 / milliseconds.mean()),
        "device": judged.device,
        "threads": judged.threads,
    }
