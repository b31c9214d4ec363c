"""Pairs of images that may show the same thing without being the same file.

Candidates are pairs of images with keypoints in common, at positions that one orientation and one
shift bring together. ``alignment`` then compares the images themselves.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from defectkit.arrays import Int64Array
from defectkit.preparation.leaks.keypoints import (
    COORDINATE_BITS,
    FLIP_X,
    FLIP_Y,
    KEYPOINT_BYTES,
    TRANSPOSE,
    reduction_factor,
    unpack_keypoints,
)
from defectkit.preparation.leaks.similar_keypoints import (
    MAX_DIFFERING_BITS,
    NUMBER_BITS,
    PLACE_BITS,
    find_similar_keypoints,
)

BLOCK_IMAGES = 1024
"""Number of images that are compared with all others at a time, which limits the memory."""
MAX_HELD = 2**21
"""Number of pairs of images above which, while others are looked for, only those are kept that
``keep_strongest`` would keep: about 300 MB."""
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


class HasKeypoints(Protocol):
    """What has the size in pixels and the keypoints of an image, as ``find_keypoints`` packs them.

    It may make the keypoints of an image each time that they are asked for.
    """

    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def keypoints(self) -> bytes: ...  # noqa: D102


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


def find_candidates(images: Sequence[HasKeypoints], folder: Path | None = None) -> list[Candidate]:
    """Return the pairs of images that share keypoints at matching positions.

    Time grows with n log n for n images, memory with n: about 1 kB for each image, besides its
    keypoints. Pairs of keypoints, up to 18 kB for each image, go to a file in ``folder`` meanwhile,
    or in the system's folder for temporary files. Only images with the same reduction factor are
    compared. Where more than ``MAX_HELD`` pairs of images are found, some that ``keep_strongest``
    would not keep are left out.

    Raises:
        OutputError: there is no space for the file, or ``folder`` cannot be written.
    """
    rows, bound = np.empty((0, 6), np.int64), MAX_HELD
    for factor, numbers in _by_reduction_factor(images):
        keypoints = _Keypoints(images, numbers, factor)
        ends = [*keypoints.ends[BLOCK_IMAGES - 1 : -1 : BLOCK_IMAGES], keypoints.ends[-1]]
        with find_similar_keypoints(keypoints.packed, keypoints.owner, folder) as similar:
            found = [rows]
            for block in similar.split(ends):
                i, j = block >> NUMBER_BITS, block & (2**NUMBER_BITS - 1)
                found.append(keypoints.agreeing_pairs(i, j))
                if sum(map(len, found)) > bound:
                    found = [_strongest(np.concatenate(found))]
                    bound = max(MAX_HELD, 2 * len(found[0]))
            rows = np.concatenate(found)
    return [Candidate(*row) for row in rows[np.lexsort((rows[:, 1], rows[:, 0]))].tolist()]


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


def _strongest(rows: Int64Array) -> Int64Array:
    """Return the ``rows`` of candidates that ``keep_strongest`` keeps, strongest first.

    It keeps a pair that is among the first ``MAX_CANDIDATES`` of either image, and no other: those
    are kept whatever comes before them, and then both images have as many.
    """
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 5]))]
    ends = rows[:, :2].ravel()
    order = np.argsort(ends, kind="stable")
    rank = np.empty(len(ends), np.int64)
    rank[order] = np.arange(len(ends)) - np.searchsorted(ends[order], ends[order])
    return np.asarray(rows[rank.reshape(-1, 2).min(axis=1) < MAX_CANDIDATES])


def find_poses(reference: HasKeypoints, images: Sequence[HasKeypoints]) -> list[Candidate]:
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
                code = keypoints.packed >> np.uint64(PLACE_BITS)
                differing = np.bitwise_count(code[:own, None] ^ code[own:])
                i, j = np.nonzero(differing <= MAX_DIFFERING_BITS)
                pairs = keypoints.agreeing_pairs(i, j + own)
                pairs[:, 1] += start
                found += [Candidate(*row) for row in pairs.tolist()]
    return found


def _by_reduction_factor(images: Sequence[HasKeypoints]) -> list[tuple[int, Int64Array]]:
    """Return each reduction factor and the numbers of its images."""
    factors = np.array([reduction_factor(image.height, image.width) for image in images], np.int64)
    return [(int(factor), np.flatnonzero(factors == factor)) for factor in np.unique(factors)]


class _Keypoints:
    """The keypoints of those ``numbers`` of ``images`` that have one reduction factor."""

    def __init__(self, images: Sequence[HasKeypoints], numbers: Int64Array, factor: int) -> None:
        packed, counts = bytearray(), np.empty(len(numbers), np.int64)
        for place, number in enumerate(numbers):
            own = images[number].keypoints
            counts[place] = len(own) // KEYPOINT_BYTES
            packed += own
        self.ends = np.cumsum(counts)
        self.owner = np.repeat(numbers.astype(np.int32), counts)
        self.packed = np.frombuffer(packed, "<u8")
        self.sizes = np.empty((len(images), 2), np.int64)
        for number, image in enumerate(images):
            self.sizes[number] = image.height // factor, image.width // factor

    def agreeing_pairs(self, i: Int64Array, j: Int64Array) -> Int64Array:
        """Return the pairs of images for which pairs of keypoints ``i`` and ``j`` agree.

        They are rows of what ``Candidate`` has, (n, 6), by first and second image.
        """
        if not len(i):
            return np.empty((0, 6), np.int64)
        votes = self._votes(i, j)
        relative = self._relative(i, j)
        voted = _voted(self._image_pairs(i, j) << 3 | relative, votes)
        i, j, relative, votes = i[voted], j[voted], relative[voted], votes[voted]
        first, second = ((y, x) for _, _, y, x in map(unpack_keypoints, self.packed[[i, j]]))
        down, right = _shift(first, second, self.sizes[self.owner[j]], relative)
        owners = self.owner[i].astype(np.int64), self.owner[j].astype(np.int64)
        return _agreeing_pairs(*owners, relative, down, right, votes)

    def _votes(self, i: Int64Array, j: Int64Array) -> Int64Array:
        differing = np.bitwise_count((self.packed[i] ^ self.packed[j]) >> np.uint64(PLACE_BITS))
        return np.asarray(1 + MAX_DIFFERING_BITS - differing.astype(np.int64))

    def _relative(self, i: Int64Array, j: Int64Array) -> Int64Array:
        orientations = (
            (self.packed[one] >> np.uint64(2 * COORDINATE_BITS) & np.uint64(7)).astype(np.int64)
            for one in (i, j)
        )
        return _relative_orientation(*orientations)

    def _image_pairs(self, i: Int64Array, j: Int64Array) -> Int64Array:
        """Return a number for each pair of images; small, since ``i`` are those of a block."""
        first = (self.owner[i] - self.owner[i].min()).astype(np.int64)
        return np.asarray(first * len(self.sizes) + self.owner[j])


def _voted(values: Int64Array, votes: Int64Array) -> Int64Array:
    """Return, ascending, the places where the votes for the same value sum to ``MIN_VOTES``."""
    bits = len(values).bit_length()
    assert int(values.max()).bit_length() + bits < 64, "too many pairs at a time"
    # Sorting both as one number is several times faster than one by the other.
    both = np.sort(values << bits | np.arange(len(values)))
    place = both & (1 << bits) - 1
    both >>= bits
    starts = np.flatnonzero(np.diff(both, prepend=-1))
    enough = np.add.reduceat(votes[place], starts) >= MIN_VOTES
    return np.sort(place[np.repeat(enough, np.diff(starts, append=len(place)))])


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
) -> Int64Array:
    """Return the rows of the pairs of images for which enough pairs of keypoints agree."""
    if not len(first):
        return np.empty((0, 6), np.int64)
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
    return np.column_stack([middle[best], run_votes[best].astype(np.int64)])
