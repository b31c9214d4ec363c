"""From a score map to a finding: image score, found mask and regions."""

from collections.abc import Sequence

import cv2
import numpy as np

from defectkit.approaches.tuning import Tuning
from defectkit.arrays import BoolArray, Float32Array, IndexArray, Mask, RegionMap, ScoreMap
from defectkit.findings import Finding, best_layers
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.regions import Region, label_regions, measure_region_map

SCORE_WINDOW = 5
"""Side in pixels of the square over which scores are averaged for the image score."""

BAND_PIXELS = 2**24
"""Max. number of pixels whose means are computed at a time: a large map is not copied."""

GIVEN_PIXELS = 2**20
"""Max. number of pixels whose scores change places at a time."""

MAX_IGNORED = 0.5
"""A region with this fraction of its pixels ignored, or more, is left out."""

SCORE_PERCENT = 95
"""The score of a region is the one that this percent of its pixels do not exceed."""


def make_finding(
    scores: ScoreMap,
    classes: Sequence[str],
    *,
    tuning: Tuning,
    scope: Scope = EVERYWHERE,
    one_class: bool = False,
    image_logit: float | None = None,
) -> Finding:
    """Return the finding of a (K, H, W) score map in [0, 1].

    A region has the class with the largest mean score in it.

    Args:
        scores: (K, H, W) float32.
        classes: the names of the K classes.
        tuning: which pixels are found, which of their regions are left out, and how the map and
            ``image_logit`` make the image's score.
        scope: nothing is found outside of it; scores there become 0.
        one_class: all pixels of a region get its class: their largest score and that of the class
            change places, in ``scores`` itself.
        image_logit: what a network says of the image as a whole, if it does.
    """
    defect_map = largest_scores(scores)
    region_map, connected = find_regions(defect_map, tuning=tuning, scope=scope)
    if scope.counted is not None:
        scores = np.where(scope.counted, scores, np.float32(0))
        defect_map = largest_scores(scores)
    own_classes = []
    for number, region in enumerate(connected, start=1):
        inside = scores[:, *region.window][:, region_map[region.window] == number]  # (K, area)
        own_classes.append(int((inside.sum(axis=1) / region.area).argmax()))
    if one_class and own_classes:
        _give_classes(scores, region_map, np.array(own_classes))
    regions = [
        _region_of(one, class_id=classes[index], score=one.score)
        for one, index in zip(connected, own_classes, strict=True)
    ]
    witnesses = witnesses_of(defect_map, scope, image_logit)
    return Finding(
        score_map=scores,
        region_map=region_map,
        regions=tuple(regions),
        score=tuning.image_mix.score(*witnesses),
        witnesses=witnesses,
        class_scores=np.array(
            [witnesses[0]]
            if len(scores) == 1
            else [image_score(one, scope.counted) for one in scores],
            np.float32,
        ),
    )


def witnesses_of(
    defect_map: ScoreMap, scope: Scope, image_logit: float | None
) -> tuple[float, float | None]:
    """Return what the score of an image is made of: that of its map, (H, W), and its logit.

    What is judged as a whole has pixels that do not count where there is a scope: then the map
    alone is heard. Its scores outside of the scope are 0.
    """
    return image_score(defect_map, scope.counted), image_logit if scope.counted is None else None


def largest_scores(scores: ScoreMap) -> ScoreMap:
    """Return the largest score of each pixel of (K, H, W); that of a single class is no copy."""
    largest: ScoreMap = scores[0] if len(scores) == 1 else scores.max(axis=0)
    return largest


def _give_classes(scores: ScoreMap, region_map: RegionMap, own_classes: IndexArray) -> None:
    """Let the largest score of each pixel of a region and that of the region's class change places.

    Args:
        scores: (K, H, W), changed in place.
        region_map: (H, W).
        own_classes: the class of each region, (R,).
    """
    rows = max(GIVEN_PIXELS // region_map.shape[1], 1)
    for top in range(0, len(region_map), rows):
        numbers, band = region_map[top : top + rows], scores[:, top : top + rows]
        found = numbers > 0
        given = own_classes[numbers[found] - 1]
        band[:, found] = give_class(band[:, found], given)


def give_class(scores: Float32Array, given: IndexArray) -> Float32Array:
    """Return scores (K, N) whose largest and that of the given class, (N,), change places."""
    pixels, winner = np.arange(len(given)), scores.argmax(axis=0)
    new = scores.copy()
    new[winner, pixels] = scores[given, pixels]
    new[given, pixels] = scores[winner, pixels]
    return new


def _region_of(region: Region, *, class_id: str, score: float) -> Region:
    """Return a region of a map with a class and a score: thousands take ``replace`` much longer."""
    return Region(box_xywh=region.box_xywh, area=region.area, class_id=class_id, score=score)


def image_score(scores: ScoreMap, counted: Mask | None = None) -> float:
    """Return the defect score of an (H, W) map: its largest mean over 5x5 pixels.

    With the mean, one stray pixel does not make an image defective, and 5x5 is no larger than the
    smallest defect that a person would outline. With ``counted``, (H, W) bool, the mean around each
    of its pixels is that of the counted ones alone; the other scores are 0.
    """
    height, width = scores.shape
    if counted is None and scores.size > BAND_PIXELS and height > 2 * SCORE_WINDOW:
        rows = max(BAND_PIXELS // width, SCORE_WINDOW)
        starts = range(0, height, rows)
        return max(_score_of_rows(scores, start, start + rows) for start in starts)
    window = (min(SCORE_WINDOW, width), min(SCORE_WINDOW, height))
    means = cv2.blur(scores, window, borderType=cv2.BORDER_REFLECT)
    if counted is not None:
        shares = cv2.blur(counted.astype(np.float32), window, borderType=cv2.BORDER_REFLECT)
        means = means[counted] / shares[counted]
    return float(np.clip(means.max(initial=0.0), 0.0, 1.0))


def _score_of_rows(scores: ScoreMap, start: int, end: int) -> float:
    """Return the largest mean around the pixels of some rows."""
    halo = SCORE_WINDOW // 2
    # At least as many rows as the window has, so that none is averaged over fewer.
    first, last = max(start - halo, 0), min(end + halo, len(scores))
    first = min(first, max(last - SCORE_WINDOW, 0))
    window = (min(SCORE_WINDOW, scores.shape[1]), SCORE_WINDOW)
    means = cv2.blur(scores[first:last], window, borderType=cv2.BORDER_REFLECT)
    return float(np.clip(means[start - first : end - first].max(), 0.0, 1.0))


def find_regions(
    defect_map: ScoreMap, *, tuning: Tuning, scope: Scope = EVERYWHERE
) -> tuple[RegionMap, list[Region]]:
    """Return the connected regions of the found mask of an (H, W) map of scores.

    The found mask has the pixels whose score reaches ``tuning.pixel_threshold``, without regions of
    fewer than ``tuning.min_area`` pixels or of a score below ``tuning.region_threshold``. It ends
    at the border of the region to inspect. Ignored pixels are cut out of its regions afterwards, so
    that they separate none; regions that are mostly ignored are left out.

    Returns:
        The region map, (H, W) int32, and the regions in the order of their numbers.
    """
    found = defect_map >= tuning.pixel_threshold
    region_map, regions = label_regions(found if scope.roi is None else found & scope.roi)
    areas = np.array([region.area for region in regions], np.int64)
    kept = areas >= tuning.min_area
    if scope.ignored is not None:
        ignored = np.bincount(region_map[scope.ignored], minlength=len(regions) + 1)[1:]
        kept &= ignored < MAX_IGNORED * areas
    region_map, regions = _keep(region_map, regions, kept)
    if scope.ignored is not None:
        region_map = np.where(scope.ignored, np.int32(0), region_map)
        regions = measure_region_map(region_map)
    scores = [
        region_score(defect_map[region.window][region_map[region.window] == number])
        for number, region in enumerate(regions, start=1)
    ]
    regions = [
        _region_of(one, class_id=one.class_id, score=score)
        for one, score in zip(regions, scores, strict=True)
    ]
    return _keep(region_map, regions, np.array(scores) >= tuning.region_threshold)


def region_score(scores: Float32Array) -> float:
    """Return the score of a region, the 95th percentile of those of its pixels, (N,).

    It is the score of a pixel, so it does not depend on whether scores are probabilities or logits;
    of fewer than 20 pixels it is the largest.
    """
    rank = -(-SCORE_PERCENT * len(scores) // 100) - 1
    return float(np.partition(scores, rank)[rank])


def best_class(scores: Float32Array) -> int:
    """Return the layer with the largest mean of a region's scores, (K, N), or ``NO_CLASS``."""
    return int(best_layers(scores.mean(axis=1, keepdims=True))[0])


def _keep(
    region_map: RegionMap, regions: list[Region], kept: BoolArray
) -> tuple[RegionMap, list[Region]]:
    """Return the region map and the regions without those that are not ``kept``, (R,) bool."""
    if kept.all():
        return region_map, regions
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    return numbers[region_map], [one for one, keep in zip(regions, kept, strict=True) if keep]
