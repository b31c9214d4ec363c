"""Detect what the corners of polygons are: points, or the numbers of pixels.

OpenCV's ``findContours`` walks from pixel to pixel along the border of a mask. Its corners are
whole numbers that never reach width or height, and the pixels that they name belong to the mask:
read as points, a mask loses its last row and column, and a thin crack nearly all of itself.

Whole numbers alone show nothing: many tools round. What shows it are edges that all run along the
eight directions of pixels, some of them diagonally; outlines that go there and back, and so have no
area; corners in the last column or row of pixels where none is on the border beyond it; and boxes
in the label file that are all a pixel wider and higher than the corners reach.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from defectkit.arrays import Float64Array, ImageSize
from defectkit.labels.outlines import MAX_ROUNDING, Polygons, names_pixels, points_of

MIN_EDGES = 12
"""So many edges in the eight directions, with no other edge anywhere, are no chance ..."""
MIN_RING = 6
"""... in outlines of at least so many edges: triangles and rectangles are also drawn so ..."""
MIN_DIAGONAL = 2
"""... if so many of them are diagonal."""
MIN_POLYGONS = 3
"""Min. number of polygons without area, or at the border, that show it."""

Sample = tuple[Polygons, ImageSize]
"""Polygons, and (height, width) of their image."""


@dataclass(slots=True)
class _Evidence:
    """What the sampled polygons show, as numbers of edges and of polygons."""

    polygons: int = 0
    edges: int = 0
    diagonal: int = 0
    slanted: int = 0
    thin: int = 0
    at_border: int = 0
    in_wider_box: int = 0
    in_other_box: int = 0


def why_pixels(samples: Iterable[Sample]) -> str | None:
    """Return why the corners of polygons name pixels, "" where nothing shows that they do.

    None where they cannot: some are not whole numbers inside of the image, or there are none.
    """
    found = _Evidence()
    for polygons, size in samples:
        if not all(ring and len(ring) % 2 == 0 for ring in polygons.rings):
            continue  # It is refused later.
        rings = [points_of(ring, size, relative=polygons.relative) for ring in polygons.rings]
        if not all(names_pixels(ring, size) for ring in rings):
            return None
        _add(found, rings, size)
        _add_box(found, np.concatenate(rings), polygons.box_sides)
    if not found.polygons:
        return None
    chain = found.edges >= MIN_EDGES and found.diagonal >= MIN_DIAGONAL and not found.slanted
    if chain:
        edges = f"all {found.edges} edges that were checked"
        return f"{edges} run straight or diagonally from pixel to pixel"
    if found.thin >= MIN_POLYGONS:
        return f"{found.thin} of them go there and back, and have no area between points"
    if found.at_border >= MIN_POLYGONS:
        return f"{found.at_border} of them end in the last row or column, and none beyond it"
    if found.in_wider_box >= MIN_POLYGONS and not found.in_other_box:
        return f"the boxes of {found.in_wider_box} of them are a pixel wider and higher"
    return ""


def _add(found: _Evidence, rings: list[Float64Array], size: ImageSize) -> None:
    thin = []
    found.polygons += 1
    for ring in rings:
        points = np.rint(ring)
        steps = np.roll(points, -1, axis=0) - points
        steps = steps[steps.any(axis=1)]
        straight = (steps == 0).any(axis=1)
        diagonal = abs(steps[:, 0]) == abs(steps[:, 1])
        if len(steps) >= MIN_RING:
            found.edges += len(steps)
            found.diagonal += int(np.count_nonzero(diagonal))
        found.slanted += int(np.count_nonzero(~straight & ~diagonal))
        is_chain = len(steps) > 0 and bool((straight | diagonal).all())
        thin.append(is_chain and not _area(points))
    height, width = size
    last = max(ring[:, 0].max() for ring in rings), max(ring[:, 1].max() for ring in rings)
    # A stray ring beside a good one has no area either.
    found.thin += all(thin)
    found.at_border += last[0] > width - 1.5 or last[1] > height - 1.5


def _add_box(found: _Evidence, points: Float64Array, box_sides: tuple[float, float] | None) -> None:
    if box_sides:
        wider = box_sides - (points.max(axis=0) - points.min(axis=0))
        is_wider = bool((abs(wider - 1) <= MAX_ROUNDING).all())
        found.in_wider_box += is_wider
        found.in_other_box += not is_wider


def _area(points: Float64Array) -> float:
    """Return twice the area of a polygon, 0 for one that goes there and back."""
    following = np.roll(points, -1, axis=0)
    return abs(float(np.sum(points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1])))
