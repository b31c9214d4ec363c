"""Pairs of images that may show the same thing without being the same file.

Candidates are pairs of images with keypoints in common, at positions that one orientation and one
shift bring together. ``alignment`` then compares the images themselves.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectkit.arrays import BoolArray, Int64Array, UInt64Array
from defectkit.preparation.leaks.keypoints import (
    DESCRIPTOR_BITS,
    FLIP_X,
    FLIP_Y,
    TRANSPOSE,
    reduction_factor,
    unpack_keypoints,
)

SORTS = 12
"""Number of times that the keypoints are sorted by descriptor, each time with other bits first."""
NUMBER_BITS = 64 - DESCRIPTOR_BITS
"""Bits that are left for the number of a keypoint: enough for 11 million images."""
NEIGHBORS = 4
"""Number of keypoints after it in the sorted order with which each is compared."""
MAX_DIFFERING_BITS = 7
"""Max. number of bits in which two descriptors of the same spot differ."""
BLOCK_IMAGES = 4096
"""Number of images that are compared with all others at a time, which limits the memory."""
MAX_CANDIDATES = 32
"""Number of images with which each is compared, those with the most votes."""
POSE_IMAGES = 512
"""Number of images at a time whose keypoints are all compared with those of a reference."""
MIN_VOTES = 9
"""Min. sum of the votes of agreeing pairs of keypoints. Each pair has 8 votes, less 1 for each bit
that differs: so it takes two pairs, and two that are hardly alike are not enough. Of images that
have half in common, 1 in 800 has no more than two such pairs; of others that have two pairs at all,
6 of 7."""
TOLERANCE = 3
"""Max. difference, in reduced pixels, between the shifts of two agreeing pairs of keypoints."""


@dataclass(frozen=True, slots=True)
class ImageKeypoints:
    """Size in pixels and packed keypoints of an image, as ``find_keypoints`` returns them."""

    height: int
    width: int
    keypoints: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two images, by their numbers, that may show the same thing.

    The second, brought into ``orientation``, seems to lie ``down`` and ``right`` reduced pixels
    from the first. ``votes`` sums those of the agreeing pairs of keypoints.
    """

    first: int
    second: int
    orientation: int
    down: int
    right: int
    votes: int = 0


def find_candidates(images: Sequence[ImageKeypoints]) -> list[Candidate]:
    """Return the pairs of images that share keypoints at matching positions.

    Time grows with n log n for n images, memory with n. Only images with the same reduction factor
    are compared.
    """
    found = []
    for factor, numbers in _by_reduction_factor(images):
        keypoints = _Keypoints(images, numbers, factor)
        pairs = _similar_keypoints(keypoints.code, keypoints.owner)
        ends = keypoints.ends[BLOCK_IMAGES - 1 :: BLOCK_IMAGES]
        for block in np.split(pairs, np.searchsorted(pairs, ends << NUMBER_BITS)):
            i, j = block >> NUMBER_BITS, block & (2**NUMBER_BITS - 1)
            found += keypoints.agreeing_pairs(i, j)
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def keep_strongest(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep the pairs that are among those with the most votes for one of their two images.

    Where all images look alike, as pieces of one weave do, each has hundreds of candidates. Real
    series of copies that are longer are joined through each other.
    """
    counts: Counter[int] = Counter()
    kept = []
    for pair in sorted(candidates, key=lambda pair: -pair.votes):
        if min(counts[pair.first], counts[pair.second]) < MAX_CANDIDATES:
            kept.append(pair)
            counts[pair.first] += 1
            counts[pair.second] += 1
    return sorted(kept, key=lambda pair: (pair.first, pair.second))


def find_poses(reference: ImageKeypoints, images: Sequence[ImageKeypoints]) -> list[Candidate]:
    """Return the candidates of ``reference``, as number 0, and of ``images``, from 1 on.

    Unlike in ``find_candidates``, all keypoints of the reference are compared with all others: it
    is found in however many images it is.
    """
    found = []
    for start in range(0, len(images), POSE_IMAGES):
        block = [reference, *images[start : start + POSE_IMAGES]]
        for factor, numbers in _by_reduction_factor(block):
            if numbers[0] == 0:
                keypoints = _Keypoints(block, numbers, factor)
                own = keypoints.ends[0]
                differing = np.bitwise_count(keypoints.code[:own, None] ^ keypoints.code[own:])
                i, j = np.nonzero(differing <= MAX_DIFFERING_BITS)
                pairs = keypoints.agreeing_pairs(i, j + own)
                found += [replace(pair, second=pair.second + start) for pair in pairs]
    return found


def _by_reduction_factor(images: Sequence[ImageKeypoints]) -> list[tuple[int, Int64Array]]:
    """Return each reduction factor and the numbers of its images."""
    factors = np.array([reduction_factor(image.height, image.width) for image in images], np.int64)
    return [(int(factor), np.flatnonzero(factors == factor)) for factor in np.unique(factors)]


class _Keypoints:
    """The keypoints of those ``numbers`` of ``images`` that have one reduction factor."""

    def __init__(self, images: Sequence[ImageKeypoints], numbers: Int64Array, factor: int) -> None:
        packed = [np.frombuffer(images[number].keypoints, "<u8") for number in numbers]
        self.ends = np.cumsum([len(own) for own in packed])
        self.owner = np.repeat(numbers, np.diff(self.ends, prepend=0))
        self.code, self.orientation, self.y, self.x = unpack_keypoints(np.concatenate(packed))
        self.sizes = np.array([(image.height // factor, image.width // factor) for image in images])

    def agreeing_pairs(self, i: Int64Array, j: Int64Array) -> list[Candidate]:
        """Return the pairs of images for which pairs of keypoints ``i`` and ``j`` agree."""
        owner, code = self.owner, self.code
        relative = _relative_orientation(self.orientation[i], self.orientation[j])
        votes = 1 + MAX_DIFFERING_BITS - np.bitwise_count(code[i] ^ code[j]).astype(np.int64)
        voted = _has_votes((owner[i] * len(self.sizes) + owner[j]) << 3 | relative, votes)
        i, j, relative, votes = i[voted], j[voted], relative[voted], votes[voted]
        first, second = (self.y[i], self.x[i]), (self.y[j], self.x[j])
        down, right = _shift(first, second, self.sizes[owner[j]], relative)
        return _agreeing_pairs(owner[i], owner[j], relative, down, right, votes)


def _similar_keypoints(code: UInt64Array, owner: Int64Array) -> Int64Array:
    """Return pairs of keypoints of different images with nearly the same descriptor.

    They are sorted, each once, and each is one integer: the smaller number of the two, which is
    that of the earlier image too, and in the ``NUMBER_BITS`` below it the larger.
    """
    numbers = np.arange(len(code), dtype=np.uint64)
    found = []
    for sort in range(SORTS):
        rotated = _rotate_bits(code, sort * DESCRIPTOR_BITS // SORTS)
        # Sorting the two as one number is several times faster than sorting one by the other.
        both = np.sort(rotated << np.uint64(NUMBER_BITS) | numbers)
        number = (both & np.uint64(2**NUMBER_BITS - 1)).astype(np.int64)
        both >>= np.uint64(NUMBER_BITS)
        for step in range(1, NEIGHBORS + 1):
            near = np.bitwise_count(both[:-step] ^ both[step:]) <= MAX_DIFFERING_BITS
            at = np.flatnonzero(near)
            i, j = number[at], number[at + step]
            pairs = np.minimum(i, j) << NUMBER_BITS | np.maximum(i, j)
            found.append(pairs[owner[i] != owner[j]])
    pairs = np.concatenate(found)
    del found  # there may be very many
    pairs.sort()
    return np.asarray(pairs[np.diff(pairs, prepend=-1) > 0])


def _rotate_bits(code: UInt64Array, count: int) -> UInt64Array:
    """Bring ``count`` bits from the top of each descriptor to its end."""
    rest = np.uint64(DESCRIPTOR_BITS - count)
    return ((code & ((np.uint64(1) << rest) - np.uint64(1))) << np.uint64(count)) | (code >> rest)


def _has_votes(values: Int64Array, votes: Int64Array) -> BoolArray:
    """Return where the votes for the same of the ``values`` sum to ``MIN_VOTES``."""
    _, which = np.unique(values, return_inverse=True)
    return np.asarray(np.bincount(which, votes)[which] >= MIN_VOTES)


def _relative_orientation(first: Int64Array, second: Int64Array) -> Int64Array:
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

    Positions are y and x; ``sizes``, (n, 2), are the height and width of the second image.
    """
    transposed = (orientation & TRANSPOSE) > 0
    y, x = (np.where(transposed, *pair) for pair in (second[::-1], second))
    height = np.where(transposed, sizes[:, 1], sizes[:, 0])
    width = np.where(transposed, sizes[:, 0], sizes[:, 1])
    y = np.where(orientation & FLIP_Y, height - 1 - y, y)
    x = np.where(orientation & FLIP_X, width - 1 - x, x)
    return first[0] - y, first[1] - x


def _agreeing_pairs(
    first: Int64Array,
    second: Int64Array,
    orientation: Int64Array,
    down: Int64Array,
    right: Int64Array,
    votes: Int64Array,
) -> list[Candidate]:
    """Return the pairs of images for which enough pairs of keypoints agree."""
    if not len(first):
        return []
    order = np.lexsort((right, down, orientation, second, first))
    claims = np.stack([first, second, orientation, down, right], axis=1)[order]
    step = np.abs(np.diff(claims, axis=0)) <= (0, 0, 0, TOLERANCE, TOLERANCE)
    run = np.concatenate([[0], np.cumsum(~step.all(axis=1))])
    run_votes = np.bincount(run, votes[order])
    middle = claims[np.flatnonzero(np.diff(run, prepend=-1)) + np.bincount(run) // 2]
    order = np.lexsort((-run_votes, middle[:, 1], middle[:, 0]))
    order = order[run_votes[order] >= MIN_VOTES]
    _, best = np.unique(middle[order, :2], axis=0, return_index=True)
    best = order[best]
    rows = np.column_stack([middle[best], run_votes[best].astype(np.int64)])
    return [Candidate(*row) for row in rows.tolist()]
