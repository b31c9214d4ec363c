"""Real defects pasted into good surface: a region with its margin, where its surroundings fit.

The pixels around the region, a ring, tell where it may go: where the surface looks like them. There
the patch is brought to the light of the place, and fades out over the ring.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, Float32Array, Image, Mask, Masks
from defectkit.config import AugmentConfig
from defectkit.regions import Region, label_regions

MARGIN = 10
"""Width of the ring in pixels."""
SOLID = 2
"""Width of its inner part that is pasted without fading: labels often miss a defect's edge."""
REDUCTION = 4
"""The place is searched in images whose side is that many times smaller."""
BEST_FRACTION = 0.02
"""The place is drawn among this fraction of those that are free, whose surface fits best."""
MAX_DIFFERENCE = 12.0
"""Max. difference between ring and place in gray levels, root mean square."""
BRIGHTNESS_WEIGHT = 0.2
"""Weight of a difference in mean brightness in that, after the gain: it is matched."""
MAX_GAIN = 1.4
"""Max. factor by which a patch is made brighter or darker."""
MAX_CONTRAST_RATIO = 2.0
"""Max. ratio of the standard deviations of ring and place: how rough the surface is."""

Sides = Mask
"""Sides, (3, 3) bool: those above, below, on the left and on the right of the middle."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A region with its margin: image (h, w, C), masks (K, h, w) and ``alpha``, (h, w) in [0, 1].

    ``alpha`` is 1 on the region and falls to 0 at the margin's end; ``ring`` is (h, w) bool. At its
    ``sides`` the image ends within the margin, and so does the patch.
    """

    image: Image
    masks: Masks
    alpha: Float32Array
    ring: Mask
    sides: Sides


def cut_patch(
    image: Image, masks: Masks, counted: Masks, layer: int, region: Region
) -> Patch | None:
    """Cut a region of the class ``layer`` out of its image, (H, W, C), and its masks, (K, H, W).

    ``counted``, (1, H, W), is 1 on the pixels that count; (0, H, W) where all do. Returns None
    where the margin has others, or nothing but defects.
    """
    box = region.window
    ends = [
        (span.start, length - span.stop) for span, length in zip(box, image.shape, strict=False)
    ]
    (top, bottom), (left, right) = around = np.minimum(ends, MARGIN)
    rows = slice(box[0].start - top, box[0].stop + bottom)
    columns = slice(box[1].start - left, box[1].stop + right)
    sides = np.zeros((3, 3), np.bool_)
    sides[(0, 2), 1], sides[1, (0, 2)] = around < MARGIN

    own = np.pad(mask_of_region(masks[layer], region), around)
    distance = cv2.distanceTransform((~own).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha = np.clip((MARGIN - distance) / (MARGIN - SOLID), 0, 1, dtype=np.float32)
    alpha = alpha * alpha * (3 - 2 * alpha)  # without a kink at either end
    masks = masks[:, rows, columns]
    edges = np.ones((2 * SOLID + 1, 2 * SOLID + 1), np.uint8)
    ring = (alpha > 0) & (cv2.dilate(masks.max(axis=0), edges) == 0)
    if not ring.any() or not counted[:, rows, columns][:, alpha > 0].all():
        return None
    return Patch(image[rows, columns], masks * (alpha >= 0.5), alpha, ring, sides)


def mask_of_region(mask: npt.NDArray[np.uint8], region: Region) -> Mask:
    """Return the pixels of one of the regions of ``mask``, (H, W), in its box, (h, w)."""
    labels, parts = label_regions(mask[region.window])
    # Of others only parts lie in its box, none of which fills it.
    number = [part.box_xywh[2:] for part in parts].index(region.box_xywh[2:])
    own: Mask = labels == number + 1
    return own


def turn_patch(patch: Patch, config: AugmentConfig, rng: np.random.Generator) -> Patch:
    """Flip and turn a patch at random, as samples are by ``config``."""
    turns = int(rng.integers(4)) if rng.random() < config.rot90 else 0
    flips = [axis for axis, p in enumerate((config.vflip, config.hflip)) if rng.random() < p]

    def turn(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(np.flip(np.rot90(array, turns), tuple(flips)))

    masks = np.stack([turn(mask) for mask in patch.masks])
    return Patch(turn(patch.image), masks, turn(patch.alpha), turn(patch.ring), turn(patch.sides))


def find_place(
    patch: Patch, image: Image, free: Mask, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw the first row and column of a place for a patch in an image, (H, W, C).

    All pixels under the patch are ``free``, (H, W) bool, and those under its ring look like it;
    where its own image ended, this one ends. Returns None where there is no such place.
    """
    size, support = np.array(patch.alpha.shape), patch.alpha > 0
    last = np.array(image.shape[:2]) - size
    if (last < 0).any():
        return None
    difference = _difference(patch, image)
    rows = _allowed(patch.sides, difference.shape[0])
    columns = _allowed(patch.sides.T, difference.shape[1])
    blocked = _correlate(_reduce(~free), _reduce(support)) > 1e-4
    difference[blocked | ~(rows[:, None] & columns)] = np.inf
    count = max(round(BEST_FRACTION * np.isfinite(difference).sum()), 1)
    best = np.argsort(difference, axis=None, kind="stable")[:count]
    cell = np.unravel_index(rng.choice(best), difference.shape)
    if difference[cell] > MAX_DIFFERENCE**2:
        return None
    row, column = (int(start) for start in np.minimum(REDUCTION * np.array(cell), last))
    if patch.sides[2, 1]:
        row = int(last[0])
    if patch.sides[1, 2]:
        column = int(last[1])
    window = (slice(row, row + size[0]), slice(column, column + size[1]))
    low, high = sorted(
        _roughness(of) for of in (image[window][patch.ring], patch.image[patch.ring])
    )
    fits = free[window][support].all() and high <= MAX_CONTRAST_RATIO * low
    return (row, column) if fits else None


def _allowed(sides: Sides, count: int) -> BoolArray:
    """Return at which of ``count`` reduced rows a patch may start, (count,) bool."""
    starts, (above, below) = np.arange(count), sides[(0, 2), 1]
    allowed: BoolArray = ((starts == 0) | ~above) & ((starts == count - 1) | ~below)
    return allowed


def _difference(patch: Patch, image: Image) -> Float32Array:
    """Return the mean square difference between the ring and an image, reduced, at all places."""
    whole, own, ring = map(_reduce, (image.mean(axis=2), patch.image.mean(axis=2), patch.ring))
    ring = ring / ring.sum()
    mean, square = _correlate(whole, ring), _correlate(whole**2, ring)
    own_mean, own_square = (ring * own).sum(), (ring * own**2).sum()
    covariance = _correlate(whole, ring * own) - mean * own_mean
    gain = _gain(mean, own_mean)
    difference: Float32Array = (
        (square - mean**2)
        + gain**2 * (own_square - own_mean**2)
        - 2 * gain * covariance
        + BRIGHTNESS_WEIGHT * (mean - gain * own_mean) ** 2
    )
    return difference


def _gain(mean: Any, own_mean: Any) -> Any:
    """Return the factor, of any shape, that brings a patch to the light at a place."""
    return np.clip(mean / np.maximum(own_mean, 1.0), 1 / MAX_GAIN, MAX_GAIN)


def _roughness(pixels: npt.NDArray[np.uint8]) -> float:
    """Return the standard deviation of pixels, (N, C), at least that of rounding them."""
    return max(float(pixels.std(axis=0).mean()), 1.0)


def paste(patch: Patch, image: Image, masks: Masks, place: tuple[int, int]) -> tuple[Image, Masks]:
    """Return copies of image (H, W, C) and masks with a patch at ``place``.

    Of the masks, (K, H, W) or more, the first K are those of the classes.
    """
    height, width = patch.alpha.shape
    window = (slice(place[0], place[0] + height), slice(place[1], place[1] + width))
    here, own, ring = image[window].astype(np.float32), patch.image.astype(np.float32), patch.ring
    own *= _gain(here[ring].mean(), own[ring].mean())
    # What differs on the ring is continued smoothly into the region.
    sigma = max(height, width) / 4
    weight = cv2.GaussianBlur(ring.astype(np.float32), (0, 0), sigma)[..., None]
    shift = cv2.GaussianBlur((here - own) * ring[..., None], (0, 0), sigma).reshape(here.shape)
    own += shift / np.maximum(weight, 1e-6)
    blended = here + patch.alpha[..., None] * (own - here)
    image, masks = image.copy(), masks.copy()
    image[window] = np.clip(np.rint(blended), 0, 255)
    masks[: len(patch.masks), *window] |= patch.masks
    return image, masks


def _reduce(values: npt.NDArray[Any]) -> Float32Array:
    """Return the means of squares of pixels; those at the end are filled up with the last ones."""
    around = [(0, -side % REDUCTION) for side in values.shape]
    values = np.pad(values.astype(np.float32), around, mode="edge")
    rows, columns = (side // REDUCTION for side in values.shape)
    means: Float32Array = values.reshape(rows, REDUCTION, columns, REDUCTION).mean(axis=(1, 3))
    return means


def _correlate(values: Float32Array, kernel: Float32Array) -> Float32Array:
    """Return the sums of ``values`` weighted by ``kernel``, at all places where it fits."""
    rows, columns = np.array(values.shape) - kernel.shape + 1
    sums = cv2.filter2D(values, -1, kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums[:rows, :columns], np.float32)
