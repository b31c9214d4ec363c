"""From the scores of a large image, block by block, to a finding; its score map is never whole."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import cv2
import numpy as np

from defectkit.approaches.score_maps import (
    SCORE_WINDOW,
    give_class,
    largest_scores,
    region_of,
    region_score,
)
from defectkit.approaches.tuning import Tuning
from defectkit.approaches.whole_images import Block
from defectkit.arrays import (
    Float32Array,
    ImageSize,
    IndexArray,
    Int32Array,
    Int64Array,
    Mask,
    ScoreMap,
)
from defectkit.findings import SparseFinding
from defectkit.memory import check_memory
from defectkit.regions import Region, StripRegions

STRIP_BYTES = 24
"""Bytes of memory that a pixel of a strip takes while its regions are found, as measured."""


@dataclass(frozen=True, slots=True, eq=False)
class _Strip:
    """Some rows of an image: the largest scores, (H, W), and those of the pixels that are found."""

    rows: slice
    largest: ScoreMap
    found: Mask
    scores: Float32Array  # (K, N), row by row
    decision: float | None


def find_sparsely(
    blocks: Iterable[Block],
    size: ImageSize,
    classes: Sequence[str],
    *,
    tuning: Tuning,
    one_class: bool = False,
    roi: Mask | None = None,
) -> SparseFinding:
    """Return what ``make_finding`` finds, of one image whose scores come in blocks.

    Args:
        blocks: the scores of the image, (1, K, H, W) each, as ``score_blocks`` yields them.
        size: the (height, width) of the image.
        classes: the names of the K classes.
        tuning: which pixels are found, which of their regions are left out, and how the map and
            the largest logit make the image's score.
        one_class: all pixels of a region get its class.
        roi: (H, W) bool, the region to inspect; by default the whole image.

    Raises:
        ImageError: there is too little memory for all that is found.
    """
    parts = StripRegions()
    highest, means = _Highest(size), _Means(size, roi)
    pixels: list[Int32Array] = []
    numbers: list[Int32Array] = []
    scores = [np.zeros((len(classes), 0), np.float32)]
    decisions: list[float] = []
    for strip in _strips(blocks, size, tuning.pixel_threshold, roi):
        places = np.flatnonzero(strip.found)
        check_memory(8 * (len(classes) + 4) * len(places), what="keeping what is found")
        pixels.append((places + strip.rows.start * size[1]).astype(np.int32))
        numbers.append(parts.add(strip.found).reshape(-1)[places])
        scores.append(strip.scores)
        highest.add(strip.rows, strip.largest)
        means.add(strip.rows, strip.largest)
        decisions += [] if strip.decision is None else [strip.decision]
    final, regions = parts.finish()
    kept, listed, told = _list_regions(
        final[np.concatenate(numbers)],
        np.concatenate(scores, axis=1),
        regions,
        classes,
        tuning=tuning,
        one_class=one_class,
    )
    logit = max(decisions) if decisions and roi is None else None
    return SparseFinding(
        size=size,
        pixels=np.concatenate(pixels)[kept],
        scores=told,
        highest=highest.bits,
        regions=tuple(listed),
        score=tuning.image_mix.score(means.largest, logit),
    )


def score_sparsely(
    blocks: Iterable[Block], size: ImageSize, *, tuning: Tuning, roi: Mask | None = None
) -> float:
    """Return the score alone of what ``find_sparsely`` finds."""
    means = _Means(size, roi)
    decisions: list[float] = []
    for strip in _strips(blocks, size, np.inf, roi):
        means.add(strip.rows, strip.largest)
        decisions += [] if strip.decision is None else [strip.decision]
    return tuning.image_mix.score(
        means.largest, max(decisions) if decisions and roi is None else None
    )


def _strips(
    blocks: Iterable[Block], size: ImageSize, threshold: float, roi: Mask | None
) -> Iterator[_Strip]:
    """Yield the strips of an image that its blocks make; outside of ``roi`` scores are 0."""
    for _, row in groupby(blocks, key=lambda block: block.rows.start):
        first = True
        places: list[Int64Array] = []
        scores: list[Float32Array] = []
        decisions: list[float] = []
        for block in row:
            rows, columns = block.rows, block.columns
            if first:
                height = rows.stop - rows.start
                check_memory(STRIP_BYTES * height * size[1], what="finding defects in a strip")
                largest = np.empty((height, size[1]), np.float32)
                found = np.zeros(largest.shape, np.bool_)
                first = False
            part, inside = largest[:, columns], found[:, columns]
            part[...] = largest_scores(block.scores[0])
            np.greater_equal(part, threshold, out=inside)
            if roi is not None:
                inside &= roi[rows, columns]
                part[~roi[rows, columns]] = 0.0
            y, x = np.nonzero(inside)
            places.append(y * size[1] + x + columns.start)
            scores.append(block.scores[0][:, y, x])
            decisions += [] if block.decisions is None else [float(block.decisions[0])]
        order = np.argsort(np.concatenate(places))
        told = np.concatenate(scores, axis=1)[:, order]
        yield _Strip(rows, largest, found, told, max(decisions, default=None))


def _list_regions(
    numbers: Int32Array,
    scores: Float32Array,
    regions: Sequence[Region],
    classes: Sequence[str],
    *,
    tuning: Tuning,
    one_class: bool,
) -> tuple[IndexArray, list[Region], Float32Array]:
    """Return which of the found pixels stay, the regions that they make, and their scores.

    Args:
        numbers: the region of each found pixel, from 1, (N,).
        scores: (K, N).
        regions: all regions.
        classes: the names of the K classes.
        tuning: which regions are left out.
        one_class: all pixels of a region get its class.
    """
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum([region.area for region in regions], dtype=np.int64)
    own_classes = np.full(len(regions) + 1, -1)
    listed = []
    for number, (region, end) in enumerate(zip(regions, ends, strict=True), start=1):
        if region.area < tuning.min_area:
            continue
        inside = scores[:, order[end - region.area : end]]
        score = region_score(largest_scores(inside))
        if score >= tuning.region_threshold:
            own = int((inside.sum(axis=1) / region.area).argmax())
            own_classes[number] = own
            listed.append(region_of(region, class_id=classes[own], score=score))
    given = own_classes[numbers]
    kept = np.flatnonzero(given >= 0)
    told = scores[:, kept]
    return kept, listed, give_class(told, given[kept]) if one_class and listed else told


class _Highest:
    """The pixels with the highest score so far."""

    def __init__(self, size: ImageSize) -> None:
        self.bits = np.zeros((size[0], -(-size[1] // 8)), np.uint8)
        self._score = -1.0

    def add(self, rows: slice, scores: ScoreMap) -> None:
        """Take the next rows."""
        score = float(scores.max())
        if score > self._score:
            self.bits[: rows.start] = 0
            self._score = score
        if score == self._score:
            self.bits[rows] = np.packbits(scores == scores.dtype.type(score), axis=1)


@dataclass(slots=True)
class _Means:
    """The largest mean so far, as ``image_score`` takes it of the whole map.

    Attributes:
        size: the (height, width) of the image.
        roi: the pixels that count, (H, W) bool; None where all do.
        largest: the score, in [0, 1].
    """

    size: ImageSize
    roi: Mask | None
    largest: float = 0.0
    _tail: ScoreMap = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def add(self, rows: slice, scores: ScoreMap) -> None:
        """Take the next rows; those whose neighbors are still missing wait for them."""
        halo = SCORE_WINDOW // 2
        start = rows.start - len(self._tail)
        near = np.concatenate([self._tail, scores]) if len(self._tail) else scores
        self._tail = near[-2 * halo :].copy()
        done = slice(halo if start else 0, len(near) - (0 if rows.stop == self.size[0] else halo))
        if done.start >= done.stop:
            return
        means = _blur(near)[done]
        if self.roi is not None:
            counted = self.roi[start : rows.stop]
            shares = _blur(counted.astype(np.float32))[done]
            counted = counted[done]
            means = means[counted] / shares[counted]
        self.largest = max(self.largest, float(np.clip(means.max(initial=0.0), 0.0, 1.0)))


def _blur(scores: ScoreMap) -> ScoreMap:
    window = (min(SCORE_WINDOW, scores.shape[1]), SCORE_WINDOW)
    return np.asarray(cv2.blur(scores, window, borderType=cv2.BORDER_REFLECT), np.float32)
