"""Images that show the same thing without being the same file.

Candidates are pairs of images with keypoints in common, in places that one orientation and one
shift bring together. Each candidate is then confirmed on the images themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.data.images import read_image
from defectkit.data.keypoints import (
    CODE_BITS,
    FLIP_X,
    FLIP_Y,
    TRANSPOSE,
    Image,
    Integers,
    Keypoints,
    reduce_gray,
    reduction,
    unpack,
)

TABLES = 12
"""How often the keypoints are sorted by their descriptions, with the bits in another order."""
NEIGHBORS = 4
"""With how many that follow it in a sorted table a keypoint is compared."""
MOST_BITS = 4
"""In how many bits two descriptions of one place may differ."""
MIN_VOTES = 2
"""How many pairs of keypoints must agree."""
TOLERANCE = 3
"""How many reduced pixels two pairs of keypoints may disagree about the shift."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of an image when candidates are looked for."""

    path: Path
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


def orient(image: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
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


def _find_among(images: Sequence[Described], numbers: Integers, factor: int) -> list[Candidate]:
    parts = [np.frombuffer(images[number].keypoints, "<u8") for number in numbers]
    owner = np.repeat(numbers, [len(part) for part in parts])
    code, orientation, y, x = unpack(np.concatenate(parts))
    i, j = _similar(code, owner)
    swap = owner[i] > owner[j]
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    sizes = np.array([(image.height // factor, image.width // factor) for image in images])
    relative = _relative(orientation[i], orientation[j])
    down, right = _shift((y[i], x[i]), (y[j], x[j]), sizes[owner[j]], relative)
    return _agreeing(owner[i], owner[j], relative, down, right)


def _similar(code: Keypoints, owner: Integers) -> tuple[Integers, Integers]:
    """Return pairs of keypoints of different images with nearly the same description, each once."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(TABLES):
        order = np.argsort(_shuffle_bits(code, rng.permutation(CODE_BITS)), kind="stable")
        for step in range(1, NEIGHBORS + 1):
            i, j = order[:-step], order[step:]
            near = np.bitwise_count(code[i] ^ code[j]) <= MOST_BITS
            near &= owner[i] != owner[j]
            i, j = i[near], j[near]
            found.append(np.minimum(i, j) * len(code) + np.maximum(i, j))
    i, j = np.divmod(np.unique(np.concatenate(found)), max(1, len(code)))
    return i, j


def _shuffle_bits(code: Keypoints, order: npt.NDArray[np.int64]) -> Keypoints:
    shuffled = np.zeros_like(code)
    for target, source in enumerate(order):
        bit = (code >> np.uint64(source)) & np.uint64(1)
        shuffled |= bit << np.uint64(target)
    return shuffled


def _relative(first: Integers, second: Integers) -> Integers:
    """Return the orientation that brings the second image to the first.

    Either image's orientation flips it and then transposes it into the canonical one.
    """
    transposed = (first ^ second) & TRANSPOSE
    exchanged = (second & FLIP_X) << 1 | (second & FLIP_Y) >> 1
    flips = np.where(transposed, exchanged, second & (FLIP_X | FLIP_Y))
    return (first & (FLIP_X | FLIP_Y)) ^ flips | transposed


def _shift(
    first: tuple[Integers, Integers],
    second: tuple[Integers, Integers],
    sizes: Integers,
    orientation: Integers,
) -> tuple[Integers, Integers]:
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
    first: Integers, second: Integers, orientation: Integers, down: Integers, right: Integers
) -> list[Candidate]:
    """Return the pairs of images of which two pairs of keypoints or more say the same."""
    if not len(first):
        return []
    order = np.lexsort((right, down, orientation, second, first))
    votes = np.stack([first, second, orientation, down, right], axis=1)[order]
    step = np.abs(np.diff(votes, axis=0)) <= (0, 0, 0, TOLERANCE, TOLERANCE)
    run = np.concatenate([[0], np.cumsum(~step.all(axis=1))])
    count = np.bincount(run)
    start = np.flatnonzero(np.diff(run, prepend=-1))
    middle = votes[start + count // 2]
    order = np.lexsort((-count, middle[:, 1], middle[:, 0]))
    order = order[count[order] >= MIN_VOTES]
    _, best = np.unique(middle[order, :2], axis=0, return_index=True)
    return [Candidate(*row) for row in middle[order[best]].tolist()]
