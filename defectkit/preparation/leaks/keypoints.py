"""Keypoints: a few places of an image, described so that copies of it can be recognized by them.

A place is a local maximum of the smoothed gray values at a reduced size. What lies around it is
turned and flipped into one canonical orientation, projected on smooth functions, and kept as the
signs of the projections. So the description stays nearly the same under the eight flips and
rotations, new brightness, re-encoding, shifts, and in crops.

A keypoint is one unsigned integer of 64 bits, from the lowest: x (13 bits) and y (13) in pixels of
the reduced image, the orientation that made it canonical (3), the description (35).
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float32Array, Image, Int64Array, UInt64Array
from defectkit.data.images import convert_channels

AREA = 256**2
"""About so many pixels has the reduced image in which keypoints are looked for."""
CELLS, PER_CELL = 4, 3
"""The strongest few of each cell of a grid of 4x4: so that any part of the image has some."""
REACH = 8
"""What lies up to so many reduced pixels away, across and down, is described."""
SIDE = 2 * REACH + 1
PEAK = np.ones((11, 11), np.uint8)
RING_Y = np.array([-6, -6, -6, 0, 0, 6, 6, 6])
RING_X = np.array([-6, 0, 6, -6, 6, -6, 0, 6])
"""What a place's contrast is measured against."""
WEAKEST = 40
"""The least contrast of a place that counts: half a gray level, in smoothed values."""
DEGREES = 6
PLACE_BITS = 13
CODE_BITS = DEGREES**2 - 1
WEIGHTS = np.uint64(1) << np.arange(2 * PLACE_BITS + 3, 64, dtype=np.uint64)
FLIP_X, FLIP_Y, TRANSPOSE = 1, 2, 4


def reduction(height: int, width: int) -> int:
    """Return the power of two by which an image is reduced before keypoints are looked for.

    >>> [reduction(side, side) for side in (100, 361, 363, 512, 1024)], reduction(512, 256)
    ([1, 1, 2, 2, 4], 2)
    """
    return int(2 ** max(0, math.floor(math.log2(height * width / AREA) / 2 + 0.5)))


def find_keypoints(image: Image) -> bytes:
    """Return the keypoints of an (H, W) or (H, W, 3) image, 8 bytes each, at most 48.

    There are fewer where there is little to see, and none in an image that is smaller than 17
    pixels after its reduction.
    """
    smooth = _smooth(reduce_gray(image, reduction(*image.shape[:2])))
    y, x = _peaks(smooth)
    corner = (y - REACH) * smooth.shape[1] + x - REACH
    square = np.arange(SIDE)[:, None] * smooth.shape[1] + np.arange(SIDE)
    around = smooth.ravel().take(corner[:, None] + square.ravel()).astype(np.float32)
    around -= around[:, [SIDE * SIDE // 2]]  # large values in common would cost digits
    orientation, signs = _canonical(around @ FUNCTIONS)
    place = (orientation << 2 * PLACE_BITS) | (y << PLACE_BITS) | x
    packed = signs[:, 1:] @ WEIGHTS | place.astype(np.uint64)
    return packed.astype("<u8").tobytes()


def unpack(keypoints: UInt64Array) -> tuple[UInt64Array, Int64Array, Int64Array, Int64Array]:
    """Return the descriptions, orientations, y and x of keypoints, each an array as long."""
    place = (keypoints & np.uint64(2 ** (2 * PLACE_BITS + 3) - 1)).astype(np.int64)
    mask = 2**PLACE_BITS - 1
    code = keypoints >> np.uint64(2 * PLACE_BITS + 3)
    return code, place >> 2 * PLACE_BITS, (place >> PLACE_BITS) & mask, place & mask


def reduce_gray(image: Image, factor: int) -> Image:
    """Return the gray image, (H // factor, W // factor); ``factor`` is a power of two."""
    gray = image if image.ndim == 2 else convert_channels(image, 1)[:, :, 0]
    while factor > 1:
        height, width = gray.shape[0] // 2, gray.shape[1] // 2
        even = gray[: 2 * height, : 2 * width]  # halving is several times faster than one big step
        gray = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        factor //= 2
    return gray


def _smooth(gray: Image) -> npt.NDArray[np.uint16]:
    """Return 81 times the gray values, averaged over 5x5 pixels with the middle weighing most."""
    once = cv2.boxFilter(gray, cv2.CV_16U, (3, 3), normalize=False)
    return np.asarray(cv2.boxFilter(once, cv2.CV_16U, (3, 3), normalize=False))


def _peaks(smooth: npt.NDArray[np.uint16]) -> tuple[Int64Array, Int64Array]:
    """Return y and x of the places with the most contrast around them, a few for each cell."""
    if min(smooth.shape) < SIDE:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    inner = (slice(REACH, -REACH), slice(REACH, -REACH))
    rows, columns = smooth[inner].shape
    y, x = np.divmod(np.flatnonzero(smooth[inner] == cv2.dilate(smooth, PEAK)[inner]), columns)
    at = (y + REACH) * smooth.shape[1] + x + REACH
    ring = smooth.ravel().take(at[:, None] + (RING_Y * smooth.shape[1] + RING_X))
    contrast = len(RING_Y) * smooth.ravel().take(at).astype(np.int64) - ring.sum(axis=1)
    strong = np.flatnonzero(contrast > len(RING_Y) * WEAKEST)
    cell = y[strong] * CELLS // rows * CELLS + x[strong] * CELLS // columns
    order = np.lexsort((-contrast[strong], cell))
    cell = cell[order]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    chosen = strong[order[rank < PER_CELL]]
    return y[chosen] + REACH, x[chosen] + REACH


def _canonical(projections: Float32Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Return the orientations that make the gradient point right and down, more right than down.

    Args:
        projections: (n, 36), on products of a function down and one across: ``FUNCTIONS``.

    Returns:
        The orientations, (n,), and whether the projections in them are positive, (n, 36).
    """
    down, right = projections[:, DEGREES], projections[:, 1]
    up, left, across = down < 0, right < 0, np.abs(down) > np.abs(right)
    signs = projections > 0
    signs ^= (up[:, None] & ODD_Y) ^ (left[:, None] & ODD_X)
    signs[across] = signs[across][:, TRANSPOSED]
    return FLIP_X * left + FLIP_Y * up + TRANSPOSE * across, signs


def _functions() -> Float32Array:
    """Return smooth functions of a place's surroundings, (17 x 17, 36), which sum up to zero.

    They are products of a function down and one across: orthonormal polynomials under a bell, even
    and odd ones in turn.
    """
    x = np.arange(-REACH, REACH + 1) / REACH
    powers = np.exp(-0.5 * (x / 0.55) ** 2)[:, None] * x[:, None] ** np.arange(DEGREES)
    for parity in (0, 1):  # of their own each, so that a flip does nothing but change signs
        powers[:, parity::2], _ = np.linalg.qr(powers[:, parity::2])
    products = np.kron(powers, powers)
    return np.asarray(products - products.mean(axis=0), np.float32)


FUNCTIONS = _functions()
ODD_Y, ODD_X = (degree % 2 > 0 for degree in np.divmod(np.arange(DEGREES**2), DEGREES))
TRANSPOSED = np.arange(DEGREES**2).reshape(DEGREES, DEGREES).T.ravel()
