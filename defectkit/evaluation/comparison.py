"""Evaluations of several runs on one split: which of their differences are more than chance.

All runs are evaluated on the same images, so they are compared image by image: the images are
resampled a thousand times, the same resamples for every run, and a difference is significant where
it has the same sign in 95 % of them. That distinguishes runs whose own intervals overlap, because
images that are hard for one run are hard for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectkit.arrays import Float64Array
from defectkit.errors import DatasetError
from defectkit.evaluation.bootstrap import (
    ResampledMetric,
    bootstrap,
    percentile_interval,
    resampled_auroc,
    resampled_average_precision,
    resampled_ratio,
)
from defectkit.evaluation.evaluation_result import EvaluationResult
from defectkit.evaluation.operating_points import FEW_IMAGES

COMPARED_METRICS = {
    "image_ap": 1,
    "auroc": 1,
    "pixel_dice": 1,
    "region_recall": 1,
    "false_alarms_per_image": -1,
}
"""The metrics whose differences are tested: 1 where larger is better, -1 where smaller is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of a run's metric to the best run's, with its paired 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0: more than chance."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEstimate:
    """A metric of a run with its 95 % interval.

    ``to_best`` is ``None`` for the best run itself and where there is nothing to compare.
    """

    value: float | None
    interval: tuple[float, float] | None
    to_best: Difference | None = None


def compare_results(results: Sequence[EvaluationResult]) -> dict[str, list[MetricEstimate]]:
    """Return the estimates of each of ``COMPARED_METRICS``, in the order of the runs.

    Raises:
        DatasetError: two runs were not evaluated on the same images with the same truth.
    """
    for other in results[1:]:
        _check_same_images(results[0], other)
    metrics = [_resampled_metrics(result) for result in results]
    return {
        name: _estimate([own[name] for own in metrics], len(results[0].image_ids), sign)
        for name, sign in COMPARED_METRICS.items()
    }


def metric_cells(
    result: EvaluationResult, estimates: Mapping[str, MetricEstimate]
) -> dict[str, Any]:
    """Return the main metrics of a run as cells of ``comparison.csv``.

    A metric with an estimate has its value under its own name, its interval under ``_low`` and
    ``_high``, the difference to the best run under ``_to_best``, and whether that is significant
    under ``_significant``.
    """
    image, pixel, region, box, speed = (
        result.metrics[key] for key in ("image", "pixel", "region", "box", "speed")
    )
    recall = region["recall"]
    return {
        **_estimate_cells("image_ap", estimates),
        **_estimate_cells("auroc", estimates),
        **{key: image[key] for key in ("escapes", "n_defective")},
        **_rate_cells("escape_rate", image["escape_rate"]),
        **{key: image[key] for key in ("overkills", "n_good")},
        **_rate_cells("overkill_rate", image["overkill_rate"]),
        "reviews": image["reviews"],
        **_estimate_cells("pixel_dice", estimates),
        "pixel_ap": pixel["average_precision"],
        **{f"pixel_{key}": pixel[key] for key in ("mean_iou", "aupro_30", "aupro_05")},
        **_estimate_cells("region_recall", estimates),
        **_rate_cells("region_recall", recall),  # The same interval as in the run's own report.
        "regions_found": recall["found"],
        "regions_total": recall["total"],
        **_estimate_cells("false_alarms_per_image", estimates),
        **{f"box_{key}": box[key] for key in ("map_50", "map_50_95")},
        "ms_per_image": speed["ms_per_image_median"],
        **{key: speed[key] for key in ("device", "threads")},
    }


def warn_of_incomparable(results: Sequence[EvaluationResult], rules: Sequence[str]) -> list[str]:
    """Return a sentence for each reason not to compare some of the metrics.

    ``rules`` are those by which the thresholds of the runs were chosen.
    """
    warnings = []
    devices = [str(result.metrics["speed"]["device"]) for result in results]
    if len(set(devices)) > 1:
        warnings.append(
            f"The milliseconds cannot be compared: {_list_by_run(results, devices)}. "
            "Run 'defectkit evaluate' for all runs on one machine."
        )
    if len(set(rules)) > 1:
        warnings.append(
            "Escapes and overkills cannot be compared: the thresholds were chosen by different "
            f"rules: {_list_by_run(results, rules)}. Choose them by one rule with "
            "'defectkit evaluate'."
        )
    image = results[0].metrics["image"]
    if min(image["n_defective"], image["n_good"]) < FEW_IMAGES:
        warnings.append(
            f"{image['n_defective']} defective and {image['n_good']} good images are few: "
            "most differences between runs may be chance."
        )
    return warnings


def _list_by_run(results: Sequence[EvaluationResult], values: Sequence[str]) -> str:
    return "; ".join(
        f"{result.name}: {value}" for result, value in zip(results, values, strict=True)
    )


def _resampled_metrics(
    result: EvaluationResult,
) -> Mapping[str, tuple[float | None, ResampledMetric]]:
    """Return the value that the evaluation gave, and the metric of any resample of the images."""
    image, pixel, region = (result.metrics[key] for key in ("image", "pixel", "region"))
    true, found, hit = result.pixels
    ones = np.ones(len(result.false_alarms))
    return {
        "image_ap": (
            image["average_precision"],
            resampled_average_precision(result.defective, result.scores),
        ),
        "auroc": (image["auroc"], resampled_auroc(result.defective, result.scores)),
        "pixel_dice": (pixel["dice"], resampled_ratio(2 * hit, true + found)),
        "region_recall": (region["recall"]["value"], resampled_ratio(*result.regions)),
        "false_alarms_per_image": (
            region["false_alarms_per_image"],
            resampled_ratio(result.false_alarms, ones),
        ),
    }


def _estimate(
    metrics: Sequence[tuple[float | None, ResampledMetric]], images: int, sign: int
) -> list[MetricEstimate]:
    values = [value for value, _ in metrics]
    resampled = [bootstrap(metric, images) for _, metric in metrics]
    best = _index_of_best([None if value is None else sign * value for value in values])
    return [
        MetricEstimate(
            value=value,
            interval=None if value is None else percentile_interval(own),
            to_best=None
            if index == best
            else _difference(value, values[best], own - resampled[best]),
        )
        for index, (value, own) in enumerate(zip(values, resampled, strict=True))
    ]


def _index_of_best(values: Sequence[float | None]) -> int:
    """Return the index of the largest value, of equal ones the first; ``None`` is below all."""
    known = [-np.inf if value is None else value for value in values]
    return known.index(max(known))


def _difference(
    value: float | None, best: float | None, resampled: Float64Array
) -> Difference | None:
    interval = percentile_interval(resampled)
    if value is None or best is None or interval is None:
        return None
    return Difference(value=value - best, low=interval[0], high=interval[1])


def _check_same_images(one: EvaluationResult, other: EvaluationResult) -> None:
    if one.image_ids == other.image_ids and np.array_equal(one.defective, other.defective):
        return
    theirs = dict(zip(other.image_ids, other.defective, strict=True))
    own = dict(zip(one.image_ids, one.defective, strict=True))
    example = next(name for name in [*own, *theirs] if own.get(name) != theirs.get(name))
    raise DatasetError(
        f"{one.name} and {other.name} were not evaluated on the same images with the same truth "
        f"(for example, {example} differs). Run 'defectkit evaluate' on both again."
    )


def _estimate_cells(key: str, estimates: Mapping[str, MetricEstimate]) -> dict[str, Any]:
    estimate = estimates[key]
    low, high = estimate.interval or (None, None)
    difference = estimate.to_best
    return {
        key: estimate.value,
        f"{key}_low": low,
        f"{key}_high": high,
        f"{key}_to_best": difference and difference.value,
        f"{key}_to_best_low": difference and difference.low,
        f"{key}_to_best_high": difference and difference.high,
        f"{key}_significant": difference is not None and difference.significant,
    }


def _rate_cells(key: str, rate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rate["value"], f"{key}_low": rate["low"], f"{key}_high": rate["high"]}
