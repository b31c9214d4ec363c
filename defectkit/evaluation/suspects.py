"""Labels that are contradicted, by a model or by the pixels themselves.

Nothing here is a proof: the rows are a work list for whoever labels, the least credible first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

from defectkit.evaluation.regions import FOUND_COVERAGE
from defectkit.findings import Finding
from defectkit.labels.regions import MaskRegion, label_regions

Kind = Literal["unlabeled", "unseen", "class", "copies", "tiny", "flat"]
MEANINGS: Mapping[Kind, str] = {
    "unlabeled": "the model sees a defect where none is labeled",
    "unseen": "a labeled defect of which the model sees nothing",
    "class": "the model takes a labeled defect for one of another class",
    "copies": "copies of one image bear different labels",
    "tiny": "a labeled region of a few pixels",
    "flat": "a labeled region that looks like its surroundings",
}

TINY_AREA = 9
"""Regions of fewer pixels than this are suspected to be slips of the hand."""

ENOUGH_PIXELS = 64
"""Smaller regions are not compared with their surroundings: they hold too little to tell."""

RING_GAP = 2
"""Pixels between a region and what counts as its surroundings."""

FLAT_DISTANCE = 0.1
"""Kolmogorov-Smirnov distances below this are no difference that a person would see."""

COLUMNS = (
    *("rank", "image_id", "split", "kind", "class_id", "x", "y", "width", "height", "area"),
    *("suspicion", "reason"),
)
"""The columns of ``suspects.csv``."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One label that is contradicted, or one that seems to be missing.

    ``suspicion`` is in [0, 1], 1 for what cannot be right. ``class_id`` is the labeled class, or
    the one the model sees where nothing is labeled; of ``copies`` it is empty and ``box_xywh`` and
    ``area`` (in pixels) are None.
    """

    image_id: str
    kind: Kind
    class_id: str
    box_xywh: Box | None
    area: int | None
    suspicion: float
    reason: str

    def cells(self, rank: int, split: str) -> tuple[object, ...]:
        """Return a row of ``suspects.csv``."""
        box = self.box_xywh or (None, None, None, None)
        head = (rank, self.image_id, split, self.kind, self.class_id)
        return (*head, *box, self.area, f"{self.suspicion:.4f}", self.reason)


def contradicted_by_model(
    finding: Finding,
    truth: npt.NDArray[np.uint8],
    *,
    image_id: str,
    classes: Sequence[str],
    pixel_threshold: float,
    minimum_area: int,
) -> Iterator[Suspect]:
    """Yield the labels of one image that a finding contradicts.

    A part of an image is worth the score that a tenth of its pixels reach, as a region is found
    when a tenth of it is. Found regions below ``minimum_area`` pixels do not count.

    Args:
        finding: what a model says of the image.
        truth: (K, H, W) uint8, the labels, not 0 where there is a defect.
        image_id: goes into the rows.
        classes: the names of the K classes.
        pixel_threshold: the score from which a pixel is held to be defective.
        minimum_area: in pixels.
    """
    defect_map = finding.defect_map
    for index, class_id in enumerate(classes):
        for region, pixels in _parts(truth[index]):
            suspect = partial(_suspect, image_id, class_id, region)
            seen = _worth(defect_map[pixels])
            scores = finding.score_map[:, pixels].mean(axis=1, dtype=np.float64)  # (K,)
            best = int(scores.argmax())
            if seen < pixel_threshold:
                yield suspect("unseen", 1.0 - seen, f"the model gives it {seen:.2f}")
            elif best != index and not truth[best][pixels].any():
                yield suspect(
                    "class",
                    float(scores[best] - scores[index]),
                    f"the model says {classes[best]} ({scores[best]:.2f}), "
                    f"not {class_id} ({scores[index]:.2f})",
                )
    anywhere = np.asarray(truth.any(axis=0))
    for region, pixels in _parts(defect_map >= pixel_threshold):
        if region.area >= minimum_area and not anywhere[pixels].any():
            seen = _worth(defect_map[pixels])
            class_id = classes[int(finding.score_map[:, pixels].mean(axis=1).argmax())]
            reason = f"the model gives it {seen:.2f}"
            yield _suspect(image_id, class_id, region, "unlabeled", seen, reason)


def contradicted_by_pixels(
    image: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    *,
    image_id: str,
    classes: Sequence[str],
) -> Iterator[Suspect]:
    """Yield the labeled regions that are tiny, or that look like their surroundings.

    They look alike where neither brightness nor gradient is spread otherwise inside than in a ring
    of equal area around it (Kolmogorov-Smirnov, by less than chance would explain and 0.1 more).

    Args:
        image: (H, W, C) uint8.
        truth: (K, H, W) uint8, the labels.
        image_id: goes into the rows.
        classes: the names of the K classes.
    """
    gray = image.mean(axis=2, dtype=np.float32)
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    anywhere = truth.any(axis=0)
    for layer, class_id in zip(truth, classes, strict=True):
        for region, pixels in _parts(layer):
            suspect = partial(_suspect, image_id, class_id, region)
            if region.area < TINY_AREA:
                plural = "s" if region.area > 1 else ""
                suspicion = 1.0 - region.area / TINY_AREA
                yield suspect("tiny", suspicion, f"it has {region.area} pixel{plural}")
            elif region.area >= ENOUGH_PIXELS:
                ring = _ring(pixels, region) & ~anywhere
                distance = max(_distance(values[pixels], values[ring]) for values in (gray, slope))
                if distance < FLAT_DISTANCE:
                    reason = "brightness and gradient are those of its surroundings"
                    yield suspect("flat", 1.0 - distance / FLAT_DISTANCE, reason)


def differing_copies(
    pairs: Sequence[tuple[str, str]], labels: Mapping[str, Mapping[str, str]]
) -> Iterator[Suspect]:
    """Yield both images of each pair of copies whose ``labels`` (by image id) differ."""
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
                    reason=f"{copy} shows the same but is labeled otherwise",
                )


def rank(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return the suspects so that the images with the worst come first, each image's together."""
    worst: dict[str, float] = {}
    for one in suspects:
        worst[one.image_id] = max(worst.get(one.image_id, 0.0), one.suspicion)
    return sorted(
        suspects, key=lambda one: (-worst[one.image_id], one.image_id, -one.suspicion, one.kind)
    )


def _parts(mask: npt.NDArray[np.generic]) -> Iterator[tuple[MaskRegion, npt.NDArray[np.bool_]]]:
    labels, regions = label_regions(mask)
    for number, region in enumerate(regions, start=1):
        yield region, labels == number


def _suspect(
    image_id: str, class_id: str, region: MaskRegion, kind: Kind, suspicion: float, reason: str
) -> Suspect:
    return Suspect(
        image_id=image_id,
        kind=kind,
        class_id=class_id,
        box_xywh=region.box_xywh,
        area=region.area,
        suspicion=suspicion,
        reason=reason,
    )


def _worth(scores: npt.NDArray[np.float32]) -> float:
    return float(np.quantile(scores, 1.0 - FOUND_COVERAGE))


def _ring(pixels: npt.NDArray[np.bool_], region: MaskRegion) -> npt.NDArray[np.bool_]:
    """Return the surroundings of a region, (H, W) bool: about as many pixels as it has.

    Masks are drawn generously, or a little short: pixels next to the border belong to neither.
    """
    _, _, width, height = region.box_xywh
    reach = max(2, round(region.area / (2 * (width + height))))
    distance = cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, 3)
    return np.asarray((distance > RING_GAP) & (distance <= RING_GAP + reach))


def _distance(inside: npt.NDArray[np.float32], around: npt.NDArray[np.float32]) -> float:
    """Return how far two spreads are apart beyond chance (5 %), in [0, 1]; 1 without a ring."""
    if len(around) < ENOUGH_PIXELS:
        return 1.0
    # Neighboring pixels say much the same: of each patch of them about one counts.
    count = len(inside) * len(around) / (len(inside) + len(around)) / 9
    by_chance = 1.36 / np.sqrt(count)
    return max(0.0, float(ks_2samp(inside, around).statistic) - float(by_chance))
