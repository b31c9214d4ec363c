"""Region proposals: boxes that may contain an object, found in the pixels and not learned.

After selective search (Uijlings et al. 2013): the image is divided into small homogeneous regions
(Felzenszwalb and Huttenlocher 2004), the two most similar neighbors are merged until one region is
left, and the box of every region on the way is a proposal. R-CNN and Fast R-CNN start from them.
OpenCV has the original in its contrib module only, so this is our own on scikit-image.
"""

import heapq
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import felzenszwalb

from defectkit.arrays import Float32Array, Float64Array, Image, Int64Array

SIDES = (128, 256)
"""Images are searched at half size, with their longer side within these bounds, for speed."""
SCALE = 15.0
"""Coarseness of the first regions: felzenszwalb's ``scale``."""
BLUR = 2.0
"""Standard deviation in pixels of the blur before, so that fine texture makes no regions."""
MIN_PIXELS = 12
"""Pixels of the smallest first region."""
HISTOGRAM_BINS = 16


@dataclass(frozen=True, slots=True)
class _Regions:
    """All regions of a search: N first ones, and their N - 1 unions as they are made.

    ``histograms`` (2N - 1, bins) of values and edges, each with sum 1; ``sizes`` (2N - 1,)
    pixels; ``boxes`` (2N - 1, 4) x0, y0, x1, y1, half-open; ``area`` pixels of the image.
    """

    histograms: Float64Array
    sizes: Float64Array
    boxes: Float64Array
    area: int


def propose_boxes(image: Image, *, max_proposals: int = 256) -> Float32Array:
    """Return at most ``max_proposals`` boxes of (H, W, C) uint8 that may hold a defect.

    (N, 4) float32 of x0, y0, x1, y1 in pixels, half-open, within the image; the last unions come
    first. The same image gives the same boxes. A 512 x 512 image takes 0.1 to 0.3 seconds. It is
    searched at half size, a larger one at 256 pixels, so boxes are exact to 2 pixels or 1/128 of
    the image, and smaller defects are missed.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    side = min(max(longest // 2, SIDES[0]), SIDES[1], longest)
    size = max(round(width * side / longest), 1), max(round(height * side / longest), 1)
    small = _reduce(image, size) if side < longest else image
    boxes = _search(small)
    _, first = np.unique(boxes, axis=0, return_index=True)
    chosen = boxes[np.sort(first)[:max_proposals]]
    factors = [width / size[0], height / size[1]] * 2
    return np.asarray(chosen * factors, np.float32)


def propose_boxes_torch(image: torch.Tensor) -> torch.Tensor:
    """(C, H, W) in [0, 255] -> the proposals (N, 4), N > 0, on the same device."""
    pixels = image.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return torch.from_numpy(propose_boxes(np.ascontiguousarray(pixels))).to(image.device)


def _reduce(image: Image, size: tuple[int, int]) -> Image:
    """Return (H, W, C) resized to ``size``, (width, height): cv2 takes up to four channels."""
    parts = [image[:, :, start : start + 4] for start in range(0, image.shape[2], 4)]
    small = [
        cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA) for part in parts
    ]
    return np.asarray(np.dstack(small), np.uint8)


def _search(image: Image) -> Float64Array:
    """(H, W, C) -> boxes (2N - 1, 4) of all regions, the last union first."""
    layers = _layers(image)
    smooth = np.stack(
        [cv2.GaussianBlur(one, (0, 0), BLUR) for one in layers.astype(np.float32)], -1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it warns of more than three layers
        labels = felzenszwalb(smooth / 255, scale=SCALE, sigma=0, min_size=MIN_PIXELS)
    count = int(labels.max()) + 1
    regions = _first_regions(layers, labels, count)
    _merge_all(regions, _neighbors(labels, count), count)
    return regions.boxes[::-1]


def _layers(image: Image) -> Image:
    """(H, W, C) -> (2C, H, W): the channels, and the strength of edges in each.

    A defect may differ from its surroundings in texture alone.
    """
    channels = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    window = np.ones((3, 3), np.uint8)
    edges = [
        cv2.blur(cv2.morphologyEx(one, cv2.MORPH_GRADIENT, window), (7, 7)) for one in channels
    ]
    return np.concatenate([channels, edges])


def _first_regions(layers: Image, labels: Int64Array, count: int) -> _Regions:
    sizes = np.bincount(labels.ravel(), minlength=count)
    histograms = np.zeros((2 * count - 1, len(layers), HISTOGRAM_BINS))
    for place, layer in enumerate(layers):
        cells = labels * HISTOGRAM_BINS + layer // (256 // HISTOGRAM_BINS)
        histogram = np.bincount(cells.ravel(), minlength=count * HISTOGRAM_BINS)
        histogram = histogram.reshape(count, HISTOGRAM_BINS)
        histograms[:count, place] = histogram / sizes[:, None] / len(layers)
    boxes = np.zeros((2 * count - 1, 4))
    for place, (rows, columns) in enumerate(ndimage.find_objects(labels + 1)):
        boxes[place] = columns.start, rows.start, columns.stop, rows.stop
    return _Regions(
        histograms.reshape(len(histograms), -1),
        np.concatenate([sizes, np.zeros(count - 1)]),
        boxes,
        labels.size,
    )


def _neighbors(labels: Int64Array, count: int) -> list[set[int]]:
    """Return the numbers of the regions that each region touches."""
    touching: list[set[int]] = [set() for _ in range(2 * count - 1)]
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        pairs = np.unique((one * count + other)[one != other])
        for a, b in zip((pairs // count).tolist(), (pairs % count).tolist(), strict=True):
            touching[a].add(b)
            touching[b].add(a)
    return touching


def _merge_all(regions: _Regions, touching: list[set[int]], count: int) -> None:
    """Merge the two most similar neighbors until one region is left."""
    queue: list[tuple[float, int, int]] = []
    alive = set(range(count))
    for one in range(count):
        _enqueue(queue, regions, one, touching[one])
    for new in range(count, 2 * count - 1):
        one, other = _most_similar(queue, alive)
        _merge_pair(regions, one, other, new)
        alive = (alive - {one, other}) | {new}
        touching[new] = (touching[one] | touching[other]) - {one, other}
        for neighbor in touching[new]:
            touching[neighbor] = (touching[neighbor] - {one, other}) | {new}
        _enqueue(queue, regions, new, touching[new])


def _enqueue(
    queue: list[tuple[float, int, int]], regions: _Regions, one: int, neighbors: set[int]
) -> None:
    others = sorted(neighbors)
    for similarity, other in zip(_similarities(regions, one, others), others, strict=True):
        heapq.heappush(queue, (-similarity, one, other))


def _most_similar(queue: list[tuple[float, int, int]], alive: set[int]) -> tuple[int, int]:
    """Take pairs off the queue until one comes of which neither is merged already."""
    while True:
        _, one, other = heapq.heappop(queue)
        if one in alive and other in alive:
            return one, other


def _similarities(regions: _Regions, one: int, others: list[int]) -> list[float]:
    """Return the paper's similarity of ``one`` to each of ``others``.

    The sum of three terms: the intersection of the histograms; small sizes, so that regions grow
    evenly over the image; and the fraction of the common box that the two fill.
    """
    common = np.minimum(regions.histograms[one], regions.histograms[others]).sum(axis=1)
    size = regions.sizes[one] + regions.sizes[others]
    low = np.minimum(regions.boxes[one, :2], regions.boxes[others, :2])
    high = np.maximum(regions.boxes[one, 2:], regions.boxes[others, 2:])
    gap = (high - low).prod(axis=1) - size
    similarities: list[float] = (2 * common + 2 - (size + gap) / regions.area).tolist()
    return similarities


def _merge_pair(regions: _Regions, one: int, other: int, new: int) -> None:
    pair = [one, other]
    weights = regions.sizes[pair]
    regions.sizes[new] = weights.sum()
    regions.histograms[new] = weights @ regions.histograms[pair] / weights.sum()
    regions.boxes[new, :2] = regions.boxes[pair, :2].min(axis=0)
    regions.boxes[new, 2:] = regions.boxes[pair, 2:].max(axis=0)
