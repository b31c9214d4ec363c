"""Keypoints and descriptors, by which copies of an image are recognized.

A keypoint is a local maximum of the smoothed gray values at a reduced size. The patch around it is
turned and flipped into one canonical orientation and projected on smooth functions; the descriptor
is the signs of the projections. It stays nearly the same under the eight flips and rotations,
changed brightness, re-encoding, shifts, and in crops.

A keypoint is packed in one unsigned integer of 64 bits, from the lowest: x (13 bits) and y (13) in
pixels of the reduced image, the orientation that made it canonical (3), the descriptor (35).
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, Float32Array, Image, Int64Array, UInt64Array
from defectkit.data.images import convert_channels

REDUCED_AREA = 256**2
"""Approximate number of pixels of the reduced image in which keypoints are looked for."""
GRID, MAX_PER_CELL = 4, 3
"""The strongest 3 keypoints in each cell of a grid of 4x4, so that any crop has some."""
RADIUS = 8
"""Half the side of the described patch, in reduced pixels."""
PATCH_SIDE = 2 * RADIUS + 1
PEAK_WINDOW = np.ones((11, 11), np.uint8)
RING_Y = np.array([-6, -6, -6, 0, 0, 6, 6, 6])
RING_X = np.array([-6, 0, 6, -6, 6, -6, 0, 6])
"""Offsets of the pixels against which the contrast of a keypoint is measured."""
MIN_CONTRAST = 40
"""Min. contrast of a keypoint: half a gray level, in smoothed values."""
KEYPOINT_BYTES = 8
DEGREES = 6
COORDINATE_BITS = 13
DESCRIPTOR_BITS = DEGREES**2 - 1
WEIGHTS = np.uint64(1) << np.arange(2 * COORDINATE_BITS + 3, 64, dtype=np.uint64)
FLIP_X, FLIP_Y, TRANSPOSE = 1, 2, 4


def reduction_factor(height: int, width: int) -> int:
    """Return the power of two by which an image is reduced before keypoints are looked for.

    >>> [reduction_factor(side, side) for side in (100, 361, 363, 512, 1024)]
    [1, 1, 2, 2, 4]
    >>> reduction_factor(512, 256)
    2
    """
    if height * width == 0:
        return 1
    return int(2 ** max(0, math.floor(math.log2(height * width / REDUCED_AREA) / 2 + 0.5)))


def find_keypoints(image: Image) -> bytes:
    """Return the keypoints of an (H, W) or (H, W, 3) image, 8 bytes each, at most 48.

    There are fewer where there is little to see, and none in an image that is smaller than 17
    pixels after its reduction.
    """
    smooth = _smooth(reduce_gray(image, reduction_factor(*image.shape[:2])))
    y, x = _peaks(smooth)
    corner = (y - RADIUS) * smooth.shape[1] + x - RADIUS
    square = np.arange(PATCH_SIDE)[:, None] * smooth.shape[1] + np.arange(PATCH_SIDE)
    around = smooth.ravel().take(corner[:, None] + square.ravel()).astype(np.float32)
    around -= around[:, [PATCH_SIDE * PATCH_SIDE // 2]]  # large values in common would cost digits
    orientation, signs = _canonical_orientation(around @ FUNCTIONS)
    position = (orientation << 2 * COORDINATE_BITS) | (y << COORDINATE_BITS) | x
    packed = signs[:, 1:] @ WEIGHTS | position.astype(np.uint64)
    return packed.astype("<u8").tobytes()


def unpack_keypoints(
    keypoints: UInt64Array,
) -> tuple[UInt64Array, Int64Array, Int64Array, Int64Array]:
    """Return the descriptors, orientations, y and x of keypoints, each an array as long."""
    position = (keypoints & np.uint64(2 ** (2 * COORDINATE_BITS + 3) - 1)).astype(np.int64)
    mask = 2**COORDINATE_BITS - 1
    descriptor = keypoints >> np.uint64(2 * COORDINATE_BITS + 3)
    return (
        descriptor,
        position >> 2 * COORDINATE_BITS,
        (position >> COORDINATE_BITS) & mask,
        position & mask,
    )


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
    """Return 81 times the gray values, averaged over 5x5 pixels, mostly the middle one."""
    once = cv2.boxFilter(gray, cv2.CV_16U, (3, 3), normalize=False)
    return np.asarray(cv2.boxFilter(once, cv2.CV_16U, (3, 3), normalize=False))


def _peaks(smooth: npt.NDArray[np.uint16]) -> tuple[Int64Array, Int64Array]:
    """Return y and x of the peaks with the highest contrast, a few for each cell."""
    if min(smooth.shape) < PATCH_SIDE:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    inner = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
    rows, columns = smooth[inner].shape
    y, x = np.divmod(
        np.flatnonzero(smooth[inner] == cv2.dilate(smooth, PEAK_WINDOW)[inner]), columns
    )
    at = (y + RADIUS) * smooth.shape[1] + x + RADIUS
    ring = smooth.ravel().take(at[:, None] + (RING_Y * smooth.shape[1] + RING_X))
    contrast = len(RING_Y) * smooth.ravel().take(at).astype(np.int64) - ring.sum(axis=1)
    strong = np.flatnonzero(contrast > len(RING_Y) * MIN_CONTRAST)
    cell = y[strong] * GRID // rows * GRID + x[strong] * GRID // columns
    order = np.lexsort((-contrast[strong], cell))
    cell = cell[order]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    chosen = strong[order[rank < MAX_PER_CELL]]
    return y[chosen] + RADIUS, x[chosen] + RADIUS


def _canonical_orientation(projections: Float32Array) -> tuple[Int64Array, BoolArray]:
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


def _smooth_functions() -> Float32Array:
    """Return smooth functions on a patch, (17 x 17, 36), which each sum to zero.

    They are products of a function down and one across: orthonormal polynomials under a bell, even
    and odd ones in turn.
    """
    x = np.arange(-RADIUS, RADIUS + 1) / RADIUS
    powers = np.exp(-0.5 * (x / 0.55) ** 2)[:, None] * x[:, None] ** np.arange(DEGREES)
    for parity in (0, 1):  # of their own each, so that a flip does nothing but change signs
        powers[:, parity::2], _ = np.linalg.qr(powers[:, parity::2])
    products = np.kron(powers, powers)
    return np.asarray(products - products.mean(axis=0), np.float32)


FUNCTIONS = _smooth_functions()
ODD_Y, ODD_X = (degree % 2 > 0 for degree in np.divmod(np.arange(DEGREES**2), DEGREES))
TRANSPOSED = np.arange(DEGREES**2).reshape(DEGREES, DEGREES).T.ravel()
