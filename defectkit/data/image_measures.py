"""What a plan needs of an image's pixels: its coarse layout, and the contrast of its defects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2

from defectkit.arrays import Image, Mask
from defectkit.data.images import convert_channels, resize_image
from defectkit.regions import Region

LAYOUT_SIDE = 16
"""Side in pixels of the image that the layout is reduced to."""
MAX_REGIONS = 32
"""Max. number of regions of an image that are measured, evenly taken from all of them."""
MIN_MARGIN, MAX_MARGIN = 4, 32
"""Pixels around a region's box that belong to its surroundings: half of the box's side, within
these bounds."""
MAX_SIDE = 64
"""Of boxes from twice this side on, every second, third ... row and column is read."""
CELL_SIDE = 8
"""Of images with larger cells of the layout, every second, third ... row and column is read."""
MIN_DEVIATION = 1.0
"""In gray levels; the noise of a camera is not less, only that of saturated pixels."""


# Without slots it travels between processes in less time, as regions do.
@dataclass(frozen=True, kw_only=True)
class ImageMeasures:
    """What is measured of the pixels of one image.

    Attributes:
        layout: the gray image reduced to ``LAYOUT_SIDE`` x ``LAYOUT_SIDE`` uint8, row by row.
        contrasts: those of its defects, at most ``MAX_REGIONS``, by class.
    """

    layout: bytes = b""
    contrasts: dict[str, tuple[float, ...]] = field(default_factory=dict)


def measure_image(image: Image, regions: Sequence[Region], defects: Mask | None) -> ImageMeasures:
    """Measure an image (H, W) or (H, W, C) uint8.

    Args:
        image: the pixels.
        regions: its defects, of all classes.
        defects: (H, W) bool, true on the pixels of all defects; None where there are none.
    """
    layout = _reduce(image).tobytes()
    if defects is None:
        return ImageMeasures(layout=layout)
    contrasts: dict[str, list[float]] = {}
    for region in regions[:: math.ceil(len(regions) / MAX_REGIONS)]:
        contrast = measure_contrast(image, region, defects)
        if contrast is not None:
            contrasts.setdefault(region.class_id, []).append(contrast)
    by_class = {name: tuple(values) for name, values in contrasts.items()}
    return ImageMeasures(layout=layout, contrasts=by_class)


def measure_contrast(image: Image, region: Region, defects: Mask) -> float | None:
    """Return how much a region differs from its surroundings, in their standard deviations.

    It is the difference of the mean gray values of the defect pixels in the region's box and of
    the pixels without a defect in and around the box. None where there are no such pixels.
    """
    x, y, width, height = region.box_xywh
    margin = min(max(max(width, height) // 2, MIN_MARGIN), MAX_MARGIN)
    step = max(1, max(width, height) // MAX_SIDE)
    near = (
        slice(max(0, y - margin), y + height + margin, step),
        slice(max(0, x - margin), x + width + margin, step),
    )
    rows, columns = (slice(one.start, one.stop, step) for one in region.window)
    inside = _gray(image[rows, columns])[defects[rows, columns]]
    around = _gray(image[near])[~defects[near]]
    if not inside.size or not around.size:
        return None
    difference = abs(float(inside.mean()) - float(around.mean()))
    return difference / max(float(around.std()), MIN_DEVIATION)


def _reduce(image: Image) -> Image:
    steps = (max(1, side // (CELL_SIDE * LAYOUT_SIDE)) for side in image.shape[:2])
    some = image[tuple(slice(None, None, step) for step in steps)]
    return resize_image(_gray(some), (LAYOUT_SIDE, LAYOUT_SIDE), cv2.INTER_AREA)


def _gray(pixels: Image) -> Image:
    return convert_channels(pixels, 1)[..., 0]
