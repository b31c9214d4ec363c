"""Names written beside boxes, where they hide no defect."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from defectkit.arrays import BoxXywh, Color, Image, Int64Array, Mask
from defectkit.reporting.drawing.lettering import (
    PlacedText,
    draw_texts,
    line_height,
    shorten,
    text_width,
)
from defectkit.reporting.drawing.palette import BACKGROUND

MAX_TAGS = 20
"""Max. number of names in a picture."""

TAG_ROWS = 100
"""Max. number of rows of an image that writing a name takes part in."""

STEPS = (1, 3, 6)
"""Where there is no place beside a box, a name is put further away, at these multiples of the
distance."""


def draw_tags(
    image: Image,
    tags: Sequence[tuple[str, BoxXywh, Color]],
    *,
    distance: int = 6,
    defects: Mask | None = None,
) -> None:
    """Write names beside boxes on the (H, W, 3) ``image`` in place, covering neither box nor name.

    The first ``MAX_TAGS`` boxes get their names: a picture with thousands cannot be read. A name
    for which there is no free place is left out.

    Args:
        image: RGB uint8.
        tags: name, box_xywh in pixels of the image, and color of the letters, the most important
            first.
        distance: pixels between box and name, where there is a place so near.
        defects: (H, W) bool, further pixels that no name covers or comes close to.
    """
    write_tags(image, place_tags(image.shape, tags, distance=distance, defects=defects))


class PlacedTag(NamedTuple):
    """A name with its place: the box that is shaded, in pixels of the image, and the letters."""

    box: BoxXywh
    text: PlacedText


def place_tags(
    shape: tuple[int, ...],
    tags: Sequence[tuple[str, BoxXywh, Color]],
    *,
    distance: int = 6,
    defects: Mask | None = None,
) -> list[PlacedTag]:
    """Return where ``draw_tags`` writes names in an image of a shape, (H, W, ...)."""
    height, width = shape[:2]
    size = int(np.clip(width // 40, 11, 24))
    taken = np.array([box for _, box, _ in tags], np.int64).reshape(-1, 4)
    placed = []
    for name, box, color in tags[:MAX_TAGS]:
        text = shorten(name, width - 6, size)
        tag_size = text_width(text, size) + 6, line_height(size)
        places = (
            place
            for step in STEPS
            for place in _places_beside(box, tag_size, (width, height), step * distance)
            if not _overlap(place, taken) and not _is_near(place, defects, distance)
        )
        if (place := next(places, None)) is None:  # Better no name than a hidden defect.
            continue
        taken = np.append(taken, [place], axis=0)
        placed.append(PlacedTag(place, PlacedText(text, place[0] + 3, place[1], size, color)))
    return placed


def write_tags(image: Image, tags: Sequence[PlacedTag], *, top: int = 0) -> None:
    """Write names on an image in place, of which the rows from ``top`` on are given."""
    for (left, above, width, height), _ in tags:
        _shade(image[above - top : above - top + height, left : left + width])
    draw_texts(image, [tag.text._replace(top=tag.text.top - top) for tag in tags])


def _places_beside(
    box: BoxXywh, tag_size: tuple[int, int], image_size: tuple[int, int], distance: int
) -> Iterator[BoxXywh]:
    """Yield the places of a tag above, below, right and left of ``box`` that lie in the image.

    Sizes are (width, height).
    """
    x, y, width, height = box
    tag_width, tag_height = tag_size
    middle = x + (width - tag_width) // 2, y + (height - tag_height) // 2
    for left, top in (
        (middle[0], y - distance - tag_height),
        (middle[0], y + height + distance),
        (x + width + distance, middle[1]),
        (x - distance - tag_width, middle[1]),
    ):
        left = min(max(left, 0), image_size[0] - tag_width)
        top = min(max(top, 0), image_size[1] - tag_height)
        if min(left, top) >= 0:
            yield left, top, tag_width, tag_height


def _is_near(place: BoxXywh, defects: Mask | None, distance: int) -> bool:
    """Return whether a pixel of ``defects`` is in ``place`` or at most ``distance`` beside it."""
    if defects is None:
        return False
    left, top, width, height = place
    rows = slice(max(0, top - distance), top + height + distance)
    return bool(defects[rows, max(0, left - distance) : left + width + distance].any())


def _overlap(place: BoxXywh, taken: Int64Array) -> bool:
    x, y, width, height = place
    left, top, box_width, box_height = taken.T
    across = (x < left + box_width) & (left < x + width)
    return bool((across & (y < top + box_height) & (top < y + height)).any())


def _shade(image: Image) -> None:
    image[...] = np.rint(0.25 * image + 0.75 * np.array(BACKGROUND)).astype(np.uint8)
