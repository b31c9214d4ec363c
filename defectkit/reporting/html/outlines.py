"""Outlines of regions as SVG paths, so that a page can draw them over the bare image."""

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import Mask

TOLERANCE = 0.75
"""Max. distance in pixels of a path from the outline that it stands for."""

MAX_CORNERS = 1500
"""An outline with more corners is drawn with a larger tolerance."""


def outline_path(mask: Mask, *, left: int = 0, top: int = 0) -> str:
    """Return the outlines of the pixels of a mask as an SVG path; without pixels it is empty.

    The path runs half a pixel outside of the pixels, so that it covers none of them, and around the
    holes of a region as well.

    Args:
        mask: (H, W) bool.
        left: the column of the image where the mask begins.
        top: its row.

    Returns:
        A path in pixels of the image, x right and y down, where the first pixel is from 0 to 1.

    >>> outline_path(np.ones((1, 1), np.bool_), left=10, top=20)
    'M9.5 19.5l0 2 2 0 0-2z'
    """
    around = cv2.dilate(np.pad(mask.astype(np.uint8), 2), np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(around, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = TOLERANCE
    contours = [cv2.approxPolyDP(contour, tolerance, closed=True) for contour in found]
    while sum(map(len, contours)) > MAX_CORNERS and tolerance < max(around.shape):
        tolerance *= 2
        contours = [cv2.approxPolyDP(contour, tolerance, closed=True) for contour in found]
    # The mask was padded by 2 pixels, and the path runs through the centers of pixels.
    return "".join(_path(contour[:, 0], left - 1.5, top - 1.5) for contour in contours)


def _path(corners: npt.NDArray[np.integer], left: float, top: float) -> str:
    x, y = corners[0].tolist()
    steps = np.diff(corners, axis=0).tolist()
    moves = " ".join(f"{right} {down}" for right, down in steps).replace(" -", "-")
    return f"M{x + left:g} {y + top:g}l{moves}z" if steps else ""
