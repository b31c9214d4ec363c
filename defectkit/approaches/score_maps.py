"""From a score map to a finding: image score, found mask and regions."""

from collections.abc import Sequence

import cv2
import numpy as np

from defectkit.arrays import RegionMap, ScoreMap
from defectkit.findings import Finding
from defectkit.regions import Region, label_regions

SCORE_WINDOW = 5
"""Side in pixels of the square over which scores are averaged for the image score."""


def make_finding(
    scores: ScoreMap, classes: Sequence[str], *, pixel_threshold: float, min_area: int
) -> Finding:
    """Return the finding of a (K, H, W) score map in [0, 1].

    A region has the class with the largest mean score in it, and as score its largest one.

    Args:
        scores: (K, H, W) float32.
        classes: the names of the K classes.
        pixel_threshold: pixels whose largest class score reaches it are found.
        min_area: smaller regions, in pixels, are left out.
    """
    defect_map = scores.max(axis=0)
    region_map, connected = find_regions(
        defect_map, pixel_threshold=pixel_threshold, min_area=min_area
    )
    regions = []
    for number, region in enumerate(connected, start=1):
        inside = scores[:, *region.window][:, region_map[region.window] == number]  # (K, area)
        regions.append(
            Region(
                class_id=classes[int(inside.mean(axis=1).argmax())],
                score=float(inside.max()),
                box_xywh=region.box_xywh,
                area=region.area,
            )
        )
    return Finding(
        score_map=scores,
        region_map=region_map,
        regions=tuple(regions),
        score=image_score(defect_map),
        class_scores=np.array([image_score(layer) for layer in scores], np.float32),
    )


def image_score(scores: ScoreMap) -> float:
    """Return the defect score of an (H, W) map: its largest mean over 5x5 pixels.

    With the mean, one stray pixel does not make an image defective, and 5x5 is no larger than the
    smallest defect that a person would outline.
    """
    window = (min(SCORE_WINDOW, scores.shape[1]), min(SCORE_WINDOW, scores.shape[0]))
    means = cv2.blur(scores, window, borderType=cv2.BORDER_REFLECT)
    return float(np.clip(means.max(), 0.0, 1.0))


def find_regions(
    defect_map: ScoreMap, *, pixel_threshold: float, min_area: int
) -> tuple[RegionMap, list[Region]]:
    """Return the connected regions of the found mask of an (H, W) map of scores.

    The found mask has the pixels whose score reaches ``pixel_threshold``, without regions of fewer
    than ``min_area`` pixels.

    Returns:
        The region map, (H, W) int32, and the regions in the order of their numbers.
    """
    region_map, regions = label_regions(defect_map >= pixel_threshold)
    kept = np.array([region.area >= min_area for region in regions], bool)
    if not kept.all():
        numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
        region_map = numbers[region_map]
    return region_map, [region for region in regions if region.area >= min_area]
