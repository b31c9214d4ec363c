"""Predictions scored by one code, whoever made them: counts by image, and metrics of any resample.

    python benchmarks/quality_scores.py PREDICTIONS DATASET RESULT_JSON

A metric is a function of how often each image is drawn: with all counts 1 it is the metric of the
split, with those of a bootstrap it is the metric of each resample.

Shapes: N images, R resamples, K classes, L levels.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from competitors.predictions import ImagePrediction, read_head, read_predictions

from defectkit.arrays import BoolArray, Float64Array, Int64Array, Mask
from defectkit.data.dataset import Dataset
from defectkit.evaluation.bootstrap import resampled_auroc, resampled_average_precision
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.files import write_text
from defectkit.regions import FOUND_COVERAGE, label_regions

STEPS = 16
"""Levels per unit of a logit."""
LEVELS = np.arange(-16 * STEPS, 16 * STEPS + 1) / STEPS
"""Logits to which pixels are rounded for the average precision of a resample."""
CUTS = np.arange(-16, 17) / 2
"""Logits that are tried as pixel thresholds for the recall at ``FALSE_ALARMS``."""
FALSE_ALARMS = 0.3
"""False alarms per good image up to which the recall is searched."""


def score(predictions: Path, dataset: Dataset) -> dict[str, Any]:
    """Return the result of a competitor: counts of each test image and what is shown beside.

    Raises:
        ValueError: the predictions are of other images.
    """
    head = read_head(predictions)
    records = dataset.split("test")
    if head["image_ids"] != [record.image_id for record in records]:
        raise ValueError(f"{predictions} has other images than the test split of {dataset.folder}")
    classes, threshold = tuple(head["classes"]), head["pixel_threshold"]
    pixels = PixelMetrics(classes=classes, threshold=threshold)
    images = []
    for record, (_, prediction) in zip(records, read_predictions(predictions), strict=True):
        truth = LabeledTruth(record.read_masks(classes), classes, record.read_scope())
        pixels.update(prediction.probabilities, truth)
        images.append(
            {
                "image_id": record.image_id,
                "group": record.group or record.image_id,
                "defective": record.defective,
                "score": prediction.score,
                **count_pixels(prediction, truth, threshold),
                **count_regions(prediction, truth),
            }
        )
    result = {key: head[key] for key in ("classes", "pixel_threshold", "thresholds", "facts")}
    return {**result, "pixel_ap": pixels.result()["average_precision"], "images": images}


def count_pixels(
    prediction: ImagePrediction, truth: LabeledTruth, threshold: float
) -> dict[str, Any]:
    """Return the pixel counts of an image.

    - ``areas``: (3, K + 1) pixels of truth, finding and both, by class and for any defect, as
      ``PixelMetrics`` counts them: a found pixel has the class with the largest probability.
    - ``positive`` and ``negative``: the levels that occur and their numbers of pixels, (2, n).
    """
    largest, counted = prediction.probabilities.max(axis=0), truth.scope.counted
    found = largest >= threshold
    if counted is not None:
        found &= counted
    winner = prediction.probabilities.argmax(axis=0)
    layers = [(mask != 0, found & (winner == k)) for k, mask in enumerate(truth.masks)]
    areas = [
        [int(np.count_nonzero(part)) for part in (true, own, true & own)]
        for true, own in [*layers, (truth.mask, found)]
    ]
    with np.errstate(divide="ignore"):
        logits = np.log(largest) - np.log1p(-largest)
    levels = np.rint(np.clip(logits, LEVELS[0], LEVELS[-1]) * STEPS).astype(np.int64)
    levels += len(LEVELS) // 2
    good = ~truth.mask if counted is None else ~truth.mask & counted
    return {
        "areas": np.transpose(areas).tolist(),
        "positive": _occurring(levels[truth.mask]),
        "negative": _occurring(levels[good]),
    }


def count_regions(prediction: ImagePrediction, truth: LabeledTruth) -> dict[str, Any]:
    """Return the regions of an image.

    ``regions`` has class, area and *found* of each true region and ``false_alarms`` their number,
    for the competitor's own mask; ``found_by_cut`` and ``false_alarms_by_cut`` have the numbers for
    the masks of each of ``CUTS``.
    """
    found, false_alarms = match_mask(prediction.mask, truth)
    largest = prediction.probabilities.max(axis=0)
    by_cut = [match_mask(largest >= cut, truth) for cut in 1 / (1 + np.exp(-CUTS))]
    return {
        "regions": [
            [region.class_id, region.area, own]
            for region, own in zip(truth.regions, found, strict=True)
        ],
        "false_alarms": false_alarms,
        "found_by_cut": [sum(own) for own, _ in by_cut],
        "false_alarms_by_cut": [count for _, count in by_cut],
    }


def match_mask(mask: Mask, truth: LabeledTruth) -> tuple[list[bool], int]:
    """Return which of the true regions a mask finds, and its number of false alarms.

    The rules are those of ``defectkit.evaluation.region_matching``: a true region is found when the
    mask covers at least 10 % of its pixels; a region of the mask without a true pixel is a false
    alarm.
    """
    if truth.scope.counted is not None:
        mask = mask & truth.scope.counted
    found: list[bool] = []
    for true_map, regions in truth.by_class.values():
        covered = np.bincount(true_map[mask], minlength=len(regions) + 1)[1:]
        areas = np.array([region.area for region in regions])
        found += (covered >= FOUND_COVERAGE * areas).tolist()
    mask_map, regions = label_regions(mask)
    return found, len(regions) - len(np.unique(mask_map[truth.mask & mask]))


def _occurring(levels: Int64Array) -> list[list[int]]:
    values, counts = np.unique(levels, return_counts=True)
    return [values.tolist(), counts.tolist()]


@dataclass(frozen=True, eq=False)
class Scores:
    """A result of ``score`` as arrays, and its metrics."""

    content: Mapping[str, Any]

    def _column(self, name: str) -> Any:
        return np.array([image[name] for image in self.content["images"]])

    @cached_property
    def groups(self) -> list[str]:
        """The group of each image."""
        return [image["group"] for image in self.content["images"]]

    @cached_property
    def defective(self) -> BoolArray:
        """(N,) bool."""
        return self._column("defective").astype(np.bool_)

    @cached_property
    def scores(self) -> Float64Array:
        """(N,) image scores."""
        return self._column("score").astype(np.float64)

    @cached_property
    def listed(self) -> BoolArray:
        """(N,) bool: the verdict is not *good*, so the regions are shown to the user."""
        return self.scores >= self.content["thresholds"][0]

    @property
    def escapes(self) -> int:
        """Number of defective images that are called good."""
        return int(np.count_nonzero(self.defective & ~self.listed))

    @property
    def overkills(self) -> int:
        """Number of good images that are called defective."""
        high = self.content["thresholds"][1]
        return int(np.count_nonzero(~self.defective & (self.scores >= high)))

    @cached_property
    def _areas(self) -> Float64Array:
        return self._column("areas").astype(np.float64)  # (N, 3, K + 1)

    @cached_property
    def _n_regions(self) -> Int64Array:
        return np.array([len(image["regions"]) for image in self.content["images"]])

    def regions(self, listed: bool = True) -> list[tuple[str, int, bool]]:
        """Class, area and *found* of each true region; with ``listed``, not in images called good.

        Those are what the user gets to see.
        """
        return [
            (class_id, area, found and (shown or not listed))
            for image, shown in zip(self.content["images"], self.listed, strict=True)
            for class_id, area, found in image["regions"]
        ]

    def image_ap(self, counts: Int64Array) -> Float64Array:
        """Average precision of the images."""
        return resampled_average_precision(self.defective, self.scores)(counts)

    def auroc(self, counts: Int64Array) -> Float64Array:
        """Area under the ROC curve of the images."""
        return resampled_auroc(self.defective, self.scores)(counts)

    def pixel_ap(self, counts: Int64Array) -> Float64Array:
        """Average precision of the pixels, defect or not, rounded to ``LEVELS``."""
        positive, negative = (counts @ self._histograms(kind) for kind in ("positive", "negative"))
        hits = positive[:, ::-1].cumsum(axis=1)
        marked = hits + negative[:, ::-1].cumsum(axis=1)
        gains = (positive[:, ::-1] * hits / np.maximum(marked, 1)).sum(axis=1)
        return _ratio(gains, hits[:, -1])

    def _histograms(self, kind: str) -> Float64Array:
        table = np.zeros((len(self.groups), len(LEVELS)))
        for row, image in zip(table, self.content["images"], strict=True):
            levels, numbers = image[kind]
            row[levels] = numbers
        return table

    def dice(self, counts: Int64Array) -> Float64Array:
        """Dice of the pixels, defect or not, pooled."""
        true, found, both = (counts @ self._areas[:, :, -1]).T
        return _ratio(2 * both, true + found)

    def mean_iou(self, counts: Int64Array) -> Float64Array:
        """Mean of the IoUs of the classes that truth or finding has, each pooled."""
        ious = self.iou_by_class(counts)
        known = ~np.isnan(ious)
        return _ratio(np.where(known, ious, 0.0).sum(axis=1), known.sum(axis=1))

    def iou_by_class(self, counts: Int64Array) -> Float64Array:
        """(R, K) pooled IoUs; NaN for a class that neither truth nor finding has."""
        true, found, both = (counts @ self._areas[:, part, :-1] for part in range(3))
        return _ratio(both, true + found - both)

    def region_recall(self, counts: Int64Array) -> Float64Array:
        """Fraction of the true regions that are found, in images that are not called good."""
        found = np.array(
            [sum(found for *_, found in image["regions"]) for image in self.content["images"]]
        )
        return _ratio(counts @ (found * self.listed), counts @ self._n_regions)

    def false_alarms(self, counts: Int64Array) -> Float64Array:
        """False alarms per good image, those of images that are called good left out."""
        return self._per_good_image(counts, self._column("false_alarms") * self.listed)

    def all_false_alarms(self, counts: Int64Array) -> Float64Array:
        """False alarms per good image, whatever its verdict."""
        return self._per_good_image(counts, self._column("false_alarms"))

    def false_alarms_per_image(self, counts: Int64Array) -> Float64Array:
        """False alarms per image, those of images that are called good left out."""
        return _ratio(counts @ (self._column("false_alarms") * self.listed), counts.sum(axis=1))

    def with_false_alarms(self, counts: Int64Array) -> Float64Array:
        """Fraction of the good images that are called defective and have a false alarm."""
        return self._per_good_image(counts, (self._column("false_alarms") > 0) & self.listed)

    def _per_good_image(self, counts: Int64Array, values: Any) -> Float64Array:
        good = counts * ~self.defective
        return _ratio(good @ values, good.sum(axis=1))

    def recall_at_false_alarms(self, counts: Int64Array) -> Float64Array:
        """Best recall with at most 0.3 false alarms per good image, over all pixel thresholds.

        Regions are listed in all images, or only in those that are not called good: what is better.
        """
        found, false = self._column("found_by_cut"), self._column("false_alarms_by_cut")
        shown = self.listed[:, None]
        found, false = np.hstack([found, found * shown]), np.hstack([false, false * shown])
        good = counts * ~self.defective
        alarms = _ratio(good @ false, np.broadcast_to(good.sum(axis=1)[:, None], (len(good), 1)))
        recall = _ratio(counts @ found, (counts @ self._n_regions)[:, None])
        best = np.where(alarms <= FALSE_ALARMS, recall, 0.0).max(axis=1)
        return np.where(good.sum(axis=1) > 0, best, np.nan)


MetricFunction = Callable[[Scores, Int64Array], Float64Array]
"""From results and how often each image is drawn, (R, N), to the metric of each resample, (R,)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the table.

    ``like`` is the column of ``comparison.csv`` that rests on the same images; ``error`` is 1 minus
    the metric; without, smaller is better.
    """

    name: str
    function: MetricFunction
    like: str
    error: bool = True


METRICS = (
    Metric("Images: average precision", Scores.image_ap, "image_ap"),
    Metric("Images: AUROC", Scores.auroc, "auroc"),
    Metric("Pixels: average precision", Scores.pixel_ap, "pixel_dice"),
    Metric("Pixels: Dice", Scores.dice, "pixel_dice"),
    Metric("Pixels: mean IoU of the classes", Scores.mean_iou, "pixel_dice"),
    Metric("Regions: found", Scores.region_recall, "region_recall"),
    Metric(
        "Regions: found at ≤ 0.3 false alarms a good image",
        Scores.recall_at_false_alarms,
        "region_recall",
    ),
    Metric(
        "Regions: false alarms a good image",
        Scores.false_alarms,
        "false_alarms_per_good_image",
        error=False,
    ),
)
"""The headline metrics, which are compared."""


def _ratio(part: Any, whole: Any) -> Float64Array:
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def main() -> None:
    """Score the predictions of a competitor and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    result = score(options.predictions, Dataset.load(options.dataset))
    write_text(options.result, json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main()
