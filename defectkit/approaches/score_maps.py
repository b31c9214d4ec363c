"""What a score map says (score, mask, regions), the same for every approach."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import ScoreMap
from defectkit.findings import Finding
from defectkit.regions import Region, label_regions

SCORE_WINDOW = 5
"""Side in pixels of the square whose mean score counts for the image."""


def make_finding(
    scores: ScoreMap, classes: Sequence[str], *, pixel_threshold: float, min_area: int
) -> Finding:
    """Return the finding of a (K, H, W) score map in [0, 1].

    A region's class is the one with the largest mean score in it; its score is its largest score.
    """
    defect = scores.max(axis=0)
    labels, parts = _parts(defect, pixel_threshold, min_area)
    regions = []
    for label, part in parts:
        x, y, width, height = part.box_xywh
        window = (slice(y, y + height), slice(x, x + width))
        inside = scores[:, *window][:, labels[window] == label]  # (K, area)
        regions.append(
            Region(
                class_id=classes[int(inside.mean(axis=1).argmax())],
                score=float(inside.max()),
                box_xywh=part.box_xywh,
                area=part.area,
            )
        )
    return Finding(
        score_map=scores,
        regions=tuple(regions),
        score=image_score(defect),
        class_scores=np.array([image_score(layer) for layer in scores], np.float32),
    )


def image_score(scores: ScoreMap) -> float:
    """Return the defect score of an (H, W) map: its largest mean over 5x5 pixels.

    The mean keeps one stray pixel from condemning an image, and 5x5 is no larger than the smallest
    defect that a person would outline.
    """
    window = (min(SCORE_WINDOW, scores.shape[1]), min(SCORE_WINDOW, scores.shape[0]))
    means = cv2.blur(scores, window, borderType=cv2.BORDER_REFLECT)
    return float(np.clip(means.max(), 0.0, 1.0))


def finding_mask(
    finding: Finding, *, pixel_threshold: float, min_area: int
) -> npt.NDArray[np.bool_]:
    """Return the (H, W) mask of a finding's regions."""
    defect = finding.defect_map
    if min_area <= 1:
        return defect >= pixel_threshold
    labels, parts = _parts(defect, pixel_threshold, min_area)
    return np.isin(labels, [label for label, _ in parts])


def _parts(
    defect: ScoreMap, threshold: float, min_area: int
) -> tuple[npt.NDArray[np.int32], list[tuple[int, Region]]]:
    labels, parts = label_regions(defect >= threshold)
    kept = [(label, part) for label, part in enumerate(parts, 1) if part.area >= min_area]
    return labels, kept
