"""From the boxes of a detector to the finding of an image."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from defectkit.approaches.score_maps import MAX_IGNORED, find_regions
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import ImageSize, Mask
from defectkit.data.tiles import Tile
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.models.detection.boxes import non_max_suppression
from defectkit.models.detection.detector import Detections
from defectkit.regions import Region

MASK_THRESHOLD = 0.5
"""Pixels whose mask score reaches it belong to the defect, as Mask R-CNN was trained."""


def detected_regions(
    detections: Detections, classes: Sequence[str], tile: Tile
) -> Iterator[Region]:
    """Yield the detections in a tile as regions of the image, in whole pixels.

    What lies outside of the tile is cut off. A region has a mask where the detector gives one.
    """
    corners = detections.boxes.round().long().cpu().numpy()
    corners = corners.clip(0, [tile.width, tile.height] * 2)
    scores, labels = detections.scores.clamp(0.0, 1.0).tolist(), detections.labels.tolist()
    for index, (x0, y0, x1, y1) in enumerate(corners.tolist()):
        if x0 == x1 or y0 == y1:  # in the padding, or thinner than half a pixel
            continue
        mask = None
        if detections.masks is not None:
            inside = detections.masks[index, y0:y1, x0:x1] >= MASK_THRESHOLD
            # A detection with an empty mask still counts: as its whole box.
            mask = inside.cpu().numpy() if inside.any() else None
        yield Region(
            class_id=classes[labels[index]],
            score=scores[index],
            box_xywh=(tile.x + x0, tile.y + y0, x1 - x0, y1 - y0),
            area=(x1 - x0) * (y1 - y0) if mask is None else int(np.count_nonzero(mask)),
            mask=mask,
        )


def suppress_duplicates(
    regions: Sequence[Region], classes: Sequence[str], *, nms_iou: float, max_detections: int
) -> list[Region]:
    """Return the regions, the best first, without those that overlapping tiles gave twice."""
    boxes = torch.tensor([region.box_xywh for region in regions], dtype=torch.float32)
    boxes = boxes.reshape(-1, 4)
    labels = [classes.index(region.class_id) for region in regions]
    kept = non_max_suppression(
        torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
        torch.tensor([region.score for region in regions]),
        torch.tensor(labels, dtype=torch.int64),
        nms_iou=nms_iou,
        score_threshold=0.0,
        max_detections=max_detections,
    )
    return [regions[index] for index in kept.tolist()]


def make_box_finding(
    detections: Sequence[Region],
    classes: Sequence[str],
    size: ImageSize,
    *,
    tuning: Tuning,
    scope: Scope = EVERYWHERE,
) -> Finding:
    """Return the finding of the detections in an image of ``size``, the best detection first.

    Detections are cut at the border of the region to inspect; those that are mostly ignored are
    left out.

    A pixel's score is the largest of the detections that cover it, and the image's that of its best
    detection. So a detection is a region of the finding exactly when its pixels reach the
    threshold, in a connected region of the found mask that is not left out.
    """
    detections = _inside(detections, scope)
    scores = np.zeros((len(classes), *size), np.float32)
    for region in reversed(detections):
        window = scores[classes.index(region.class_id)][region.window]
        window[... if region.mask is None else region.mask] = region.score
    region_map, _ = find_regions(scores.max(axis=0), tuning=tuning, scope=scope)
    found = region_map > 0
    if scope.ignored is not None:
        scores[:, scope.ignored] = 0
    best = float(scores.max())
    return Finding(
        score_map=scores,
        region_map=region_map,
        regions=tuple(
            region
            for region in detections
            if np.float32(region.score) >= tuning.pixel_threshold
            and region.area >= tuning.min_area
            and _pixels(region, found).any()
        ),
        score=tuning.image_mix.score(best, None),
        witnesses=(best, None),
        class_scores=scores.max(axis=(1, 2)),
        detections=tuple(detections),
    )


def _inside(detections: Sequence[Region], scope: Scope) -> list[Region]:
    """Return the detections cut to the region to inspect, without those that are mostly ignored."""
    if scope.roi is not None:
        cut = (_cut(region, scope.roi) for region in detections)
        detections = [region for region in cut if region]
    if scope.ignored is None:
        return list(detections)
    return [
        region
        for region in detections
        if np.count_nonzero(_pixels(region, scope.ignored)) < MAX_IGNORED * region.area
    ]


def _pixels(region: Region, mask: Mask) -> Mask:
    """Return the pixels of a detection that are in ``mask``, (height, width) bool of its box."""
    inside = mask[region.window]
    return inside if region.mask is None else inside & region.mask


def _cut(region: Region, roi: Mask) -> Region | None:
    pixels = _pixels(region, roi)
    area = int(np.count_nonzero(pixels))
    if area in (0, region.area):
        return region if area else None
    x, y, width, height = cv2.boundingRect(pixels.astype(np.uint8))
    pixels = pixels[y : y + height, x : x + width]
    left, top, _, _ = region.box_xywh
    return replace(
        region,
        box_xywh=(left + x, top + y, width, height),
        area=area,
        mask=None if pixels.all() else pixels,
    )
