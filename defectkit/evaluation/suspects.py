"""Labels that are probably wrong: a model, a copy of the image or the pixels contradict them.

None of it is proof: the suspects are a work list for relabeling, the least credible labels first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from defectkit.approaches.score_maps import best_class
from defectkit.arrays import BoxXywh, Float32Array, Image, Mask, RegionMap
from defectkit.evaluation.flatness import MIN_COMPARED_AREA, flatness_features, measure_flatness
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import NO_CLASS, Finding
from defectkit.regions import FOUND_COVERAGE, Region, label_regions
from defectkit.vocabulary import SuspectKind

KIND_MEANINGS: Mapping[SuspectKind, str] = {
    "unlabeled": "the model finds a defect where none is labeled",
    "missed": "a labeled defect that the model does not find",
    "class": "a labeled defect that the model assigns to another class",
    "copies": "copies of one image have different labels",
    "tiny": "a labeled region of a few pixels",
    "flat": "a labeled region that looks like its surroundings",
}

TINY_AREA = 9
"""In pixels; smaller labeled regions are suspected to be labeling mistakes."""

JOIN_DISTANCE = 8
"""In pixels; what the model finds this near to a label, or to each other, is one defect."""

MIN_FLATNESS = 0.2
"""Min. fraction of the other places that differ as much, for a region to be suspected."""

SUSPECT_COLUMNS = (
    *("rank", "image_id", "split", "kind", "class_id", "x", "y", "width", "height", "area"),
    *("suspicion", "reason"),
)
"""The columns of ``suspects.csv``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A label that is contradicted, or that seems to be missing.

    ``suspicion`` is in [0, 1], 1 for a label that cannot be right. ``class_id`` is the labeled
    class, or the class that the model finds where nothing is labeled, empty if it tells none. For
    ``copies``, ``class_id`` is empty, ``box_xywh`` and ``area`` (in pixels) are None.
    ``found_class`` is the class that the model assigns to a label, only for ``class``.
    """

    image_id: str
    kind: SuspectKind
    class_id: str
    box_xywh: BoxXywh | None
    area: int | None
    suspicion: float
    reason: str
    found_class: str = ""

    def cells(self, rank: int, split: str) -> tuple[object, ...]:
        """Return a row of ``suspects.csv``."""
        box = self.box_xywh or (None, None, None, None)
        head = (rank, self.image_id, split, self.kind, self.class_id)
        return (*head, *box, self.area, f"{self.suspicion:.4f}", self.reason)


def suspects_by_model(
    finding: Finding,
    truth: LabeledTruth,
    *,
    found_classes: Sequence[str],
    image_id: str,
    pixel_threshold: float,
) -> Iterator[Suspect]:
    """Yield the labels of one image that a finding contradicts.

    The score of a region is the one that a tenth of its pixels reach, because a region is found
    when a tenth of it is. Regions of the finding that are near to each other are one; those near
    to a label are none of their own.

    Args:
        finding: the model's finding of the image.
        truth: the labels.
        found_classes: the classes of the finding's layers, K names; of ``DEFECT_OR_NOT`` no class
            is contradicted.
        image_id: the image id of the suspects.
        pixel_threshold: the score from which a pixel is called defective.
    """
    defect_map = finding.defect_map
    for class_id, (region_map, regions) in truth.by_class.items():
        for region, pixels in _with_pixels(region_map, regions):
            suspect = partial(_suspect, image_id, class_id, region)
            score = _region_score(defect_map[region.window][pixels])
            inside = finding.score_map[:, *region.window][:, pixels]  # (K, area)
            by_layer = inside.mean(axis=1, dtype=np.float64).tolist()
            scores = dict(zip(found_classes, by_layer, strict=True))
            best = max(scores, key=scores.__getitem__)
            own = scores.get(class_id, 1.0)  # where no class is told, none contradicts
            if score < pixel_threshold:
                yield suspect("missed", 1.0 - score, f"the model's score is {score:.2f}")
            elif scores[best] > own and not truth.mask_of(best)[region.window][pixels].any():
                yield suspect(
                    "class",
                    scores[best] - own,
                    f"the model predicts {best} ({scores[best]:.2f}), not {class_id} ({own:.2f})",
                    found_class=best,
                )
    found = finding.mask
    for group, surroundings in _join_near(found):
        pixels = surroundings & found[group.window]
        if not truth.mask[group.window][surroundings].any():
            score = _region_score(defect_map[group.window][pixels])
            layer = best_class(finding.score_map[:, *group.window][:, pixels])
            x, y, width, height = cv2.boundingRect(pixels.view(np.uint8))
            left, top, *_ = group.box_xywh
            yield Suspect(
                image_id=image_id,
                kind="unlabeled",
                class_id="" if layer == NO_CLASS else found_classes[layer],
                box_xywh=(left + x, top + y, width, height),
                area=int(np.count_nonzero(pixels)),
                suspicion=score,
                reason=f"the model's score is {score:.2f}",
            )


def suspects_by_pixels(image: Image, truth: LabeledTruth, *, image_id: str) -> Iterator[Suspect]:
    """Yield the labeled regions that are tiny, or that look like their surroundings.

    A region is compared with a ring around it, by the distribution of the brightness, of the
    smoothed brightness and of the gradient. The same is done with its outline at other, unlabeled
    places of the image. The flatness of the region is the fraction of these places that differ as
    much from their rings; if it is at least ``MIN_FLATNESS``, it is the suspicion.

    Args:
        image: (H, W, C) uint8.
        truth: the labels.
        image_id: the image id of the suspects.
    """
    features = flatness_features(image)
    for class_id, (region_map, regions) in truth.by_class.items():
        for region, pixels in _with_pixels(region_map, regions):
            suspect = partial(_suspect, image_id, class_id, region)
            if region.area < TINY_AREA:
                plural = "s" if region.area > 1 else ""
                suspicion = 1.0 - region.area / TINY_AREA
                yield suspect("tiny", suspicion, f"it has {region.area} pixel{plural}")
            elif region.area >= MIN_COMPARED_AREA:
                flatness = measure_flatness(features, region, pixels, truth.mask)
                if flatness is not None and flatness >= MIN_FLATNESS:
                    reason = (
                        f"{100 * flatness:.0f} % of other places differ as much from their "
                        "surroundings"
                    )
                    yield suspect("flat", flatness, reason)


def suspects_by_copies(
    pairs: Sequence[tuple[str, str]], labels: Mapping[str, Mapping[str, str]]
) -> Iterator[Suspect]:
    """Yield both images of each pair of copies whose labels differ.

    Args:
        pairs: the image ids of each two copies.
        labels: the encoded masks of each image, by image id and class.
    """
    for one, other in pairs:
        if labels[one] != labels[other]:
            for image_id, copy in ((one, other), (other, one)):
                yield Suspect(
                    image_id=image_id,
                    kind="copies",
                    class_id="",
                    box_xywh=None,
                    area=None,
                    suspicion=1.0,
                    reason=f"{copy} shows the same but is labeled differently",
                )


def rank_suspects(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return the suspects image by image, the image with the highest suspicion first."""
    highest: dict[str, float] = {}
    for one in suspects:
        highest[one.image_id] = max(highest.get(one.image_id, 0.0), one.suspicion)
    return sorted(
        suspects, key=lambda one: (-highest[one.image_id], one.image_id, -one.suspicion, one.kind)
    )


def _with_pixels(region_map: RegionMap, regions: Sequence[Region]) -> Iterator[tuple[Region, Mask]]:
    """Yield each region with the mask of its own pixels in its window."""
    for number, region in enumerate(regions, start=1):
        yield region, region_map[region.window] == number


def _join_near(found: Mask) -> Iterator[tuple[Region, Mask]]:
    """Yield the surroundings of found regions, one region for all that are near to each other."""
    side = 2 * JOIN_DISTANCE + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return _with_pixels(*label_regions(cv2.dilate(found.view(np.uint8), disk)))


def _suspect(
    image_id: str,
    class_id: str,
    region: Region,
    kind: SuspectKind,
    suspicion: float,
    reason: str,
    *,
    found_class: str = "",
) -> Suspect:
    return Suspect(
        image_id=image_id,
        kind=kind,
        class_id=class_id,
        box_xywh=region.box_xywh,
        area=region.area,
        suspicion=suspicion,
        reason=reason,
        found_class=found_class,
    )


def _region_score(scores: Float32Array) -> float:
    """Return the score that a tenth of the pixels of a region reach; ``scores`` is (N,)."""
    return float(np.quantile(scores, 1.0 - FOUND_COVERAGE))
