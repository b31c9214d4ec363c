"""What an image has beside the part that it shares with many others: its grain, dirt, defects."""

from collections.abc import Sequence

import cv2
import numpy as np

from defectkit.arrays import Float32Array, Image
from defectkit.preparation.leaks.alignment import (
    band_pass,
    compared_reduction,
    fit_images,
    orient,
)
from defectkit.preparation.leaks.candidates import ImageKeypoints
from defectkit.preparation.leaks.common_parts import MIN_SIMILARITY_TO_COMMON, Described, Pose
from defectkit.preparation.leaks.keypoints import find_keypoints, reduce_gray

BORDER = 12
"""Pixels along the border of the common part in which it depends on what is beyond."""
GRID_STEP = 8
"""Distance in pixels of the points at which the common part is fitted, in squares three times as
wide."""
BLOCK = 15
"""Side in pixels of the squares within which what remains is brought to one contrast."""
GRAIN_STEP = 2
"""Distance in pixels at which grain is told from noise, which correlates less so far."""
RIDGE = 1e-3
"""Added to the variances, in squared gray levels, so that uniform squares fit nothing."""
DEVIATION, MAX_GAIN = 24.0, 16.0
"""Standard deviation of what remains, in the gray levels of the result, and the max. gain."""


def describe_remainder(image: Image, pose: Pose) -> Described:
    """Return how well the common part fits an image, and what is beside it."""
    fit = fit_images(pose.common, _reduced(image), pose.candidate)
    if fit.similarity < MIN_SIMILARITY_TO_COMMON:
        return Described(fit.similarity, 0.0, ImageKeypoints(0, 0, b""))
    remainder = take_out(image, pose)
    height, width = remainder.shape
    keypoints = ImageKeypoints(height, width, find_keypoints(remainder))
    return Described(fit.similarity, _grain(remainder), keypoints)


def take_out(image: Image, pose: Pose) -> Image:
    """Return what an image has beside the common part.

    The result is gray, of the size at which images are compared, and oriented as the part is;
    outside of the part it is uniform.
    """
    gray = _reduced(image)
    fit = fit_images(pose.common, gray, pose.candidate)
    own = orient(gray, pose.candidate.orientation)
    inside = np.zeros(pose.common.shape, np.float32)
    inside[BORDER:-BORDER, BORDER:-BORDER] = 1
    matrix = np.array([[1, 0, -fit.right], [0, 1, -fit.down]], np.float32)
    part, inside = (
        np.asarray(cv2.warpAffine(plane, matrix, own.shape[::-1]), np.float32)
        for plane in (band_pass(pose.common), inside)
    )
    # The slopes allow for a shift by less than a pixel, the Laplacian for another sharpness.
    down, right = (cv2.Sobel(part, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1))
    guides = [part, down, right, cv2.Laplacian(part, cv2.CV_32F)]
    remaining = _residual(band_pass(own), [np.asarray(one) for one in guides]) * inside
    gain = min(MAX_GAIN, DEVIATION / max(float(remaining[inside > 0].std()), 1e-6))
    return np.asarray(np.clip(np.rint(128 + gain * remaining), 0, 255), np.uint8)


def _grain(remainder: Image) -> float:
    """Return the correlation of a remainder with itself a step to the right or down.

    All places count alike: edges at which the part does not fit well do not stand out.
    """
    values = remainder.astype(np.float32) - 128
    energy = cv2.blur(values**2, (BLOCK, BLOCK))
    values /= np.sqrt(np.asarray(energy) + 1)
    right = values[:, :-GRAIN_STEP] * values[:, GRAIN_STEP:]
    down = values[:-GRAIN_STEP] * values[GRAIN_STEP:]
    return float((right.sum() + down.sum()) / max(2 * (values**2).sum(), 1e-6))


def _reduced(image: Image) -> Image:
    return reduce_gray(image, compared_reduction(*image.shape[:2]))


def _residual(values: Float32Array, guides: Sequence[Float32Array]) -> Float32Array:
    """Return what is left of ``values`` after the best local sum of ``guides``.

    The sum is fitted around the points of a grid and interpolated between them, so that it hardly
    depends on where the grid lies.
    """
    height, width = values.shape
    padding = ((0, -height % GRID_STEP), (0, -width % GRID_STEP))
    planes = [np.pad(plane, padding) for plane in (*guides, values)]
    rows, columns = (side // GRID_STEP for side in planes[0].shape)
    moments = np.empty((rows, columns, len(planes), len(planes)), np.float32)
    for i, one in enumerate(planes):
        for j, other in enumerate(planes[: i + 1]):
            means = cv2.resize(one * other, (columns, rows), interpolation=cv2.INTER_AREA)
            moments[:, :, i, j] = moments[:, :, j, i] = cv2.blur(means, (3, 3))
    gram = moments[:, :, :-1, :-1] + RIDGE * np.eye(len(guides), dtype=np.float32)
    weights = np.linalg.solve(gram, moments[:, :, :-1, -1:])[..., 0]
    rest = planes[-1]
    for index, plane in enumerate(planes[:-1]):
        rest = rest - plane * cv2.resize(weights[..., index], plane.shape[::-1])
    return np.asarray(rest[:height, :width])
