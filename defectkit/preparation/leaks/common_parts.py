"""What many images of a dataset share, such as one part under a fixed camera.

Where many images agree with one of them, what they share is estimated as their median.
``remainder`` then takes it out of each, and images are compared by what remains of them. Where that
is noise alone, they are frames of one piece, and nothing is taken out of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from defectkit.arrays import Image, ImageSize
from defectkit.preparation.leaks.alignment import (
    MIN_NEAR_FRACTION,
    align,
    compared_reduction,
    fit_images,
    orient,
)
from defectkit.preparation.leaks.candidates import (
    Candidate,
    HasKeypoints,
    ImageKeypoints,
    find_poses,
)
from defectkit.preparation.leaks.keypoints import (
    TRANSPOSE,
    find_keypoints,
    reduce_gray,
    reduction_factor,
)

MIN_SHARING, MAX_SHARING = 8, 24
"""Number of other images that must agree with one: a quarter of all, within these bounds."""
MAX_TRIED = 4 * MAX_SHARING
"""Max. number of images that are compared with one to find those that agree."""
MIN_SHARE_AGREEING = 0.1
"""Min. share of these that agree with it; of pieces of a weave, none do."""
MAX_REFERENCES = 16
"""Max. number of images for which it is tried whether others share a part with them."""
MIN_SIMILARITY_TO_COMMON = 0.5
"""Min. correlation of an image with the part that it shares."""
MIN_SHARE_OF_SIMILARITY = 0.9
"""Min. correlation of an image of this kind, as a share of the best."""
NEAR_IDENTITY = 0.98
"""Median similarity from which images are taken for copies of each other, not for one kind."""
MIN_GRAIN = 0.35
"""Min. ``Described.grain`` of an image of a part; with less, it is a frame of the very piece. Noise
of cameras has 0.2 to 0.26, or 0.33 where colors are interpolated; grain of surfaces 0.4 and more.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Where an image may have a common part.

    ``common`` is the part's gray image, of the size at which images are compared; ``candidate`` is
    of it and the image; ``is_complete``: nearly all of the image lies within the part.
    """

    common: Image
    candidate: Candidate
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Described:
    """How well a common part fits an image, in [-1, 1], and what is beside it.

    ``grain`` is the correlation of what is beside the part with itself two pixels further.
    """

    similarity: float
    grain: float
    keypoints: ImageKeypoints


def find_common_parts(
    images: Sequence[HasKeypoints],
    candidates: Sequence[Candidate],
    read: Callable[[int], Image],
    describe: Callable[[Sequence[int], Sequence[Pose]], Iterable[Described]],
) -> dict[int, tuple[Pose, Described]]:
    """Return the images that have a part in common with many others, by their numbers.

    Args:
        images: of the whole dataset.
        candidates: its pairs of images with keypoints in common.
        read: returns the image of a number.
        describe: fits common parts to the images of some numbers.
    """
    least = min(max(len(images) // 4, MIN_SHARING), MAX_SHARING)
    neighbors: defaultdict[int, set[int]] = defaultdict(set)
    for pair in candidates:
        neighbors[pair.first].add(pair.second)
        neighbors[pair.second].add(pair.first)
    for number in [one for one, others in neighbors.items() if len(others) < least]:
        del neighbors[number]
    found: dict[int, tuple[Pose, Described]] = {}
    done: set[int] = set()
    for _ in range(MAX_REFERENCES):
        free = {one: others - done for one, others in neighbors.items() if one not in done}
        number = max(free, key=lambda one: len(free[one]), default=-1)
        if number < 0 or len(free[number]) < least:
            break
        del neighbors[number]
        common = _estimate(number, sorted(free[number]), images, read, least)
        if common is not None:
            rest = [one for one in range(len(images)) if one not in done]
            done |= _take_better(found, _fit(common, rest, images, describe))
    # Without grain beside it, what fits an image is no part of it, but the piece itself.
    return {number: one for number, one in found.items() if one[1].grain >= MIN_GRAIN}


def _fit(
    common: Image,
    numbers: Sequence[int],
    images: Sequence[HasKeypoints],
    describe: Callable[[Sequence[int], Sequence[Pose]], Iterable[Described]],
) -> dict[int, tuple[Pose, Described]]:
    """Return those of the images that have the common part."""
    poses = _poses(common, numbers, images)
    described = describe([*poses], [*poses.values()])
    return {
        number: (pose, one)
        for (number, pose), one in zip(poses.items(), described, strict=True)
        if one.similarity >= MIN_SIMILARITY_TO_COMMON
    }


def _take_better(
    found: dict[int, tuple[Pose, Described]], fitted: Mapping[int, tuple[Pose, Described]]
) -> set[int]:
    """Replace what is found by what fits better, and return the images of this kind of parts.

    Parts of another kind may resemble it, and then fit less well.
    """
    best = max((one.similarity for _, one in fitted.values()), default=0.0)
    for number, (pose, one) in fitted.items():
        rank = (pose.is_complete, one.similarity)
        if number not in found or rank > (
            found[number][0].is_complete,
            found[number][1].similarity,
        ):
            found[number] = pose, one
    least = MIN_SHARE_OF_SIMILARITY * best
    return {n for n, (pose, one) in fitted.items() if pose.is_complete and one.similarity >= least}


def _estimate(
    number: int,
    others: Sequence[int],
    images: Sequence[HasKeypoints],
    read: Callable[[int], Image],
    least: int,
) -> Image | None:
    """Return what an image shares with ``others``, or None where too few agree with it."""
    chosen = sorted({others[index * len(others) // MAX_TRIED] for index in range(MAX_TRIED)})
    first = _reduced(read(number))
    stack = [first]
    similarities: list[float] = []
    poses = find_poses(images[number], [images[other] for other in chosen])
    for tried, pair in enumerate(poses):
        if tried >= MAX_SHARING and len(similarities) < MIN_SHARE_AGREEING * tried:
            break
        second = _reduced(read(chosen[pair.second - 1]))
        alignment = align(first, second, pair)
        if alignment.similarity and alignment.kind == "near":
            fit = fit_images(first, second, pair)
            stack.append(_moved(orient(second, pair.orientation), fit.down, fit.right, first.shape))
            similarities.append(alignment.similarity)
        if len(similarities) == MAX_SHARING:
            break
    if len(similarities) < least or np.median(similarities) >= NEAR_IDENTITY:
        return None
    return np.asarray(np.rint(np.median(np.stack(stack), axis=0)), np.uint8)


def _reduced(image: Image) -> Image:
    return reduce_gray(image, compared_reduction(*image.shape[:2]))


def _moved(image: Image, down: int, right: int, shape: ImageSize) -> Image:
    """Return the image moved into a frame of ``shape``; its border fills what it lacks."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    height, width = shape
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _poses(
    common: Image, numbers: Sequence[int], images: Sequence[HasKeypoints]
) -> dict[int, Pose]:
    """Return where images seem to have the common part, by their numbers, for those that do."""
    height, width = common.shape
    reference = ImageKeypoints(height, width, find_keypoints(common))
    reduced = []
    for number in numbers:
        image = images[number]
        by = compared_reduction(image.height, image.width)
        reduced.append(ImageKeypoints(image.height // by, image.width // by, image.keypoints))
    poses = {}
    for pair in find_poses(reference, reduced):
        covered = _covered(reference, reduced[pair.second - 1], pair)
        poses[numbers[pair.second - 1]] = Pose(common, pair, covered >= MIN_NEAR_FRACTION)
    return poses


def _covered(common: ImageKeypoints, image: ImageKeypoints, pose: Candidate) -> float:
    """Return the fraction of an image that lies within the common part."""
    scale = reduction_factor(image.height, image.width)
    height, width = image.height, image.width
    if pose.orientation & TRANSPOSE:
        height, width = width, height
    top, left = pose.down * scale, pose.right * scale
    rows = max(0, min(common.height, top + height) - max(0, top))
    columns = max(0, min(common.width, left + width) - max(0, left))
    return rows * columns / (height * width)
