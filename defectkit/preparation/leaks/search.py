"""Images that show the same thing without being the same file.

Candidates are pairs of images with keypoints in common, in places that one orientation and one
shift bring together. Each candidate is then confirmed on the images themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float32Array, Image, Int64Array, UInt64Array
from defectkit.data.images import read_image
from defectkit.preparation.leaks.keypoints import (
    CODE_BITS,
    FLIP_X,
    FLIP_Y,
    TRANSPOSE,
    reduce_gray,
    reduction,
    unpack,
)

TABLES = 12
"""How often the keypoints are sorted by their descriptions, each time with other bits leading."""
NUMBER_BITS = 64 - CODE_BITS
"""So many bits are left for the number of a keypoint: enough for 11 million images."""
NEIGHBORS = 4
"""With how many that follow it in a sorted table a keypoint is compared."""
MOST_BITS = 7
"""In how many bits two descriptions of one place may differ."""
BLOCK_IMAGES = 4096
"""So many images at a time are compared with all others, which bounds the memory."""
LEAST_VOTE = 9
"""What the votes of agreeing pairs of keypoints must come to. Each is worth 8, less 1 for each bit
that differs: so it takes two, and two that are hardly alike do not do. Of images that show the same
in half, 1 in 800 has no more than such two; of others, 6 of 7 that have two at all."""
TOLERANCE = 3
"""How many reduced pixels two pairs of keypoints may disagree about the shift."""

LEAST_SIMILARITY = 0.75
"""The least normalized correlation of two aligned images that show the same thing."""
LEAST_BY_BLOCK = 0.3
"""What three quarters of their blocks must reach, each alone. Where only the outlines of two parts
agree, their surfaces do not."""
FAINTEST = 0.2
"""Blocks with a smaller standard deviation, in gray levels, say nothing: encoding smooths them."""
BLOCK = 16
WINDOW = 384
"""The side of the largest part that is compared, in pixels of the size it is compared at."""
WHOLE = 0.8
"""From this part of the larger image on, the common part is called the whole."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of an image when candidates are looked for."""

    height: int
    width: int
    keypoints: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two images, by their numbers, that may show the same thing.

    The second, brought into ``orientation``, seems to lie ``down`` and ``right`` reduced pixels
    from the first.
    """

    first: int
    second: int
    orientation: int
    down: int
    right: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate and the files of its images."""

    first: Path
    second: Path
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Match:
    """How two aligned images agree.

    ``similarity`` is their normalized correlation, 1 for the same pixels, and 0 where they do not
    show the same thing; ``share`` is the common part of the larger image, in [0, 1].
    """

    similarity: float
    share: float

    @property
    def kind(self) -> Literal["near", "overlap"]:
        """Whether all of it or a part of it is in both."""
        return "near" if self.share >= WHOLE else "overlap"


def orient(image: Image, orientation: int) -> Image:
    """Return one of the eight flips and rotations: transposed, then flipped, as the bits say."""
    if orientation & TRANSPOSE:
        image = image.swapaxes(0, 1)
    if orientation & FLIP_X:
        image = image[:, ::-1]
    if orientation & FLIP_Y:
        image = image[::-1]
    return image


def find_candidates(images: Sequence[Described]) -> list[Candidate]:
    """Return the pairs of images that share keypoints at matching places.

    The work grows with n log n for n images, the memory with n. Only images that are reduced alike
    are compared.
    """
    factors = np.array([reduction(image.height, image.width) for image in images], np.int64)
    found = []
    for factor in np.unique(factors):
        numbers = np.flatnonzero(factors == factor)
        found += _find_among(images, numbers, int(factor))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def confirm(pair: Pair) -> Match:
    """Align the two images and tell how well they agree, pixel by pixel.

    Raises:
        ImageError: an image cannot be read any more.
    """
    one, other = read_image(pair.first), read_image(pair.second)
    return compare(one, other, pair.candidate)


def compare(one: Image, other: Image, candidate: Candidate) -> Match:
    """Align two images of which ``candidate`` speaks, and tell how well they agree."""
    factor = reduction(*one.shape[:2])
    reduced = max(1, factor // 2)  # so that large images cost no more than small ones
    first = reduce_gray(one, reduced)
    second = orient(reduce_gray(other, reduced), candidate.orientation)
    scale = factor // reduced
    down, right = candidate.down * scale, candidate.right * scale
    margin = TOLERANCE * scale + 2
    top, bottom = _common(first.shape[0], second.shape[0], down)
    left, end = _common(first.shape[1], second.shape[1], right)
    share = (bottom - top) * (end - left) / max(first.size, second.size)
    rows, columns = _middle(top + margin, bottom - margin), _middle(left + margin, end - margin)
    if min(rows.stop - rows.start, columns.stop - columns.start) < 2 * BLOCK:
        return Match(0.0, share)
    template = _band(first)[rows, columns]
    y, x = max(0, rows.start - down - margin), max(0, columns.start - right - margin)
    around = _band(second)[y : rows.stop - down + margin, x : columns.stop - right + margin]
    found = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED)
    _, similarity, _, (x, y) = cv2.minMaxLoc(found)
    aligned = around[y : y + template.shape[0], x : x + template.shape[1]]
    if similarity < LEAST_SIMILARITY or _by_block(template, aligned) < LEAST_BY_BLOCK:
        return Match(0.0, share)
    return Match(min(1.0, similarity), share)


def _common(first: int, second: int, shift: int) -> tuple[int, int]:
    """Return where, along the first, a second line of pixels lies that begins at ``shift``."""
    start = max(0, shift)
    return start, max(start, min(first, shift + second))


def _middle(start: int, stop: int) -> slice:
    """Return the middle ``WINDOW`` pixels, or all where there are fewer."""
    cut = max(0, (stop - start - WINDOW) // 2)
    return slice(start + cut, stop - cut)


def _band(gray: Image) -> Float32Array:
    """Take out the light, which differs between unlike images least, and the finest noise."""
    values = gray.astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in (1.0, 4.0))
    return np.asarray(fine - coarse)


def _by_block(one: Float32Array, other: Float32Array) -> float:
    """Return the correlation that three quarters of the blocks reach; 0 where all are plain."""
    rows, columns = one.shape[0] // BLOCK, one.shape[1] // BLOCK
    shape = (rows, BLOCK, columns, BLOCK)
    blocks = []
    for values in (one, other):
        block = values[: rows * BLOCK, : columns * BLOCK].reshape(shape).swapaxes(1, 2)
        block = block.reshape(rows * columns, -1)
        blocks.append(block - block.mean(axis=1, keepdims=True))
    deviations = np.stack([block.std(axis=1) for block in blocks])
    rich = deviations.min(axis=0) > FAINTEST
    if not rich.any():
        return 0.0
    products = (blocks[0] * blocks[1]).mean(axis=1)
    return float(np.percentile(products[rich] / deviations.prod(axis=0)[rich], 25))


def _find_among(images: Sequence[Described], numbers: Int64Array, factor: int) -> list[Candidate]:
    parts = [np.frombuffer(images[number].keypoints, "<u8") for number in numbers]
    ends = np.cumsum([len(part) for part in parts])
    owner = np.repeat(numbers, np.diff(ends, prepend=0))
    code, orientation, y, x = unpack(np.concatenate(parts))
    sizes = np.array([(image.height // factor, image.width // factor) for image in images])
    pairs = _similar(code, owner)
    borders = np.searchsorted(pairs, [*ends[BLOCK_IMAGES - 1 :: BLOCK_IMAGES] << NUMBER_BITS])
    found = []
    for block in np.split(pairs, borders):
        i, j = block >> NUMBER_BITS, block & (2**NUMBER_BITS - 1)
        relative = _relative(orientation[i], orientation[j])
        vote = 1 + MOST_BITS - np.bitwise_count(code[i] ^ code[j]).astype(np.int64)
        enough = _enough((owner[i] * len(images) + owner[j]) << 3 | relative, vote)
        i, j, relative, vote = i[enough], j[enough], relative[enough], vote[enough]
        down, right = _shift((y[i], x[i]), (y[j], x[j]), sizes[owner[j]], relative)
        found += _agreeing(owner[i], owner[j], relative, down, right, vote)
    return found


def _similar(code: UInt64Array, owner: Int64Array) -> Int64Array:
    """Return pairs of keypoints of different images with nearly the same description.

    They are sorted, each once, and each is one integer: the smaller number of the two, which is
    that of the earlier image too, and in the ``NUMBER_BITS`` below it the larger.
    """
    numbers = np.arange(len(code), dtype=np.uint64)
    found = []
    for table in range(TABLES):
        rotated = _rotated(code, table * CODE_BITS // TABLES)
        # Sorting the two as one number is several times faster than sorting one by the other.
        both = np.sort(rotated << np.uint64(NUMBER_BITS) | numbers)
        number = (both & np.uint64(2**NUMBER_BITS - 1)).astype(np.int64)
        both >>= np.uint64(NUMBER_BITS)
        for step in range(1, NEIGHBORS + 1):
            near = np.bitwise_count(both[:-step] ^ both[step:]) <= MOST_BITS
            at = np.flatnonzero(near)
            i, j = number[at], number[at + step]
            pairs = np.minimum(i, j) << NUMBER_BITS | np.maximum(i, j)
            found.append(pairs[owner[i] != owner[j]])
    pairs = np.concatenate(found)
    del found  # there may be very many
    pairs.sort()
    return np.asarray(pairs[np.diff(pairs, prepend=-1) > 0])


def _rotated(code: UInt64Array, count: int) -> UInt64Array:
    """Bring ``count`` bits from the top of each description to its end."""
    rest = np.uint64(CODE_BITS - count)
    return ((code & ((np.uint64(1) << rest) - np.uint64(1))) << np.uint64(count)) | (code >> rest)


def _enough(values: Int64Array, vote: Int64Array) -> npt.NDArray[np.bool_]:
    """Return where the votes for the same of the ``values`` come to ``LEAST_VOTE``."""
    _, which = np.unique(values, return_inverse=True)
    return np.asarray(np.bincount(which, vote)[which] >= LEAST_VOTE)


def _relative(first: Int64Array, second: Int64Array) -> Int64Array:
    """Return the orientation that brings the second image to the first.

    Either image's orientation flips it and then transposes it into the canonical one.
    """
    transposed = (first ^ second) & TRANSPOSE
    exchanged = (second & FLIP_X) << 1 | (second & FLIP_Y) >> 1
    flips = np.where(transposed, exchanged, second & (FLIP_X | FLIP_Y))
    return (first & (FLIP_X | FLIP_Y)) ^ flips | transposed


def _shift(
    first: tuple[Int64Array, Int64Array],
    second: tuple[Int64Array, Int64Array],
    sizes: Int64Array,
    orientation: Int64Array,
) -> tuple[Int64Array, Int64Array]:
    """Return how far down and right the oriented second image lies from the first.

    Places are y and x; ``sizes``, (n, 2), are the height and width of the second image.
    """
    transposed = (orientation & TRANSPOSE) > 0
    y, x = (np.where(transposed, *pair) for pair in (second[::-1], second))
    height = np.where(transposed, sizes[:, 1], sizes[:, 0])
    width = np.where(transposed, sizes[:, 0], sizes[:, 1])
    y = np.where(orientation & FLIP_Y, height - 1 - y, y)
    x = np.where(orientation & FLIP_X, width - 1 - x, x)
    return first[0] - y, first[1] - x


def _agreeing(
    first: Int64Array,
    second: Int64Array,
    orientation: Int64Array,
    down: Int64Array,
    right: Int64Array,
    vote: Int64Array,
) -> list[Candidate]:
    """Return the pairs of images of which enough pairs of keypoints say the same."""
    if not len(first):
        return []
    order = np.lexsort((right, down, orientation, second, first))
    said = np.stack([first, second, orientation, down, right], axis=1)[order]
    step = np.abs(np.diff(said, axis=0)) <= (0, 0, 0, TOLERANCE, TOLERANCE)
    run = np.concatenate([[0], np.cumsum(~step.all(axis=1))])
    votes = np.bincount(run, vote[order])
    middle = said[np.flatnonzero(np.diff(run, prepend=-1)) + np.bincount(run) // 2]
    order = np.lexsort((-votes, middle[:, 1], middle[:, 0]))
    order = order[votes[order] >= LEAST_VOTE]
    _, best = np.unique(middle[order, :2], axis=0, return_index=True)
    return [Candidate(*row) for row in middle[order[best]].tolist()]
