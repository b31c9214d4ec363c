"""Which true regions are found, and which predicted regions are false alarms.

A true region is *found* when the predicted mask covers at least 10 % of its pixels. A predicted
region is a *false alarm* when it covers no true pixel. Both look at "defect or not": a region that
is marked with the wrong class is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from defectkit.evaluation.rates import clopper_pearson
from defectkit.regions import FOUND_COVERAGE, Region, label_regions

AREA_EDGES = (0, 64, 256, 1024, 4096)
"""Lower edges, in pixels, of the area bins of ``recall_by_area``; the last one is open."""

COLUMNS = (
    *("image_id", "kind", "class_id", "x", "y", "width", "height", "area"),
    *("found", "coverage", "best_overlap", "score"),
)
"""The columns of ``regions.csv``."""


class Recall(TypedDict):
    """Regions found, with the 95 % Clopper-Pearson interval; ``value`` is ``None`` without any."""

    found: int
    total: int
    value: float | None
    low: float
    high: float


class RegionResult(TypedDict):
    """The ``region`` section of ``metrics.json``."""

    recall: Recall
    false_alarms_per_image: float | None
    recall_by_area: dict[str, Recall]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueRegion:
    """One connected region of the truth of one class.

    ``coverage`` is the share of its pixels that the predicted mask covers, ``best_overlap`` its
    best intersection over union with one connected region of the predicted mask; both in [0, 1].
    """

    image_id: str
    class_id: str
    box_xywh: tuple[int, int, int, int]
    area: int
    coverage: float
    best_overlap: float

    @property
    def found(self) -> bool:
        """Whether the predicted mask covers enough of it."""
        return self.coverage >= FOUND_COVERAGE

    def cells(self) -> tuple[object, ...]:
        """Return a row of ``regions.csv``."""
        found = "yes" if self.found else "no"
        own = (found, f"{self.coverage:.6f}", f"{self.best_overlap:.6f}", None)
        return (self.image_id, "true", self.class_id, *self.box_xywh, self.area, *own)


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarm:
    """One connected region of the predicted mask that covers no true pixel.

    ``class_id`` and ``score`` are those of the finding's region with this box, if there is one.
    """

    image_id: str
    class_id: str | None
    box_xywh: tuple[int, int, int, int]
    area: int
    score: float | None

    def cells(self) -> tuple[object, ...]:
        """Return a row of ``regions.csv``."""
        own = (None, None, None, None if self.score is None else f"{self.score:.6f}")
        return (self.image_id, "false_alarm", self.class_id, *self.box_xywh, self.area, *own)


RegionRow = TrueRegion | FalseAlarm


def match_regions(
    predicted: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.generic],
    *,
    image_id: str,
    classes: Sequence[str],
    regions: Sequence[Region] = (),
) -> list[RegionRow]:
    """Return a row for each true region and each false alarm of one image.

    Args:
        predicted: (H, W) bool, the predicted mask: ``defect_map >= threshold``.
        truth: (K, H, W) bool or uint8, true where not zero.
        image_id: goes into the rows.
        classes: the names of the K classes.
        regions: the finding's regions, which are those of ``predicted``: they name the class and
            score of false alarms.

    Returns:
        True regions class by class, then false alarms, each in the order of ``label_regions``.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if predicted.ndim != 2 or truth.shape != (len(classes), *predicted.shape):
        raise ValueError(
            f"predicted {predicted.shape} must be (H, W) and truth {truth.shape} (K, H, W) with "
            f"one layer for each of the {len(classes)} classes"
        )
    labels, marked = label_regions(predicted)
    rows: list[RegionRow] = []
    for class_id, layer in zip(classes, truth, strict=True):
        if layer.any():
            rows += _true_regions(layer != 0, labels, marked, image_id=image_id, class_id=class_id)
    touched = np.bincount(labels[truth.any(axis=0)], minlength=len(marked) + 1)[1:]
    named = {region.box_xywh: region for region in regions}  # No two of one mask share a box.
    for region, overlap in zip(marked, touched, strict=True):
        if overlap == 0:
            twin = named.get(region.box_xywh)
            rows.append(
                FalseAlarm(
                    image_id=image_id,
                    class_id=twin.class_id if twin else None,
                    box_xywh=region.box_xywh,
                    area=region.area,
                    score=twin.score if twin else None,
                )
            )
    return rows


def region_metrics(rows: Sequence[RegionRow], n_images: int) -> RegionResult:
    """Return the ``region`` section of ``metrics.json`` for the rows of ``n_images`` images.

    ``recall_by_area`` has the bins 0-63, 64-255, 256-1023, 1024-4095 and 4096+ pixels.
    """
    true = [row for row in rows if isinstance(row, TrueRegion)]
    found = np.array([row.found for row in true], bool)
    bins = np.searchsorted(AREA_EDGES, [row.area for row in true], side="right") - 1
    names = [f"{a}-{b - 1}" for a, b in pairwise(AREA_EDGES)]
    names.append(f"{AREA_EDGES[-1]}+")
    return RegionResult(
        recall=_recall(found),
        false_alarms_per_image=(len(rows) - len(true)) / n_images if n_images else None,
        recall_by_area={name: _recall(found[bins == i]) for i, name in enumerate(names)},
    )


def _true_regions(
    mask: npt.NDArray[np.bool_],
    predicted_labels: npt.NDArray[np.int32],
    predicted: Sequence[Region],
    *,
    image_id: str,
    class_id: str,
) -> list[TrueRegion]:
    labels, regions = label_regions(mask)
    covered = mask & (predicted_labels > 0)
    own, other = labels[covered].astype(np.int64), predicted_labels[covered].astype(np.int64)
    own_areas, other_areas = _areas(regions), _areas(predicted)
    coverage = np.bincount(own, minlength=len(own_areas)) / own_areas

    # One number per pair of labels: the pairs that occur are few, their table could be huge.
    pairs, shared = np.unique(own * len(other_areas) + other, return_counts=True)
    own, other = np.divmod(pairs, len(other_areas))
    overlap = np.zeros(len(own_areas))
    np.maximum.at(overlap, own, shared / (own_areas[own] + other_areas[other] - shared))
    return [
        TrueRegion(
            image_id=image_id,
            class_id=class_id,
            box_xywh=region.box_xywh,
            area=region.area,
            coverage=float(coverage[label]),
            best_overlap=float(overlap[label]),
        )
        for label, region in enumerate(regions, start=1)
    ]


def _areas(regions: Sequence[Region]) -> npt.NDArray[np.int64]:
    """Return the area of each label; 1 for the background keeps divisions defined."""
    return np.array([1, *(region.area for region in regions)], np.int64)


def _recall(found: npt.NDArray[np.bool_]) -> Recall:
    count = int(np.count_nonzero(found))
    return Recall(found=count, total=len(found), **clopper_pearson(count, len(found)))
