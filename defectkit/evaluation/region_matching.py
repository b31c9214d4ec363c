"""Which true regions are found, and which found regions are false alarms.

A true region is *found* when the found mask covers at least 10 % of its pixels. A connected region
of the found mask is a *false alarm* when it covers no true pixel. Both ask only "defect or not": a
true region that is found with the wrong class is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, TypedDict

import numpy as np

from defectkit.arrays import BoolArray, Int64Array, RegionMap
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.rates import clopper_pearson
from defectkit.findings import Finding
from defectkit.regions import FOUND_COVERAGE, Region, measure_region_map

AREA_EDGES = (0, 64, 256, 1024, 4096)
"""Lower edges, in pixels, of the bins of ``recall_by_area``; the last bin is open."""

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
class RegionMatch:
    """A true region with what of it was found, or a false alarm.

    For a ``true`` region ``coverage`` is the fraction of its pixels that the found mask covers,
    ``best_overlap`` its best intersection over union with a connected region of the found mask;
    both in [0, 1]. For a ``false_alarm`` ``score`` is that of the finding's region, if there is one
    with this box; otherwise its class is empty too. What does not apply is ``None``.
    """

    image_id: str
    kind: Literal["true", "false_alarm"]
    region: Region
    coverage: float | None = None
    best_overlap: float | None = None
    score: float | None = None

    @property
    def found(self) -> bool | None:
        """Whether the found mask covers enough of a true region."""
        return None if self.coverage is None else self.coverage >= FOUND_COVERAGE

    def row(self) -> dict[str, Any]:
        """Return a row of ``regions.csv``."""
        region = self.region
        own = (self.found, self.coverage, self.best_overlap, self.score)
        cells = (self.image_id, self.kind, region.class_id, *region.box_xywh, region.area, *own)
        return dict(zip(COLUMNS, cells, strict=True))


def match_regions(finding: Finding, truth: LabeledTruth, *, image_id: str) -> list[RegionMatch]:
    """Return the true regions and the false alarms of one image.

    Args:
        finding: what was found; its regions name the class and score of false alarms.
        truth: the true masks, of the same size.
        image_id: the image's id.

    Returns:
        True regions class by class, then false alarms, each in the order of ``label_regions``.

    Raises:
        ValueError: the sizes differ.
    """
    found_map = finding.region_map
    if truth.masks.shape[1:] != found_map.shape:
        raise ValueError(f"truth {truth.masks.shape} and finding {found_map.shape} differ in size")
    found = measure_region_map(found_map)
    matches: list[RegionMatch] = []
    for region_map, regions in truth.by_class.values():
        matches += _match_true_regions(region_map, regions, found_map, found, image_id=image_id)
    true_pixels = np.bincount(found_map[truth.mask], minlength=len(found) + 1)[1:]
    named = {region.box_xywh: region for region in finding.regions}  # Two of a map share no box.
    for region, hits in zip(found, true_pixels, strict=True):
        if hits == 0:
            twin = named.get(region.box_xywh)
            matches.append(
                RegionMatch(
                    image_id=image_id,
                    kind="false_alarm",
                    region=replace(region, class_id=twin.class_id) if twin else region,
                    score=twin.score if twin else None,
                )
            )
    return matches


def region_metrics(matches: Sequence[RegionMatch], n_images: int) -> RegionResult:
    """Return the ``region`` section of ``metrics.json`` for the matches of ``n_images`` images.

    ``recall_by_area`` has the bins 0-63, 64-255, 256-1023, 1024-4095 and 4096+ pixels.
    """
    true = [match for match in matches if match.kind == "true"]
    found = np.array([match.found for match in true], bool)
    areas = [match.region.area for match in true]
    bins = np.searchsorted(AREA_EDGES, areas, side="right") - 1
    names = [f"{low}-{high - 1}" for low, high in pairwise(AREA_EDGES)]
    names.append(f"{AREA_EDGES[-1]}+")
    return RegionResult(
        recall=_recall(found),
        false_alarms_per_image=(len(matches) - len(true)) / n_images if n_images else None,
        recall_by_area={name: _recall(found[bins == i]) for i, name in enumerate(names)},
    )


def _match_true_regions(
    true_map: RegionMap,
    true: Sequence[Region],
    found_map: RegionMap,
    found: Sequence[Region],
    *,
    image_id: str,
) -> list[RegionMatch]:
    covered = (true_map > 0) & (found_map > 0)
    own, other = true_map[covered].astype(np.int64), found_map[covered].astype(np.int64)
    own_areas, other_areas = _areas(true), _areas(found)
    coverage = np.bincount(own, minlength=len(own_areas)) / own_areas

    # One number per pair of regions: the pairs that occur are few, their table could be huge.
    pairs, shared = np.unique(own * len(other_areas) + other, return_counts=True)
    own, other = np.divmod(pairs, len(other_areas))
    overlap = np.zeros(len(own_areas))
    np.maximum.at(overlap, own, shared / (own_areas[own] + other_areas[other] - shared))
    return [
        RegionMatch(
            image_id=image_id,
            kind="true",
            region=region,
            coverage=float(coverage[number]),
            best_overlap=float(overlap[number]),
        )
        for number, region in enumerate(true, start=1)
    ]


def _areas(regions: Sequence[Region]) -> Int64Array:
    """Return the area of each number of a region map; 1 for the background: a safe divisor."""
    return np.array([1, *(region.area for region in regions)], np.int64)


def _recall(found: BoolArray) -> Recall:
    count = int(np.count_nonzero(found))
    return Recall(found=count, total=len(found), **clopper_pearson(count, len(found)))
