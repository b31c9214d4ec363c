"""From the boxes of a detector to the finding of an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from defectkit.data.tiles import Tile
from defectkit.findings import Finding
from defectkit.models.detection.boxes import non_max_suppression
from defectkit.models.detection.detector import Detections
from defectkit.regions import Region

MASK_THRESHOLD = 0.5
"""Pixels whose mask reaches it belong to the defect, as Mask R-CNN was trained."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A defect that a detector holds to be there, in whole pixels of the image.

    ``box_xywh`` is half-open and lies in the image; ``mask`` (height, width) bool says which of its
    pixels are meant, at least one: all of them where the detector gives boxes alone.
    """

    label: int
    score: float
    box_xywh: tuple[int, int, int, int]
    mask: npt.NDArray[np.bool_]

    @property
    def window(self) -> tuple[slice, slice]:
        """Its (rows, columns) in the image."""
        x, y, width, height = self.box_xywh
        return slice(y, y + height), slice(x, x + width)

    def region(self, classes: Sequence[str]) -> Region:
        """It, as findings have it."""
        area = int(np.count_nonzero(self.mask))
        return Region(
            class_id=classes[self.label], score=self.score, box_xywh=self.box_xywh, area=area
        )


def place(found: Detections, tile: Tile) -> Iterator[Mark]:
    """Yield the detections in a tile as marks in the image; what lies outside of it is cut off."""
    corners = found.boxes.round().long().cpu().numpy()
    corners = corners.clip(0, [tile.width, tile.height] * 2)
    scores, labels = found.scores.clamp(0.0, 1.0).tolist(), found.labels.tolist()
    for index, (x0, y0, x1, y1) in enumerate(corners.tolist()):
        if x0 == x1 or y0 == y1:  # in the padding, or thinner than half a pixel
            continue
        mask = np.broadcast_to(np.True_, (y1 - y0, x1 - x0))
        if found.masks is not None:
            inside = found.masks[index, y0:y1, x0:x1] >= MASK_THRESHOLD
            # A defect whose mask is empty is still held to be there.
            mask = inside.cpu().numpy() if inside.any() else mask
        box = (tile.x + x0, tile.y + y0, x1 - x0, y1 - y0)
        yield Mark(labels[index], scores[index], box, mask)


def thin_out(marks: Sequence[Mark], *, nms_iou: float, max_detections: int) -> list[Mark]:
    """Return the marks, the best first, without those that tiles which overlap gave twice."""
    boxes = torch.tensor([mark.box_xywh for mark in marks], dtype=torch.float32).reshape(-1, 4)
    kept = non_max_suppression(
        torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
        torch.tensor([mark.score for mark in marks]),
        torch.tensor([mark.label for mark in marks], dtype=torch.int64),
        nms_iou=nms_iou,
        score_threshold=0.0,
        max_detections=max_detections,
    )
    return [marks[index] for index in kept.tolist()]


def finding_of(
    marks: Sequence[Mark],
    classes: Sequence[str],
    shape: tuple[int, int],
    *,
    pixel_threshold: float,
    min_area: int,
) -> Finding:
    """Return the finding of the marks in an image of ``shape`` (H, W), the best mark first.

    A pixel's score is the largest of the marks that cover it, and the image's that of its best
    mark. So a mark is a region exactly when its pixels reach the threshold.
    """
    scores = np.zeros((len(classes), *shape), np.float32)
    for mark in reversed(marks):
        scores[mark.label][mark.window][mark.mask] = mark.score
    detections = tuple(mark.region(classes) for mark in marks)
    return Finding(
        score_map=scores,
        regions=tuple(
            region
            for region in detections
            if np.float32(region.score) >= pixel_threshold and region.area >= min_area
        ),
        score=float(scores.max()),
        class_scores=scores.max(axis=(1, 2)),
        detections=detections,
    )
