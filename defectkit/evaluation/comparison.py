"""Several evaluations on one split beside each other: which differences are more than chance.

All runs are judged on the same images, so they are compared image by image: the images are drawn
anew a thousand times, the same ones for every run, and a difference counts where it points the same
way in 95 % of the draws. That tells runs apart whose own intervals overlap, since images that are
hard for one are hard for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array
from defectkit.errors import DatasetError
from defectkit.evaluation.bootstrap import (
    Metric,
    auroc_of,
    average_precision_of,
    bootstrap,
    interval,
    ratio_of,
)
from defectkit.files import read_csv, read_json

COMPARED = {
    "image_ap": 1,
    "auroc": 1,
    "pixel_dice": 1,
    "region_recall": 1,
    "false_alarms_per_image": -1,
}
"""The metrics whose differences are judged; 1 where more is better, -1 where less is."""

PIXELS = ("true_pixels", "found_pixels", "hit_pixels")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationResult:
    """The evaluation of a run, read back; images in the order of their ids.

    ``outcomes`` are those of ``images.csv``; ``pixels`` (3, N) counts true, found and hit pixels;
    ``regions`` (2, N) counts found and true regions, ``false_alarms`` (N,) the others.
    """

    name: str
    metrics: dict[str, Any]
    image_ids: tuple[str, ...]
    defective: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    outcomes: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    regions: npt.NDArray[np.int64]
    false_alarms: npt.NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, *, name: str) -> Self:
        """Read ``metrics.json``, ``images.csv`` and ``regions.csv``.

        Raises:
            OSError, KeyError, ValueError: a file is missing, damaged or of an earlier version.
        """
        images = sorted(read_csv(folder / "images.csv"), key=lambda row: row["image_id"])
        metrics = read_json(folder / "metrics.json")
        metrics["box"]["map_50"]  # An earlier version had none.
        place = {row["image_id"]: index for index, row in enumerate(images)}
        counts = np.zeros((3, len(images)), np.int64)
        for row in read_csv(folder / "regions.csv"):
            alarm = row["kind"] == "false_alarm"
            steps = (0, 0, 1) if alarm else (row["found"] == "yes", 1, 0)
            counts[:, place[row["image_id"]]] += steps
        return cls(
            name=name,
            metrics=metrics,
            image_ids=tuple(place),
            defective=np.array([row["defective"] == "1" for row in images]),
            scores=np.array([float(row["score"]) for row in images]),
            outcomes=tuple(row["outcome"] for row in images),
            pixels=np.array([[int(row[key]) for row in images] for key in PIXELS], np.int64),
            regions=counts[:2],
            false_alarms=counts[2],
        )

    @property
    def dice(self) -> Float64Array:
        """The Dice of each image, (N,); 1 where nothing is true and nothing found."""
        true, found, hit = self.pixels
        return np.where(true + found == 0, 1.0, 2 * hit / np.maximum(true + found, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far a run lies from the best one, with the 95 % interval of the paired difference."""

    value: float
    low: float
    high: float

    @property
    def counts(self) -> bool:
        """Whether the interval leaves 0 out: more than chance."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A metric of a run with its 95 % interval.

    ``to_best`` is ``None`` for the best run itself and where there is nothing to compare.
    """

    value: float | None
    interval: tuple[float, float] | None
    to_best: Difference | None = None


def compare_results(judged: Sequence[EvaluationResult]) -> dict[str, list[Figure]]:
    """Return the figures of each metric, in the order of the runs.

    The metrics are those of ``COMPARED``.

    Raises:
        DatasetError: two runs were not judged on the same images with the same truth.
    """
    for other in judged[1:]:
        _check_same_images(judged[0], other)
    table = [_metrics_of(one) for one in judged]
    return {
        name: _figures([row[name] for row in table], len(judged[0].image_ids), sign)
        for name, sign in COMPARED.items()
    }


def headline(one: EvaluationResult, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Return the headline metrics of a run as cells of ``comparison.csv``.

    Of a metric that has a figure: its value, under ``_low`` and ``_high`` its interval, under
    ``_to_best`` how far it is from the best run, and under ``_differs`` whether that counts.
    """
    image, pixel, region, box, speed = (
        one.metrics[key] for key in ("image", "pixel", "region", "box", "speed")
    )
    recall = region["recall"]
    return {
        **_compared("image_ap", figures),
        **_compared("auroc", figures),
        **{key: image[key] for key in ("escapes", "n_defective")},
        **_rate("escape_rate", image["escape_rate"]),
        **{key: image[key] for key in ("overkills", "n_good")},
        **_rate("overkill_rate", image["overkill_rate"]),
        "reviews": image["reviews"],
        **_compared("pixel_dice", figures),
        "pixel_ap": pixel["average_precision"],
        "pixel_mean_iou": pixel["mean_iou"],
        "pixel_aupro_30": pixel["aupro_30"],
        **_compared("region_recall", figures),
        **_rate("region_recall", recall),  # The same interval as in the run's own report.
        "regions_found": recall["found"],
        "regions_total": recall["total"],
        **_compared("false_alarms_per_image", figures),
        **{f"box_{key}": box[key] for key in ("map_50", "map_50_95")},
        "ms_per_image": speed["ms_per_image_median"],
        **{key: speed[key] for key in ("device", "threads")},
    }


def _metrics_of(one: EvaluationResult) -> Mapping[str, tuple[float | None, Metric]]:
    """Return the value that the evaluation gave, and what gives it for any draw of images."""
    image, pixel, region = (one.metrics[key] for key in ("image", "pixel", "region"))
    true, found, hit = one.pixels
    return {
        "image_ap": (
            image["average_precision"],
            average_precision_of(one.defective, one.scores),
        ),
        "auroc": (image["auroc"], auroc_of(one.defective, one.scores)),
        "pixel_dice": (pixel["dice"], ratio_of(2 * hit, true + found)),
        "region_recall": (region["recall"]["value"], ratio_of(*one.regions)),
        "false_alarms_per_image": (
            region["false_alarms_per_image"],
            ratio_of(one.false_alarms, np.ones(len(one.false_alarms))),
        ),
    }


def _figures(
    metrics: Sequence[tuple[float | None, Metric]], images: int, sign: int
) -> list[Figure]:
    values = [value for value, _ in metrics]
    draws = [bootstrap(metric, images) for _, metric in metrics]
    best = _best([None if value is None else sign * value for value in values])
    return [
        Figure(
            value=value,
            interval=None if value is None else interval(drawn),
            to_best=None
            if place == best
            else _difference(value, values[best], drawn - draws[best]),
        )
        for place, (value, drawn) in enumerate(zip(values, draws, strict=True))
    ]


def _best(values: Sequence[float | None]) -> int:
    """Return the place of the largest value, of equal ones the first; ``None`` is below all."""
    known = [-np.inf if value is None else value for value in values]
    return known.index(max(known))


def _difference(value: float | None, best: float | None, drawn: Float64Array) -> Difference | None:
    ends = interval(drawn)
    if value is None or best is None or ends is None:
        return None
    return Difference(value=value - best, low=ends[0], high=ends[1])


def _check_same_images(one: EvaluationResult, other: EvaluationResult) -> None:
    if one.image_ids == other.image_ids and np.array_equal(one.defective, other.defective):
        return
    theirs = dict(zip(other.image_ids, other.defective, strict=True))
    mine = dict(zip(one.image_ids, one.defective, strict=True))
    example = next(name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name))
    raise DatasetError(
        f"{one.name} and {other.name} were not judged on the same images with the same truth "
        f"({example} differs, for one). Run 'defectkit evaluate' on both again."
    )


def _compared(key: str, figures: Mapping[str, Figure]) -> dict[str, Any]:
    figure = figures[key]
    low, high = figure.interval or (None, None)
    gap = figure.to_best
    return {
        key: figure.value,
        f"{key}_low": low,
        f"{key}_high": high,
        f"{key}_to_best": gap and gap.value,
        f"{key}_to_best_low": gap and gap.low,
        f"{key}_to_best_high": gap and gap.high,
        f"{key}_differs": gap is not None and gap.counts,
    }


def _rate(key: str, rate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rate["value"], f"{key}_low": rate["low"], f"{key}_high": rate["high"]}
