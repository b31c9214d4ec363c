"""Lines, tints, rings and names drawn on images so that they hide no defect."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoxXywh, Color, Image, Mask
from defectkit.data.images import as_channels
from defectkit.regions import FOUND_COVERAGE
from defectkit.reporting.drawing.lettering import draw_texts, line_height, shorten, text_width
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS

TINT = 0.35
"""The share of the tint in a tinted pixel."""

DASH, DASH_PERIOD = 4, 7
SMALL_SIDE = 24
"""Spots whose box fits into this many pixels get a ring (more in images above 1000 pixels)."""

MAX_RINGS = 40
"""More spots of one kind than these get no rings: nobody overlooks them."""


def as_rgb(image: Image) -> Image:
    """Return (H, W), (H, W, 1) or (H, W, 3) ``image`` as (H, W, 3)."""
    gray = image.ndim == 3 and image.shape[2] == 1
    return as_channels(image[:, :, 0] if gray else image, 3)


def outline(image: Image, mask: Mask, color: Color, thickness: int, *, gap: int = 1) -> None:
    """Draw the outline of ``mask`` on the (H, W, 3) ``image`` in place, outside of the mask.

    ``gap`` pixels between mask and line stay free, so that the line covers no small defect.
    """
    distance = _distance_to(mask)
    image[(distance > gap) & (distance <= gap + thickness)] = color


def _distance_to(mask: Mask) -> npt.NDArray[np.float32]:
    """Return each pixel's distance to the nearest one of ``mask`` to about 2 %, (H, W) float32."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    # The 5x5 mask (Borgefors 1986) takes a fifth of the time of the exact transform.
    outside = np.logical_not(mask).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(distance, dtype=np.float32)


def tint(image: Image, part: Mask, color: Color) -> None:
    """Mix ``color`` lightly into the pixels of ``part`` of the (H, W, 3) ``image``, in place."""
    image[part] = np.rint((1 - TINT) * image[part] + TINT * np.array(color)).astype(np.uint8)


def dashed_outline(image: Image, mask: Mask, color: Color, thickness: int) -> None:
    """Draw dashes of ``color`` on a dark line, outside of where ``outline`` draws its line.

    Where finding and truth agree, both lines are thus seen side by side.
    """
    gap = 1 + 2 * thickness
    distance = _distance_to(mask)
    band = (distance > gap) & (distance <= gap + thickness)
    image[band] = BACKGROUND
    contours, _ = cv2.findContours(
        (distance <= gap + thickness).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    dashes = np.zeros(mask.shape, np.uint8)
    for contour in contours:
        steps = np.arange(len(contour)) % (DASH_PERIOD * thickness)
        x, y = contour[steps < DASH * thickness, 0].T
        dashes[y, x] = 1
    dashes = cv2.dilate(dashes, np.ones((2 * thickness - 1, 2 * thickness - 1), np.uint8))
    image[band & (dashes > 0)] = color


def ring_small(image: Image, predicted: Mask, truth: Mask | None, thickness: int) -> None:
    """Draw a ring, in place, around each spot that is too small to be noticed.

    The ring has the color of what happened there: hit, missed or false; where the truth is not
    known (None), the finding's. Rings of one color that would cross flow into one, and a crowd of
    spots gets none.
    """
    everything = predicted if truth is None else predicted | truth
    near = (_distance_to(everything) <= 3).astype(np.uint8)  # parts of one spot belong together
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(near)
    side = _small_side(predicted.shape)
    spots = {name: np.zeros(predicted.shape, np.bool_) for name in ("hit", "missed", "false")}
    counts = dict.fromkeys(spots, 0)
    for part in 1 + np.flatnonzero(boxes[1:, 2:4].max(axis=1) <= side + 6):
        x, y, width, height = boxes[part, :4]
        window = np.s_[y : y + height, x : x + width]
        here = everything[window] & (parts[window] == part)
        kind = _kind(here & predicted[window], here if truth is None else here & truth[window])
        spots[kind][window] |= here
        counts[kind] += 1
    for kind, spot in spots.items():
        if not 0 < counts[kind] <= MAX_RINGS:
            continue
        distance = _distance_to(spot) - _ring_radius(side)
        image[np.abs(distance) <= thickness + 1] = BACKGROUND
        image[np.abs(distance) <= 0.7 * thickness] = COLORS["finding" if truth is None else kind]


def _small_side(shape: tuple[int, ...]) -> int:
    return max(SMALL_SIDE, max(shape) // 40)


def _ring_radius(side: int) -> int:
    return side // 2 + 4


def with_ring(box: BoxXywh, shape: tuple[int, ...]) -> BoxXywh:
    """Return ``box``, enlarged by its ring if it has one."""
    x, y, width, height = box
    side = _small_side(shape)
    if max(width, height) > side:
        return box
    reach = _ring_radius(side) - 4
    return x - reach, y - reach, width + 2 * reach, height + 2 * reach


def _kind(predicted: Mask, truth: Mask) -> str:
    if not truth.any():
        return "false"
    return "hit" if (predicted & truth).sum() >= FOUND_COVERAGE * truth.sum() else "missed"


def draw_tags(image: Image, tags: Sequence[tuple[str, BoxXywh, Color]], *, away: int = 6) -> None:
    """Write names beside boxes on the (H, W, 3) ``image`` in place, covering no box.

    Args:
        image: RGB uint8.
        tags: name, box_xywh in pixels of the image, and color of the letters.
        away: pixels between box and name.
    """
    height, width = image.shape[:2]
    size = int(np.clip(width // 40, 11, 24))
    taken = [box for _, box, _ in tags]
    texts = []
    for name, box, color in tags:
        text = shorten(name, width - 6, size)
        place = _free_place(
            box, (text_width(text, size) + 6, line_height(size)), (width, height), away, taken
        )
        if place is None:  # Better no name than a hidden defect.
            continue
        taken.append(place)
        left, top, tag_width, tag_height = place
        _shade(image[top : top + tag_height, left : left + tag_width])
        texts.append((text, left + 3, top, size, color))
    draw_texts(image, texts)


def _free_place(
    box: BoxXywh, tag: tuple[int, int], room: tuple[int, int], away: int, taken: Sequence[BoxXywh]
) -> BoxXywh | None:
    """Return the first place above, below, right or left of ``box`` where ``tag`` hides nothing."""
    x, y, width, height = box
    tag_width, tag_height = tag
    middle = x + (width - tag_width) // 2, y + (height - tag_height) // 2
    for left, top in (
        (middle[0], y - away - tag_height),
        (middle[0], y + height + away),
        (x + width + away, middle[1]),
        (x - away - tag_width, middle[1]),
    ):
        left = min(max(left, 0), room[0] - tag_width)
        top = min(max(top, 0), room[1] - tag_height)
        place = left, top, tag_width, tag_height
        if min(left, top) >= 0 and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(one: BoxXywh, other: BoxXywh) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _shade(image: Image) -> None:
    image[...] = np.rint(0.25 * image + 0.75 * np.array(BACKGROUND)).astype(np.uint8)
