"""The boxes that an average precision ranks: also those that the thresholds leave out.

A detector gives all its boxes. Other approaches list only the regions at their thresholds, and a
ranking that ends there cannot tell a defect that was nearly found from one that was not seen. So
their score maps are looked at below the pixel threshold too, level by level: each halves the odds
``score / (1 - score)``. Shapes: K classes, an image of H x W pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from defectkit.approaches.score_maps import best_class, region_score
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Mask
from defectkit.evaluation.box_metrics import MAX_DETECTIONS
from defectkit.findings import NO_CLASS, Finding
from defectkit.regions import Region

HALVINGS = 10
"""Number of levels below the pixel threshold: down to a thousandth of its odds."""

MAX_START = 1.0 - 1e-4
"""Above it, the odds that are halved are those of this pixel threshold: those of 1 are infinite."""

DEPTH = 2
"""Number of levels below its peak at which a region is outlined: no speck of noise is one."""


def ranked_boxes(finding: Finding, classes: Sequence[str], tuning: Tuning) -> list[Region]:
    """Return the boxes to be ranked: all detections of a detector, else regions of all levels.

    These are the regions of the finding and, at the pixel threshold and each level below it, the
    connected regions that contain none of those before and whose peak is ``DEPTH`` levels higher.
    As at the threshold, such a region has the class with the largest mean score in it and the 95th
    percentile of its scores as its own. There are no more of them than ``BoxMetrics`` judges: where
    there would be, the largest of a level are taken. At a pixel threshold of 0 there is no level
    below, and the whole image is found: these are the regions of the finding alone.

    Precision is averaged by class, so what is found without a class among others is left out.

    Args:
        finding: what an approach says of an image.
        classes: the classes of the score map's layers, K names.
        tuning: that of the finding. Regions of fewer than ``min_area`` pixels are left out until
            they have grown.
    """
    boxes = [one for one in finding.detections or finding.regions if one.class_id in classes]
    if finding.detections or not tuning.pixel_threshold:
        return boxes
    taken = finding.mask
    defect_map = finding.defect_map
    for lowest_peak, level in _falling_levels(tuning.pixel_threshold):
        peaks = (defect_map >= lowest_peak) & ~taken
        room = MAX_DETECTIONS * len(classes) - len(boxes)
        if room <= 0 or not peaks.any():
            continue
        new = _new_regions(defect_map >= level, peaks, taken, tuning.min_area, room)
        for region, pixels in new:
            scores = finding.score_map[:, *region.window][:, pixels]  # (K, area)
            taken[region.window] |= pixels
            best = best_class(scores)
            if best != NO_CLASS:
                score = region_score(scores.max(axis=0))
                boxes.append(replace(region, class_id=classes[best], score=score))
    return boxes


def _falling_levels(pixel_threshold: float) -> list[tuple[float, float]]:
    """Return the pixel threshold and the levels below it, each after the lowest peak it takes."""
    start = min(pixel_threshold, MAX_START)
    odds = start / (1.0 - start)
    falling = [odds / 2.0**times for times in range(1, HALVINGS + 1)]
    levels = [pixel_threshold, *(value / (1.0 + value) for value in falling)]
    return [(pixel_threshold, pixel_threshold), *zip(levels, levels[DEPTH:], strict=False)]


def _new_regions(
    found: Mask, peaks: Mask, taken: Mask, min_area: int, limit: int
) -> Iterator[tuple[Region, Mask]]:
    """Yield the regions of ``found`` with a peak and no taken pixel, and their pixels."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(found.view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    new = np.zeros(len(stats), np.bool_)
    new[numbers[peaks]] = True
    new[numbers[taken]] = False
    new &= areas >= min_area
    chosen = np.flatnonzero(new)
    for number in chosen[np.argsort(-areas[chosen], kind="stable")][:limit].tolist():
        x, y, width, height, area = stats[number].tolist()
        region = Region(box_xywh=(x, y, width, height), area=area)
        yield region, numbers[region.window] == number
