"""Shapes that labeling tools draw, as outlines: circles, ellipses, rectangles at an angle."""

import math

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.outlines import Box, Polygons

N_CORNERS = 64
"""Number of corners of the polygon that stands for an ellipse."""


def box_of(x: float, y: float, other_x: float, other_y: float, size: ImageSize | None) -> Box:
    """Return the box with any two opposite corners."""
    (left, right), (top, bottom) = sorted((x, other_x)), sorted((y, other_y))
    return Box(left, top, right, bottom, size)


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, size: ImageSize | None, angle: float = 0
) -> Polygons:
    """Return the ellipse around (x, y); ``angle`` in degrees, clockwise as seen.

    Raises:
        LabelError: a radius is not above 0.
    """
    if not (radius_x > 0 and radius_y > 0):
        raise LabelError("its radius is not above 0")
    turns = [2 * math.pi * index / N_CORNERS for index in range(N_CORNERS)]
    points = [(radius_x * math.cos(turn), radius_y * math.sin(turn)) for turn in turns]
    return Polygons((_turned(points, x, y, angle),), size)


def rectangle(
    x: float, y: float, width: float, height: float, size: ImageSize | None, angle: float
) -> Polygons:
    """Return the rectangle that is turned about its corner (x, y), ``angle`` as in ``ellipse``."""
    points = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    return Polygons((_turned(points, x, y, angle),), size)


def rectangle_around(
    left: float, top: float, right: float, bottom: float, size: ImageSize | None, angle: float
) -> Polygons:
    """Return the box that is turned about its center, ``angle`` as in ``ellipse``."""
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    points = [
        (sign_x * half_width, sign_y * half_height)
        for sign_x, sign_y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    return Polygons((_turned(points, left + half_width, top + half_height, angle),), size)


def _turned(
    points: list[tuple[float, float]], x: float, y: float, angle: float
) -> tuple[float, ...]:
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return tuple(
        number
        for right, down in points
        for number in (x + right * cosine - down * sine, y + right * sine + down * cosine)
    )
