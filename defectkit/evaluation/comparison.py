"""Evaluations of several runs on one split: which of their differences are more than chance.

All runs are evaluated on the same images, so they are compared image by image: the groups of
images are resampled, the same resamples for every run. That distinguishes runs whose own intervals
overlap, because images that are hard for one run are hard for all.

A comparison tests many differences: each run's to the best one, in each of ``COMPARED_METRICS``.
Their p-values are corrected together (Holm), so that where no run differs from another, the chance
of any mark in the whole table is at most 5 %. What is not corrected is descriptive: the intervals,
and the metrics without one. The best run is chosen on the images on which it is compared, which
favors it a little.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from defectkit.arrays import BoolArray, Int64Array
from defectkit.errors import DatasetError
from defectkit.evaluation.bootstrap import (
    RESAMPLES,
    ResampledMetric,
    bootstrap,
    resampled_auroc,
    resampled_average_precision,
    resampled_ratio,
)
from defectkit.evaluation.estimates import MetricEstimate, correct_p_values, estimate_metric
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

RESAMPLES_PER_TEST = 200
"""Resamples for each difference that is tested, so that a corrected p-value can be that small."""


def compare_results(results: Sequence[EvaluationResult]) -> dict[str, list[MetricEstimate]]:
    """Return the estimates of each of ``COMPARED_METRICS``, in the order of the runs.

    Raises:
        DatasetError: two runs were not evaluated on the same images with the same truth.
    """
    for other in results[1:]:
        _check_same_images(results[0], other)
    groups, defective = results[0].groups, results[0].defective
    count = count_resamples(len(results))
    resampled = [
        bootstrap(_resampled_metrics(result), groups, resamples=count) for result in results
    ]
    estimates = {
        name: estimate_metric(
            [_value(name, result) for result in results],
            [own[place] for own in resampled],
            sign=sign,
            fraction=name != "false_alarms_per_image",
            groups=count_groups(name, groups, defective),
        )
        for place, (name, sign) in enumerate(COMPARED_METRICS.items())
    }
    return correct_p_values(estimates)


def count_resamples(runs: int) -> int:
    """Return the number of resamples for a comparison of ``runs`` runs."""
    return max(RESAMPLES, RESAMPLES_PER_TEST * len(COMPARED_METRICS) * (runs - 1))


def count_groups(name: str, groups: Int64Array, defective: BoolArray) -> int:
    """Return the number of groups that a metric rests on.

    Rankings rest on the groups with defective or on those with good images, whichever are fewer,
    overlap and recall on those with defective ones, false alarms on good images on those with good
    ones, other false alarms on all.

    Args:
        name: the column of ``comparison.csv``.
        groups: (N,) int64, the group of each image.
        defective: (N,) bool, the truth of each image.
    """
    with_defective, with_good = (len(np.unique(groups[one])) for one in (defective, ~defective))
    match name:
        case "image_ap" | "auroc":
            return min(with_defective, with_good)
        case "pixel_dice" | "region_recall":
            return with_defective
        case "false_alarms_per_good_image":
            return with_good
    return len(np.unique(groups))


def metric_cells(
    result: EvaluationResult, estimates: Mapping[str, MetricEstimate]
) -> dict[str, Any]:
    """Return the main metrics of a run as cells of ``comparison.csv``.

    A metric with an estimate has its value under its own name, its interval under ``_low`` and
    ``_high``, the difference to the best run under ``_to_best``, its corrected p-value under
    ``_to_best_p``, and whether it is significant under ``_significant``.
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
        **_rate_cells("region_precision", region["precision"]),
        "regions_right": region["precision"]["count"],
        "regions_listed": region["precision"]["total"],
        **_estimate_cells("false_alarms_per_image", estimates),
        "false_alarms_per_good_image": region["false_alarms_per_good_image"],
        **_rate_cells("good_with_false_alarms", region["good_images_with_false_alarms"]),
        "n_good_with_false_alarms": region["good_images_with_false_alarms"]["count"],
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
            f"The milliseconds were not measured alike: {_list_by_run(results, devices)}. Where "
            "machines or threads differ, run 'defectkit evaluate' for all on one machine."
        )
    if len(set(rules)) > 1:
        warnings.append(
            "Escapes and overkills cannot be compared: the thresholds were chosen by different "
            f"rules: {_list_by_run(results, rules)}. Choose them by one rule with "
            "'defectkit evaluate'."
        )
    listed = ["all" if one.metrics["region"]["all_regions"] else "not good" for one in results]
    if len(set(listed)) > 1:
        warnings.append(
            "Regions cannot be compared: they were listed for different images: "
            f"{_list_by_run(results, listed)}. Run 'defectkit evaluate' for all runs with "
            "--all-regions, or for none."
        )
    classes = ["told apart" if one.metrics["class_confusion"] else "not" for one in results]
    if len(set(classes)) > 1:
        warnings.append(
            "The mAP of boxes cannot be compared: where the classes are not told apart, all boxes "
            f"are of one class: {_list_by_run(results, classes)}."
        )
    if few := _describe_few(results[0]):
        warnings.append(f"{few} are few: most differences between runs may be chance.")
    return warnings


def _describe_few(result: EvaluationResult) -> str:
    """Return the defective and the good images as text, with their groups, if either are few."""
    described, fewest = [], FEW_IMAGES
    for kind, chosen in (("defective", result.defective), ("good", ~result.defective)):
        images, groups = int(np.count_nonzero(chosen)), len(np.unique(result.groups[chosen]))
        described.append(f"{images} {kind} images" + f" of {groups} groups" * (groups < images))
        fewest = min(fewest, groups)
    return " and ".join(described) if fewest < FEW_IMAGES else ""


def _list_by_run(results: Sequence[EvaluationResult], values: Sequence[str]) -> str:
    return "; ".join(
        f"{result.name}: {value}" for result, value in zip(results, values, strict=True)
    )


def _resampled_metrics(result: EvaluationResult) -> list[ResampledMetric]:
    """Return each of ``COMPARED_METRICS`` as a metric of any resample of the images."""
    true, found, hit = result.pixels
    metrics = {
        "image_ap": resampled_average_precision(result.defective, result.scores),
        "auroc": resampled_auroc(result.defective, result.scores),
        "pixel_dice": resampled_ratio(2 * hit, true + found),
        "region_recall": resampled_ratio(*result.regions),
        "false_alarms_per_image": resampled_ratio(
            result.false_alarms, np.ones(len(result.image_ids))
        ),
    }
    return [metrics[name] for name in COMPARED_METRICS]


def _value(name: str, result: EvaluationResult) -> float | None:
    """Return the value of a metric that the evaluation gave."""
    image, pixel, region = (result.metrics[key] for key in ("image", "pixel", "region"))
    values: dict[str, float | None] = {
        "image_ap": image["average_precision"],
        "auroc": image["auroc"],
        "pixel_dice": pixel["dice"],
        "region_recall": region["recall"]["value"],
        "false_alarms_per_image": region["false_alarms_per_image"],
    }
    return values[name]


def _check_same_images(one: EvaluationResult, other: EvaluationResult) -> None:
    own, theirs = (
        dict(zip(run.image_ids, zip(run.defective, run.groups, strict=True), strict=True))
        for run in (one, other)
    )
    if own == theirs:
        return
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
        f"{key}_to_best_p": difference and difference.p_value,
        f"{key}_significant": difference is not None and difference.significant,
    }


def _rate_cells(key: str, rate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rate["value"], f"{key}_low": rate["low"], f"{key}_high": rate["high"]}
