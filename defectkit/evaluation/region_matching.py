"""Which true regions are found, and which found regions are false alarms.

A true region is *found* when the found mask covers at least 10 % of its pixels. A connected region
of the found mask is *right* when at least 10 % of its pixels are true, and a *false alarm* when
none is. So a mask of all pixels finds everything, but is not right where the defects are small. The
first is what "Metrics reloaded" calls intersection over reference (Maier-Hein et al., Nature
Methods 21, 2024), the second the same with the roles exchanged. Both ask only "defect or not": a
true region that is found with the wrong class is found. The confusion matrix asks for the class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from defectkit.arrays import BoolArray, Int64Array, Mask, RegionMap
from defectkit.evaluation.detection_by_size import Detection, detection_by_size
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.rates import CountedRate, clopper_pearson, counted_rate
from defectkit.findings import Finding
from defectkit.regions import FOUND_COVERAGE, Region, measure_region_map

AREA_EDGES = (0, 64, 256, 1024, 4096)
"""Lower edges, in pixels, of the bins of ``recall_by_area``; the last bin is open."""

MIN_TRUE_FRACTION = 0.1
"""Fraction of a found region's pixels that must be true for it to be right."""

COLUMNS = (
    *("image_id", "kind", "class_id", "x", "y", "width", "height", "area"),
    *("length", "found", "coverage", "best_overlap", "found_class", "true_fraction", "score"),
)
"""The columns of ``regions.csv``."""


class Recall(TypedDict):
    """Regions found, with the 95 % Clopper-Pearson interval; ``value`` is ``None`` without any."""

    found: int
    total: int
    value: float | None
    low: float
    high: float


class ClassConfusion(TypedDict):
    """The ``class_confusion`` section of ``metrics.json``: as what true regions are found.

    ``counts`` has a row for each true class: the number of its regions by the class of the found
    region that overlaps them best, in the order of ``classes``, and last that of missed ones. True
    regions that are found without a class are not counted.
    """

    classes: list[str]
    counts: list[list[int]]


class RegionResult(TypedDict):
    """The ``region`` section of ``metrics.json``."""

    recall: Recall
    recall_by_area: dict[str, Recall]
    precision: CountedRate
    false_alarms_per_image: float | None
    false_alarms_per_good_image: float | None
    good_images_with_false_alarms: CountedRate


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMatch:
    """A true region with what of it was found, or a region of the found mask.

    Of a ``true`` region ``length`` is the longer side in pixels of the smallest rectangle around
    it, at any angle, ``coverage`` is the fraction of its pixels that the found mask covers,
    ``best_overlap`` its best intersection over union with a connected region of the found mask,
    both in [0, 1]; ``found_class`` is the class of the finding's region that overlaps it best.

    A ``found`` region has true pixels, a ``false_alarm`` has none: ``true_fraction`` of its pixels
    in [0, 1]. Class and score are those of the finding's region with this box, if there is one.
    What does not apply is ``None``.
    """

    image_id: str
    kind: Literal["true", "found", "false_alarm"]
    region: Region
    length: float | None = None
    coverage: float | None = None
    best_overlap: float | None = None
    found_class: str | None = None
    true_fraction: float | None = None
    score: float | None = None

    @property
    def found(self) -> bool | None:
        """Whether the found mask covers enough of a true region."""
        return None if self.coverage is None else self.coverage >= FOUND_COVERAGE

    @property
    def right(self) -> bool:
        """Whether enough of a found region is true."""
        return self.true_fraction is not None and self.true_fraction >= MIN_TRUE_FRACTION

    def row(self) -> dict[str, Any]:
        """Return a row of ``regions.csv``."""
        region = self.region
        covered = (self.found, self.coverage, self.best_overlap, self.found_class)
        own = (self.length, *covered, self.true_fraction, self.score)
        head = (self.image_id, self.kind, region.class_id, *region.box_xywh, region.area)
        return dict(zip(COLUMNS, (*head, *own), strict=True))


def match_regions(finding: Finding, truth: LabeledTruth, *, image_id: str) -> list[RegionMatch]:
    """Return the true and the found regions of one image.

    Args:
        finding: what was found; its regions name the classes and scores.
        truth: the true masks, of the same size.
        image_id: the image's id.

    Returns:
        True regions class by class, then found ones, each in the order of ``label_regions``.

    Raises:
        ValueError: the sizes differ.
    """
    found_map = finding.region_map
    if truth.masks.shape[1:] != found_map.shape:
        raise ValueError(f"truth {truth.masks.shape} and finding {found_map.shape} differ in size")
    found = measure_region_map(found_map)
    matches: list[RegionMatch] = []
    for region_map, regions in truth.by_class.values():
        matches += _match_true_regions(region_map, regions, finding, found, image_id=image_id)
    true_pixels = np.bincount(found_map[truth.mask], minlength=len(found) + 1)[1:]
    named = {region.box_xywh: region for region in finding.regions}  # Two of a map share no box.
    for region, n_true in zip(found, true_pixels, strict=True):
        twin = named.get(region.box_xywh)
        matches.append(
            RegionMatch(
                image_id=image_id,
                kind="found" if n_true else "false_alarm",
                region=replace(region, class_id=twin.class_id) if twin else region,
                true_fraction=float(n_true / region.area),
                score=twin.score if twin else None,
            )
        )
    return matches


def region_metrics(matches: Sequence[RegionMatch], defective: Mapping[str, bool]) -> RegionResult:
    """Return the ``region`` section of ``metrics.json``.

    ``recall_by_area`` has the bins 0-63, 64-255, 256-1023, 1024-4095 and 4096+ pixels.

    Args:
        matches: those of all images.
        defective: whether each image is defective, by its id.
    """
    true = [match for match in matches if match.kind == "true"]
    listed = [match for match in matches if match.kind != "true"]
    alarms = [match.image_id for match in matches if match.kind == "false_alarm"]
    on_good = [image_id for image_id in alarms if not defective[image_id]]
    n_good = len(defective) - sum(defective.values())
    found = np.array([match.found for match in true], bool)
    areas = [match.region.area for match in true]
    bins = np.searchsorted(AREA_EDGES, areas, side="right") - 1
    names = [f"{low}-{high - 1}" for low, high in pairwise(AREA_EDGES)]
    names.append(f"{AREA_EDGES[-1]}+")
    return RegionResult(
        recall=_recall(found),
        recall_by_area={name: _recall(found[bins == i]) for i, name in enumerate(names)},
        precision=counted_rate(sum(match.right for match in listed), len(listed)),
        false_alarms_per_image=len(alarms) / len(defective) if defective else None,
        false_alarms_per_good_image=len(on_good) / n_good if n_good else None,
        good_images_with_false_alarms=counted_rate(len(set(on_good)), n_good),
    )


def detection_metrics(matches: Sequence[RegionMatch], groups: Mapping[str, str]) -> Detection:
    """Return the ``detection`` section of ``metrics.json``.

    Args:
        matches: those of all images.
        groups: the group of each image, by its id.
    """
    true = [match for match in matches if match.kind == "true"]
    lengths = [match.length for match in true if match.length is not None]
    found = [bool(match.found) for match in true]
    own = [groups[match.image_id] for match in true]
    return Detection(
        by_area=detection_by_size([match.region.area for match in true], found, own),
        by_length=detection_by_size(lengths, found, own),
    )


def class_confusion(matches: Sequence[RegionMatch], classes: Sequence[str]) -> ClassConfusion:
    """Return the ``class_confusion`` section of ``metrics.json``; ``classes`` are K names."""
    places = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes) + 1), np.int64)
    for match in matches:
        if match.kind == "true" and not (match.found and match.found_class == ""):
            found_as = places.get(match.found_class or "", -1) if match.found else -1
            counts[places[match.region.class_id], found_as] += 1
    return ClassConfusion(classes=list(classes), counts=counts.tolist())


def count_pairs(
    own: npt.NDArray[np.integer[Any]], other: npt.NDArray[np.integer[Any]]
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return the distinct pairs of two arrays of numbers (N,), and how often each occurs.

    Three arrays: the first numbers, the second ones, their counts.
    """
    # One number per pair: the pairs that occur are few, a table of all could be huge.
    size = int(other.max(initial=0)) + 1
    pairs, counts = np.unique(own.astype(np.int64) * size + other, return_counts=True)
    return *np.divmod(pairs, size), counts


def _match_true_regions(
    true_map: RegionMap,
    true: Sequence[Region],
    finding: Finding,
    found: Sequence[Region],
    *,
    image_id: str,
) -> list[RegionMatch]:
    covered = (true_map > 0) & (finding.region_map > 0)
    own, other, shared = count_pairs(true_map[covered], finding.region_map[covered])
    own_areas, other_areas = _areas(true), _areas(found)
    coverage = np.bincount(own, shared, minlength=len(own_areas)) / own_areas
    overlap = np.zeros(len(own_areas))
    np.maximum.at(overlap, own, shared / (own_areas[own] + other_areas[other] - shared))
    found_classes = _best_classes(true_map, own_areas, finding)
    return [
        RegionMatch(
            image_id=image_id,
            kind="true",
            region=region,
            length=region_length(true_map[region.window] == number),
            coverage=float(coverage[number]),
            best_overlap=float(overlap[number]),
            found_class=found_classes.get(number),
        )
        for number, region in enumerate(true, start=1)
    ]


def region_length(pixels: Mask) -> float:
    """Return the longer side of the smallest rectangle around pixels (H, W) bool, at any angle."""
    (_, sides, _) = cv2.minAreaRect(cv2.findNonZero(pixels.view(np.uint8)))
    return float(max(sides)) + 1.0  # from the centers of the outermost pixels to their borders


def _best_classes(true_map: RegionMap, true_areas: Int64Array, finding: Finding) -> dict[int, str]:
    """Return the class of the finding's region that overlaps each true region best, by number."""
    best: dict[int, tuple[float, str]] = {}
    for region, pixels in _with_pixels(finding):
        shared = np.bincount(true_map[region.window][pixels])
        for number in (np.flatnonzero(shared[1:]) + 1).tolist():
            overlap = shared[number] / (true_areas[number] + region.area - shared[number])
            if overlap > best.get(number, (0.0, ""))[0]:
                best[number] = overlap, region.class_id
    return {number: class_id for number, (_, class_id) in best.items()}


def _with_pixels(finding: Finding) -> Iterator[tuple[Region, Mask]]:
    """Yield the finding's regions, each with the mask of its own pixels in its window."""
    for number, region in enumerate(finding.regions, start=1):
        inside = finding.region_map[region.window]
        if region.mask is not None:
            yield region, region.mask
        else:
            yield region, np.ones_like(inside) > 0 if finding.detections else inside == number


def _areas(regions: Sequence[Region]) -> Int64Array:
    """Return the area of each number of a region map; 1 for the background: a safe divisor."""
    return np.array([1, *(region.area for region in regions)], np.int64)


def _recall(found: BoolArray) -> Recall:
    count = int(np.count_nonzero(found))
    return Recall(found=count, total=len(found), **clopper_pearson(count, len(found)))
