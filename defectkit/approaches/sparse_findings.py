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
    region_score,
)
from defectkit.approaches.tuning import Tuning
from defectkit.approaches.whole_images import Block
from defectkit.arrays import (
    Float32Array,
    ImageSize,
    Int32Array,
    Int64Array,
    Mask,
    ScoreMap,
)
from defectkit.data.strips import row_slices
from defectkit.findings import NO_CLASS, SparseFinding, best_layers
from defectkit.memory import check_memory, return_freed
from defectkit.regions import Region, StripRegions, box_order

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
    regions = _ClosedRegions(size, classes, tuning, one_class)
    highest, means = _Highest(size), _Means(size, roi)
    decisions: list[float] = []
    for strip in _strips(blocks, size, tuning.pixel_threshold, roi):
        highest.add(strip.rows, strip.largest)
        means.add(strip.rows, strip.largest)
        decisions += [] if strip.decision is None else [strip.decision]
        regions.add(strip)
        del strip  # Else it stays while the next one is made.
    pixels, layers = np.concatenate(regions.pixels), np.concatenate(regions.layers)
    order = np.argsort(pixels)
    logit = max(decisions) if decisions and roi is None else None
    return SparseFinding(
        size=size,
        pixels=pixels[order],
        layers=layers[order],
        highest=highest.bits,
        regions=tuple(sorted(regions.listed, key=lambda region: box_order(region.box_xywh))),
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
        del strip
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
        place = np.concatenate(places)
        order = np.argsort(place)
        place, told = place[order], np.concatenate(scores, axis=1)[:, order]
        decision = max(decisions, default=None)
        del places, scores, order
        for piece in row_slices(height):  # The numbers between take much memory.
            start, stop = np.searchsorted(place, (piece.start * size[1], piece.stop * size[1]))
            yield _Strip(
                slice(rows.start + piece.start, rows.start + piece.stop),
                largest[piece],
                found[piece],
                told[:, start:stop],
                decision,
            )
        del largest, found, part, inside, place, told
        return_freed()


class _ClosedRegions:
    """The regions of an image, each made as soon as no strip can go on with it.

    Attributes:
        pixels: those of the regions, (N,) int32 each.
        layers: what ``best_layers`` says of them.
        listed: the regions.
    """

    def __init__(
        self, size: ImageSize, classes: Sequence[str], tuning: Tuning, one_class: bool
    ) -> None:
        self.pixels = [np.zeros(0, np.int32)]
        self.layers = [np.zeros(0, np.int16)]
        self.listed: list[Region] = []
        self._size, self._classes = size, classes
        self._tuning, self._one_class = tuning, one_class
        self._strips = StripRegions()
        # What is still open: the pixels, their parts, their scores.
        self._open = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._scores = np.zeros((len(classes), 0), np.float32)

    def add(self, strip: _Strip) -> None:
        """Take the next strip, and make the regions that end with it."""
        places = np.flatnonzero(strip.found)
        count = len(places) + len(self._open[0])
        check_memory(12 * (len(self._classes) + 4) * count, what="keeping what is found")
        parts = self._strips.add(strip.found).reshape(-1)[places]
        pixels = (places + strip.rows.start * self._size[1]).astype(np.int32)
        pixels, parts = (
            np.concatenate(both) for both in zip(self._open, (pixels, parts), strict=True)
        )
        scores = np.concatenate([self._scores, strip.scores], axis=1)
        numbers = self._strips.regions_of(parts)
        stays = np.isin(numbers, self._strips.open_regions())
        if strip.rows.stop == self._size[0]:
            stays[:] = False
        self._open, self._scores = (pixels[stays], parts[stays]), scores[:, stays]
        if not stays.all():
            ends = ~stays
            self._close(pixels[ends], numbers[ends], scores[:, ends])

    def _close(self, pixels: Int32Array, numbers: Int32Array, scores: Float32Array) -> None:
        """Make the regions of pixels (N,), whose numbers and scores, (K, N), are given."""
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        y, x = np.divmod(pixels[order], self._size[1])
        left, right = (reach.reduceat(x, starts) for reach in (np.minimum, np.maximum))
        top, bottom = (reach.reduceat(y, starts) for reach in (np.minimum, np.maximum))
        boxes = np.stack([left, top, right - left + 1, bottom - top + 1], axis=1).tolist()
        given = np.full(len(pixels), NO_CLASS, np.intp)
        for box, inside in zip(boxes, np.split(order, starts[1:]), strict=True):
            if len(inside) < self._tuning.min_area:
                continue
            own = scores[:, inside]  # (K, area)
            score = region_score(largest_scores(own))
            if score < self._tuning.region_threshold:
                continue
            layer = int((own.sum(axis=1) / len(inside)).argmax())
            given[inside] = layer
            self.listed.append(
                Region(
                    box_xywh=tuple(box),
                    area=len(inside),
                    class_id=self._classes[layer],
                    score=score,
                )
            )
        kept = given != NO_CLASS
        told = scores[:, kept]
        if self._one_class and told.size:
            told = give_class(told, given[kept])
        self.pixels.append(pixels[kept])
        self.layers.append(best_layers(told).astype(np.int16))


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
