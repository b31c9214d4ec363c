"""How much a labeled region looks like its surroundings, compared with other places."""

import cv2
import numpy as np

from defectkit.arrays import Float32Array, Image, IndexArray, Mask
from defectkit.regions import Region

MIN_COMPARED_AREA = 64
"""In pixels; smaller regions or surroundings have too few pixels to be compared."""

RING_GAP = 2
"""In pixels, between a region and its surroundings."""

PLACEMENTS = 24
"""Number of other places in the image that a region is compared at."""

MAX_PLACEMENT_TRIES = 10 * PLACEMENTS
"""Max. number of random places that are tried to find them."""

MAX_COMPARED_PIXELS = 2000
"""Larger regions and surroundings are compared by a random draw of this many of their pixels."""


def flatness_features(image: Image) -> Float32Array:
    """Return what regions are compared by, (3, H, W), of an image (H, W, C) uint8.

    Its brightness, the smoothed brightness and the gradient.
    """
    gray = image.mean(axis=2, dtype=np.float32)
    gradient = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    return np.stack([gray, cv2.GaussianBlur(gray, (0, 0), 2.0), gradient])


def measure_flatness(
    features: Float32Array, region: Region, pixels: Mask, labeled: Mask
) -> float | None:
    """Return the fraction of other places that differ from their rings as much as the region.

    The distance in each feature is divided by its median over the other places, and the largest
    counts. None where there is no room for ``PLACEMENTS`` other places.

    Args:
        features: (F, H, W).
        region: the region.
        pixels: (height, width) bool, its own pixels in its window.
        labeled: (H, W) bool, all labeled pixels.
    """
    rng = np.random.default_rng(0)
    inside, around = (_subsample(rng, one) for one in _places(region, pixels, labeled))
    if len(around) < MIN_COMPARED_AREA:
        return None
    own = _distances(features, inside, around)
    extent = np.concatenate([inside, around])
    low, high = -extent.min(axis=0), labeled.shape - extent.max(axis=0)
    others = []
    for offset in rng.integers(low, high, (MAX_PLACEMENT_TRIES, 2)):
        moved = inside + offset
        if not labeled[tuple(moved.T)].any():
            others.append(_distances(features, moved, around + offset))
            if len(others) == PLACEMENTS:
                usual = np.median(others, axis=0)  # (F,)
                largest = (np.array([own, *others]) / np.maximum(usual, 1e-6)).max(axis=1)
                return float(np.mean(largest[1:] >= largest[0]))
    return None


def _places(region: Region, pixels: Mask, labeled: Mask) -> tuple[IndexArray, IndexArray]:
    """Return the places, (N, 2) of y and x, of a region and of the unlabeled ones in a ring.

    The ring has about as many pixels as the region; pixels next to the border belong to neither.
    """
    x, y, width, height = region.box_xywh
    reach = max(2, round(region.area / (2 * (width + height))))
    margin = RING_GAP + reach + 1
    corner = np.array([max(0, y - margin), max(0, x - margin)])
    near = labeled[corner[0] : y + height + margin, corner[1] : x + width + margin]
    own = np.zeros_like(near)
    own[y - corner[0] :, x - corner[1] :][:height, :width] = pixels
    distance = cv2.distanceTransform((~own).view(np.uint8), cv2.DIST_L2, 3)
    ring = (distance > RING_GAP) & (distance <= RING_GAP + reach) & ~near
    return np.argwhere(own) + corner, np.argwhere(ring) + corner


def _subsample(rng: np.random.Generator, places: IndexArray) -> IndexArray:
    """Return at most ``MAX_COMPARED_PIXELS`` rows of ``places``, (N, 2) of y and x."""
    if len(places) <= MAX_COMPARED_PIXELS:
        return places
    return rng.choice(places, MAX_COMPARED_PIXELS, replace=False)


def _distances(features: Float32Array, inside: IndexArray, around: IndexArray) -> list[float]:
    """Return the Kolmogorov-Smirnov distance of two sets of pixels, (N, 2), in each feature."""
    return [
        _kolmogorov_smirnov(values[tuple(inside.T)], values[tuple(around.T)]) for values in features
    ]


def _kolmogorov_smirnov(one: Float32Array, other: Float32Array) -> float:
    # As scipy.stats.ks_2samp, which takes most of its time to choose a method for the p-value.
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    shares = (np.searchsorted(values, places, "right") / len(values) for values in (one, other))
    return float(np.abs(np.subtract(*shares)).max())
