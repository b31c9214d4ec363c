"""Average precision of boxes, as COCO counts it.

Boxes are half-open ``x, y, width, height`` in pixels. Shapes: D detections and G true boxes of one
class in one image, N detections of one class in all images, T = 10 overlaps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import box_convert, box_iou
from typing_extensions import TypedDict

from defectkit.arrays import BoolArray, Float64Array
from defectkit.regions import Region

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""Intersections over union from which a detection counts as right: 0.50, 0.55 ... 0.95."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read."""

MAX_DETECTIONS = 100
"""Detections per image and class that are judged, the best ones."""


class BoxResult(TypedDict):
    """The ``box`` section of ``metrics.json``, in [0, 1]; ``None`` where there is no true box."""

    map_50: float | None
    map_50_95: float | None


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBoxes:
    """The boxes of a class in an image: number of true ones; scores (D,), hits (D, T)."""

    n_true: int
    scores: Float64Array
    hits: BoolArray


class BoxMetrics:
    """Mean average precision of ranked boxes, one image at a time.

    The same numbers as COCO's own evaluation (Lin et al., "Microsoft COCO", ECCV 2014), with boxes
    of every area and no crowds. Of detections with equal scores those of earlier images come first,
    and within an image the earlier ones.
    """

    def __init__(self, *, classes: Sequence[str]) -> None:
        self._truths = dict.fromkeys(classes, 0)
        self._scores: dict[str, list[Float64Array]] = {name: [] for name in classes}
        self._hits: dict[str, list[BoolArray]] = {name: [] for name in classes}

    def update(self, detections: Sequence[Region], truth: Sequence[Region]) -> None:
        """Add one image.

        Args:
            detections: regions with scores, in any order; see ``evaluation.ranked_boxes``.
            truth: the true regions.

        Raises:
            KeyError: a class is not one of the ``classes``.
        """
        self.add(judge_boxes(detections, truth))

    def add(self, judged: Mapping[str, JudgedBoxes]) -> None:
        """Add one image whose boxes were judged by ``judge_boxes``.

        Raises:
            KeyError: a class is not one of the ``classes``.
        """
        for name, boxes in judged.items():
            self._truths[name] += boxes.n_true
            self._scores[name].append(boxes.scores)
            self._hits[name].append(boxes.hits)

    def result(self) -> BoxResult:
        """Return the average precision at an overlap of 0.5 and the mean over all ten overlaps.

        The mean over the classes that have a true box; a class without a detection counts as 0.
        """
        precisions = [self._average_precisions(name) for name, n in self._truths.items() if n]
        if not precisions:
            return BoxResult(map_50=None, map_50_95=None)
        by_overlap = np.mean(precisions, axis=0)  # (T,)
        return BoxResult(map_50=float(by_overlap[0]), map_50_95=float(by_overlap.mean()))

    def _average_precisions(self, name: str) -> Float64Array:
        """Return the average precision of a class at each overlap, (T,)."""
        scores = np.concatenate([np.empty(0), *self._scores[name]])  # (N,)
        hits = np.concatenate([np.empty((0, len(OVERLAPS)), bool), *self._hits[name]])  # (N, T)
        right = np.cumsum(hits[np.argsort(-scores, kind="stable")], axis=0)
        recall = right / self._truths[name]
        precision = right / np.arange(1, len(right) + 1)[:, None]
        # At each recall the best precision that is reached there or later; 0 beyond the last one.
        best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        best = np.concatenate([best, np.zeros((1, len(OVERLAPS)))])  # (N + 1, T)
        places = [np.searchsorted(one, RECALLS) for one in recall.T]
        return np.array([best[place, t].mean() for t, place in enumerate(places)])


def judge_boxes(detections: Sequence[Region], truth: Sequence[Region]) -> dict[str, JudgedBoxes]:
    """Return which boxes of an image are right, by class; arguments as of ``BoxMetrics.update``."""
    judged = {}
    for name in sorted({region.class_id for region in (*detections, *truth)}):
        found = [region for region in detections if region.class_id == name]
        found = sorted(found, key=lambda region: -region.score)[:MAX_DETECTIONS]
        true = [region for region in truth if region.class_id == name]
        overlaps = box_iou(_corners(found), _corners(true)).numpy()
        scores = np.array([region.score for region in found], np.float64)
        judged[name] = JudgedBoxes(len(true), scores, _match(overlaps))
    return judged


def _corners(regions: Sequence[Region]) -> torch.Tensor:
    """Return (N, 4) float64 of x0, y0, x1, y1."""
    xywh = torch.tensor([region.box_xywh for region in regions], dtype=torch.float64)
    corners: torch.Tensor = box_convert(xywh.reshape(-1, 4), "xywh", "xyxy")
    return corners


def _match(overlaps: Float64Array) -> BoolArray:
    """Return whether each detection, the best first, is right at each overlap: (D, G) -> (D, T).

    A detection takes the free true box that it overlaps most, of equal ones the last, as in COCO.
    """
    hits = np.zeros((len(overlaps), len(OVERLAPS)), np.bool_)
    free = np.ones((len(OVERLAPS), overlaps.shape[1]), np.bool_)
    for place in np.flatnonzero((overlaps >= OVERLAPS[0]).any(axis=1)):
        row = overlaps[place]
        offers = np.where(free & (row >= OVERLAPS[:, None]), row, -1.0)[:, ::-1]  # (T, G)
        taken = offers.shape[1] - 1 - offers.argmax(axis=1)
        hits[place] = offers.max(axis=1) >= 0.0
        free[hits[place], taken[hits[place]]] = False
    return hits
