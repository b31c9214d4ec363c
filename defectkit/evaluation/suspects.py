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

from defectkit.arrays import BoxXywh
from defectkit.findings import Finding
from defectkit.regions import FOUND_COVERAGE, Region, label_regions

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

NEAR = 8
"""Pixels that the model finds so near to a label, or to each other, are no defects of their own."""

RING_GAP = 2
"""Pixels between a region and what counts as its surroundings."""

PLACEMENTS = 24
"""Elsewhere in the image a region is put so often, to see how much it would differ there."""

PLAIN_SHARE = 0.2
MOST_TRIES = 10 * PLACEMENTS

MOST_PIXELS = 2000
"""Larger regions and surroundings are compared by a draw of so many of their pixels."""

COLUMNS = (
    *("rank", "image_id", "split", "kind", "class_id", "x", "y", "width", "height", "area"),
    *("suspicion", "reason"),
)
"""The columns of ``suspects.csv``."""


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
    box_xywh: BoxXywh | None
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
    min_area: int,
) -> Iterator[Suspect]:
    """Yield the labels of one image that a finding contradicts.

    A part of an image is worth the score that a tenth of its pixels reach, as a region is found
    when a tenth of it is. Found are specks near to each other as one, and not those near to a
    label; below ``min_area`` pixels they do not count.

    Args:
        finding: what a model says of the image.
        truth: (K, H, W) uint8, the labels, not 0 where there is a defect.
        image_id: goes into the rows.
        classes: the names of the K classes.
        pixel_threshold: the score from which a pixel is held to be defective.
        min_area: in pixels.
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
    found = defect_map >= pixel_threshold
    for near in _neighborhoods(found):
        pixels = near & found
        area = int(np.count_nonzero(pixels))
        if area >= min_area and not truth[:, near].any():
            seen = _worth(defect_map[pixels])
            yield Suspect(
                image_id=image_id,
                kind="unlabeled",
                class_id=classes[int(finding.score_map[:, pixels].mean(axis=1).argmax())],
                box_xywh=tuple(cv2.boundingRect(pixels.view(np.uint8))),
                area=area,
                suspicion=seen,
                reason=f"the model gives it {seen:.2f}",
            )


def contradicted_by_pixels(
    image: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    *,
    image_id: str,
    classes: Sequence[str],
) -> Iterator[Suspect]:
    """Yield the labeled regions that are tiny, or that look like their surroundings.

    They look alike where the region differs from a ring around it (in the spread of brightness, of
    smoothed brightness, or of the gradient) no more than it would elsewhere: its outline is put
    onto unlabeled places of the image, and ``suspicion`` is the share of them that differ as much
    from their surroundings, if it is at least ``PLAIN_SHARE``.

    Args:
        image: (H, W, C) uint8.
        truth: (K, H, W) uint8, the labels.
        image_id: goes into the rows.
        classes: the names of the K classes.
    """
    gray = image.mean(axis=2, dtype=np.float32)
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    looks = np.stack([gray, cv2.GaussianBlur(gray, (0, 0), 2.0), slope])  # (3, H, W)
    anywhere = np.asarray(truth.any(axis=0))
    for layer, class_id in zip(truth, classes, strict=True):
        for region, pixels in _parts(layer):
            suspect = partial(_suspect, image_id, class_id, region)
            if region.area < TINY_AREA:
                plural = "s" if region.area > 1 else ""
                suspicion = 1.0 - region.area / TINY_AREA
                yield suspect("tiny", suspicion, f"it has {region.area} pixel{plural}")
            elif region.area >= ENOUGH_PIXELS:
                plainness = _plainness(looks, pixels, _ring(pixels, region), anywhere)
                if plainness is not None and plainness >= PLAIN_SHARE:
                    share = f"{100 * plainness:.0f} %"
                    reason = f"{share} of other places differ as much from their surroundings"
                    yield suspect("flat", plainness, reason)


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


def _parts(mask: npt.NDArray[np.generic]) -> Iterator[tuple[Region, npt.NDArray[np.bool_]]]:
    labels, regions = label_regions(mask)
    for number, region in enumerate(regions, start=1):
        yield region, labels == number


def _neighborhoods(found: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield the places around what is found, (H, W) bool, one for all specks near to each other."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR + 1, 2 * NEAR + 1))
    for _, pixels in _parts(cv2.dilate(found.view(np.uint8), disk)):
        yield pixels


def _suspect(
    image_id: str, class_id: str, region: Region, kind: Kind, suspicion: float, reason: str
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


def _ring(pixels: npt.NDArray[np.bool_], region: Region) -> npt.NDArray[np.bool_]:
    """Return the surroundings of a region, (H, W) bool: about as many pixels as it has.

    Masks are drawn generously, or a little short: pixels next to the border belong to neither.
    """
    _, _, width, height = region.box_xywh
    reach = max(2, round(region.area / (2 * (width + height))))
    distance = cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, 3)
    return np.asarray((distance > RING_GAP) & (distance <= RING_GAP + reach))


def _plainness(
    looks: npt.NDArray[np.float32],
    pixels: npt.NDArray[np.bool_],
    ring: npt.NDArray[np.bool_],
    labeled: npt.NDArray[np.bool_],
) -> float | None:
    """Return the share of placements that differ from their surroundings as much as the region.

    Of ``looks``, (L, H, W), the one counts in which it differs most for what is usual there. None
    where there is no room for placements.
    """
    rng = np.random.default_rng(0)
    inside, around = (_draw(rng, np.argwhere(mask)) for mask in (pixels, ring & ~labeled))
    if len(around) < ENOUGH_PIXELS:
        return None
    own = _distances(looks, inside, around)
    places = np.concatenate([inside, around])
    low, high = -places.min(axis=0), labeled.shape - places.max(axis=0)
    elsewhere = []
    for offset in rng.integers(low, high, (MOST_TRIES, 2)):
        moved = inside + offset
        if not labeled[tuple(moved.T)].any():
            elsewhere.append(_distances(looks, moved, around + offset))
            if len(elsewhere) == PLACEMENTS:
                usual = np.median(elsewhere, axis=0)  # (L,)
                most = (np.array([own, *elsewhere]) / np.maximum(usual, 1e-6)).max(axis=1)
                return float(np.mean(most[1:] >= most[0]))
    return None


def _draw(rng: np.random.Generator, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    if len(places) <= MOST_PIXELS:
        return places
    return rng.choice(places, MOST_PIXELS, replace=False)


def _distances(
    looks: npt.NDArray[np.float32], inside: npt.NDArray[np.intp], around: npt.NDArray[np.intp]
) -> list[float]:
    """Return the Kolmogorov-Smirnov distance of each look at two sets of pixels, (N, 2) of y, x."""
    return [
        float(ks_2samp(look[tuple(inside.T)], look[tuple(around.T)], method="asymp").statistic)
        for look in looks
    ]
