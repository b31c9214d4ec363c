"""Whether two images show the same thing: aligned by a candidate, and compared pixel by pixel."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from defectkit.arrays import Float32Array, Image
from defectkit.preparation.leaks.candidates import TOLERANCE, Candidate
from defectkit.preparation.leaks.keypoints import (
    FLIP_X,
    FLIP_Y,
    TRANSPOSE,
    reduce_gray,
    reduction_factor,
)
from defectkit.preparation.leaks.pattern import compare_remainders

MIN_SIMILARITY = 0.75
"""Min. normalized correlation of two aligned images that show the same thing."""
MIN_BLOCK_SIMILARITY = 0.3
"""Min. correlation of three quarters of their blocks. Where two workpieces have only their outlines
in common, their surfaces do not correlate."""
MIN_BLOCK_DEVIATION = 0.2
"""Blocks with a smaller standard deviation, in gray levels, are left out: encoding smooths them."""
BLOCK_SIDE = 16
WINDOW = 384
"""Side of the largest crop that is compared, in pixels of the size at which it is compared."""
MIN_REMAINDER_SIMILARITY = 0.5
"""Min. correlation of what they have beside regular patterns."""
MAX_IRREGULAR_SHARE = 0.25
"""Max. fraction of the energy that is not regular in images of a pattern, such as a weave."""
MIN_REMAINDER_SIMILARITY_OF_PATTERNS = 0.75
"""Min. correlation of what images of a pattern have beside it. Pieces of one weave reach 0.5,
copies that are encoded again 0.93."""
NOTHING = np.empty((0, 0), np.float32)
MIN_NEAR_FRACTION = 0.8
"""Min. fraction of the larger image that two images have in common to be called near."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well two aligned images agree.

    ``similarity`` is their normalized correlation, 1 for the same pixels, and 0 where they do not
    show the same thing; ``common_fraction`` is the fraction of the larger image that both show, in
    [0, 1]; ``only_pattern``: they agree, but in a regular pattern alone.
    """

    similarity: float
    common_fraction: float
    only_pattern: bool = False

    @property
    def kind(self) -> Literal["near", "overlap"]:
        """Near where nearly all of the larger image is in both, else overlap."""
        return "near" if self.common_fraction >= MIN_NEAR_FRACTION else "overlap"


def orient(image: Image, orientation: int) -> Image:
    """Return one of the eight flips and rotations: transposed, then flipped, by the bits set."""
    if orientation & TRANSPOSE:
        image = image.swapaxes(0, 1)
    if orientation & FLIP_X:
        image = image[:, ::-1]
    if orientation & FLIP_Y:
        image = image[::-1]
    return image


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The second image laid on the first where they correlate best.

    ``first`` and ``second`` are what both show, without lighting; the second image, oriented, lies
    ``down`` and ``right`` pixels from the first, of the size at which they are compared.
    """

    similarity: float
    common_fraction: float
    first: Float32Array
    second: Float32Array
    down: int
    right: int


def align(one: Image, other: Image, candidate: Candidate) -> Alignment:
    """Align the two images of ``candidate`` and measure how well they agree, pixel by pixel."""
    fit = fit_images(one, other, candidate)
    if (
        fit.similarity < MIN_SIMILARITY
        or _block_similarity(fit.first, fit.second) < MIN_BLOCK_SIMILARITY
    ):
        return Alignment(0.0, fit.common_fraction)
    remainder = compare_remainders(fit.first, fit.second)
    is_pattern = remainder.share < MAX_IRREGULAR_SHARE
    least = MIN_REMAINDER_SIMILARITY_OF_PATTERNS if is_pattern else MIN_REMAINDER_SIMILARITY
    if remainder.similarity < least:
        return Alignment(0.0, fit.common_fraction, only_pattern=True)
    return Alignment(min(1.0, fit.similarity), fit.common_fraction)


def fit_images(one: Image, other: Image, candidate: Candidate) -> Fit:
    """Lay the second image of ``candidate`` on the first; the similarity is 0 if too small."""
    factor, reduced = reduction_factor(*one.shape[:2]), compared_reduction(*one.shape[:2])
    first = reduce_gray(one, reduced)
    second = orient(reduce_gray(other, reduced), candidate.orientation)
    scale = factor // reduced
    down, right = candidate.down * scale, candidate.right * scale
    margin = TOLERANCE * scale + 2
    top, bottom = _common_range(first.shape[0], second.shape[0], down)
    left, end = _common_range(first.shape[1], second.shape[1], right)
    common = (bottom - top) * (end - left) / max(first.size, second.size)
    rows = _central_slice(top + margin, bottom - margin)
    columns = _central_slice(left + margin, end - margin)
    if min(rows.stop - rows.start, columns.stop - columns.start) < 2 * BLOCK_SIDE:
        return Fit(0.0, common, NOTHING, NOTHING, down, right)
    template = band_pass(first)[rows, columns]
    y, x = max(0, rows.start - down - margin), max(0, columns.start - right - margin)
    around = band_pass(second)[y : rows.stop - down + margin, x : columns.stop - right + margin]
    found = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED)
    _, similarity, _, (dx, dy) = cv2.minMaxLoc(found)
    aligned = around[dy : dy + template.shape[0], dx : dx + template.shape[1]]
    down, right = rows.start - y - dy, columns.start - x - dx
    return Fit(similarity, common, template, aligned, down, right)


def compared_reduction(height: int, width: int) -> int:
    """Return the factor by which images of a size are reduced, so that large ones cost no more."""
    return max(1, reduction_factor(height, width) // 2)


def _common_range(first: int, second: int, shift: int) -> tuple[int, int]:
    """Return start and stop of a line of ``second`` pixels from ``shift`` on, within the first."""
    start = max(0, shift)
    return start, max(start, min(first, shift + second))


def _central_slice(start: int, stop: int) -> slice:
    """Return the central ``WINDOW`` pixels, or all where there are fewer."""
    cut = max(0, (stop - start - WINDOW) // 2)
    return slice(start + cut, stop - cut)


def band_pass(gray: Image) -> Float32Array:
    """Remove the lighting, in which unlike images differ least, and the finest noise."""
    values = gray.astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in (1.0, 4.0))
    return np.asarray(fine - coarse)


def _block_similarity(one: Float32Array, other: Float32Array) -> float:
    """Return the correlation that three quarters of the blocks reach; 0 where all are uniform."""
    rows, columns = one.shape[0] // BLOCK_SIDE, one.shape[1] // BLOCK_SIDE
    shape = (rows, BLOCK_SIDE, columns, BLOCK_SIDE)
    blocks = []
    for values in (one, other):
        block = values[: rows * BLOCK_SIDE, : columns * BLOCK_SIDE].reshape(shape).swapaxes(1, 2)
        block = block.reshape(rows * columns, -1)
        blocks.append(block - block.mean(axis=1, keepdims=True))
    deviations = np.stack([block.std(axis=1) for block in blocks])
    textured = deviations.min(axis=0) > MIN_BLOCK_DEVIATION
    if not textured.any():
        return 0.0
    products = (blocks[0] * blocks[1]).mean(axis=1)
    return float(np.percentile(products[textured] / deviations.prod(axis=0)[textured], 25))
