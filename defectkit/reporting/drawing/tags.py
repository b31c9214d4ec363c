"""Names written beside boxes, where they hide no defect."""

from collections.abc import Sequence

import numpy as np

from defectkit.arrays import BoxXywh, Color, Image, Int64Array
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


def draw_tags(
    image: Image,
    tags: Sequence[tuple[str, BoxXywh, Color]],
    *,
    distance: int = 6,
) -> None:
    """Write names beside boxes on the (H, W, 3) ``image`` in place, covering no box.

    The first ``MAX_TAGS`` boxes get their names: a picture with thousands cannot be read. A name
    for which there is no free place is left out.

    Args:
        image: RGB uint8.
        tags: name, box_xywh in pixels of the image, and color of the letters, the most important
            first.
        distance: pixels between box and name.
    """
    height, width = image.shape[:2]
    size = int(np.clip(width // 40, 11, 24))
    taken = np.array([box for _, box, _ in tags], np.int64).reshape(-1, 4)
    texts = []
    for name, box, color in tags[:MAX_TAGS]:
        text = shorten(name, width - 6, size)
        place = _free_place(
            box, (text_width(text, size) + 6, line_height(size)), (width, height), distance, taken
        )
        if place is None:  # Better no name than a hidden defect.
            continue
        taken = np.append(taken, [place], axis=0)
        left, top, tag_width, tag_height = place
        _shade(image[top : top + tag_height, left : left + tag_width])
        texts.append(PlacedText(text, left + 3, top, size, color))
    draw_texts(image, texts)


def _free_place(
    box: BoxXywh,
    tag_size: tuple[int, int],
    image_size: tuple[int, int],
    distance: int,
    taken: Int64Array,
) -> BoxXywh | None:
    """Return the first place above, below, right or left of ``box`` where a tag hides nothing.

    Sizes are (width, height); ``taken``, (N, 4), are the boxes that must not be covered.
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
        place = left, top, tag_width, tag_height
        if min(left, top) >= 0 and not _overlap(place, taken):
            return place
    return None


def _overlap(place: BoxXywh, taken: Int64Array) -> bool:
    x, y, width, height = place
    left, top, box_width, box_height = taken.T
    across = (x < left + box_width) & (left < x + width)
    return bool((across & (y < top + box_height) & (top < y + height)).any())


def _shade(image: Image) -> None:
    image[...] = np.rint(0.25 * image + 0.75 * np.array(BACKGROUND)).astype(np.uint8)
