"""Lines, tints and rings, drawn on images so that they hide no defect."""

import cv2
import numpy as np

from defectkit.arrays import BoxXywh, Color, Image, Mask
from defectkit.data.images import convert_channels
from defectkit.labels.scope import Scope
from defectkit.regions import FOUND_COVERAGE
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS

TINT_OPACITY = 0.35
"""The weight of the tint in a tinted pixel, in [0, 1]."""

DIMMED = 0.35
"""The brightness that is left outside of the region to inspect, in [0, 1]."""

HATCH_PERIOD = 8
"""Distance in pixels of the hatching's lines, along rows, for lines 1 pixel thick."""

DASH, DASH_PERIOD = 4, 7
"""The length of a dash, and of a dash with its gap, in pixels for a line 1 pixel thick."""

MAX_RINGED_SIDE = 24
"""Spots whose box fits into this many pixels get a ring (more in images above 1000 pixels)."""

WINDOW = 1024
"""Side in pixels of the windows in which distances are measured."""

SPOT_GAP = 3
"""Pixels this close to each other are one spot."""

MAX_RINGS = 40
"""If there are more small spots of one kind, none of them gets a ring: nobody overlooks them."""


def as_rgb(image: Image) -> Image:
    """Return (H, W), (H, W, 1) or (H, W, 3) ``image`` as (H, W, 3)."""
    return convert_channels(image, 3)


def draw_outline(image: Image, mask: Mask, color: Color, thickness: int, *, gap: int = 1) -> None:
    """Draw the outline of ``mask`` on the (H, W, 3) ``image`` in place, outside of the mask.

    ``gap`` pixels between the mask and the line stay free, so that a small defect remains visible.
    """
    _paint(image, distance_band(mask, gap, gap + thickness), color)


def fill_canvas(height: int, width: int) -> Image:
    """Return (height, width, 3) of the background's color, in a fraction of ``np.full``'s time."""
    canvas = np.empty((height, width, 3), np.uint8)
    canvas.reshape(height, -1)[:] = np.tile(np.array(BACKGROUND, np.uint8), width)
    return canvas


def place_image(panel: Image, image: Image) -> None:
    """Write (H, W), (H, W, 1) or (H, W, 3) ``image`` into the (H, W, 3) ``panel``."""
    if image.ndim == 3 and image.shape[2] == 3:
        panel[...] = image
        return
    for channel in range(3):  # In a fifth of the time that all at once take.
        panel[..., channel] = image.reshape(panel.shape[:2])


def _paint(image: Image, mask: Mask, color: Color) -> None:
    """Give the pixels of ``mask`` a color, in place: only where some are, it is looked at each."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.s_[y : y + height, x : x + width]
    image[window][mask[window]] = color


def distance_band(mask: Mask, low: float, high: float) -> Mask:
    """Return the pixels farther than ``low`` and at most ``high`` from ``mask``: (H, W) bool.

    Distances are those to the nearest pixel of ``mask``, within 2 %. They are measured window by
    window, and around the pixels of ``mask`` alone: images are mostly empty, and a distance takes
    four times the memory of a pixel.
    """
    band = np.zeros(mask.shape, np.bool_)
    margin = int(high) + 2
    for top in range(0, mask.shape[0], WINDOW):
        for left in range(0, mask.shape[1], WINDOW):
            y, x = max(0, top - margin), max(0, left - margin)
            near = mask[y : top + WINDOW + margin, x : left + WINDOW + margin]
            left_of, above, across, down = cv2.boundingRect(near.view(np.uint8))
            if not across:
                continue
            y0, x0 = max(0, above - margin), max(0, left_of - margin)
            near = near[y0 : above + down + margin, x0 : left_of + across + margin]
            y, x = y + y0, x + x0
            # The 5x5 mask (Borgefors 1986) takes a fifth of the time of the exact transform.
            outside = np.logical_not(near).view(np.uint8)
            distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5)
            part = band[max(top, y) : top + WINDOW, max(left, x) : left + WINDOW]
            inner = distance[max(top - y, 0) :, max(left - x, 0) :]
            inner = inner[: part.shape[0], : part.shape[1]]
            part = part[: inner.shape[0], : inner.shape[1]]
            part[...] = (inner > low) & (inner <= high)
    return band


def draw_tint(image: Image, mask: Mask, color: Color) -> None:
    """Mix ``color`` lightly into the pixels of ``mask`` in the (H, W, 3) ``image``, in place."""
    for top in range(0, len(image), WINDOW):  # The numbers between take a lot of memory.
        part, inside = image[top : top + WINDOW], mask[top : top + WINDOW]
        tinted = (1 - TINT_OPACITY) * part[inside] + TINT_OPACITY * np.array(color)
        part[inside] = np.rint(tinted).astype(np.uint8)


def draw_scope(image: Image, scope: Scope) -> None:
    """Dim what is outside of the region to inspect, and hatch what is ignored, in place.

    The hatching is of light and dark lines side by side, to be seen on any surface.
    """
    for top in range(0, len(image), WINDOW):  # The numbers between take a lot of memory.
        rows = np.s_[top : top + WINDOW]
        if scope.roi is not None:
            outside = ~scope.roi[rows]
            image[rows][outside] = (DIMMED * image[rows][outside]).astype(np.uint8)
        if scope.ignored is not None:
            _hatch(image[rows], scope.ignored[rows], top, line=1 + max(image.shape[:2]) // 1000)
    if scope.roi is not None:
        draw_outline(image, scope.roi, COLORS["scope"], 1, gap=0)


def _hatch(image: Image, mask: Mask, top: int, *, line: int) -> None:
    """Hatch ``mask`` in rows of an image that begin with the row ``top``, in place."""
    height, width = mask.shape
    place = np.add.outer(np.arange(top, top + height), np.arange(width)) % (HATCH_PERIOD * line)
    image[mask & (place < line)] = COLORS["scope"]
    image[mask & (place >= line) & (place < 2 * line)] = BACKGROUND


def draw_dashed_outline(image: Image, mask: Mask, color: Color, thickness: int) -> None:
    """Draw dashes of ``color`` on a dark line, outside of the line that ``draw_outline`` draws.

    Where finding and truth agree, both lines are visible side by side.
    """
    gap = 1 + 2 * thickness
    band = distance_band(mask, gap, gap + thickness)
    image[band] = BACKGROUND
    inside = distance_band(mask, -1, gap + thickness)
    contours, _ = cv2.findContours(inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    dashes = np.zeros(mask.shape, np.uint8)
    for contour in contours:
        steps = np.arange(len(contour)) % (DASH_PERIOD * thickness)
        x, y = contour[steps < DASH * thickness, 0].T
        dashes[y, x] = 1
    dashes = cv2.dilate(dashes, np.ones((2 * thickness - 1, 2 * thickness - 1), np.uint8))
    image[band & (dashes > 0)] = color


def draw_rings(image: Image, predicted: Mask, truth: Mask | None, thickness: int) -> None:
    """Draw a ring, in place, around each spot that is too small to be noticed.

    The ring has the color of the spot's kind: hit, missed or false alarm; where the truth is not
    known (None), the color of the finding. Rings of one color that would cross are merged, and if
    there are more than ``MAX_RINGS`` spots of a kind, none of them gets a ring.
    """
    everything = predicted if truth is None else predicted | truth
    near = distance_band(everything, -1, SPOT_GAP).view(np.uint8)
    left, top, across, down = cv2.boundingRect(near)  # Often small: labels take much memory.
    if not across:
        return
    around = near[top : top + down, left : left + across]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(around)
    side = max_ringed_side(predicted.shape)
    spots = {name: np.zeros(predicted.shape, np.bool_) for name in ("hit", "missed", "false")}
    counts = dict.fromkeys(spots, 0)
    for label in 1 + np.flatnonzero(stats[1:, 2:4].max(axis=1) <= side + 2 * SPOT_GAP):
        x, y, width, height = stats[label, :4]
        own = labels[y : y + height, x : x + width] == label
        x, y = x + left, y + top
        window = np.s_[y : y + height, x : x + width]
        here = everything[window] & own
        kind = _spot_kind(here & predicted[window], here if truth is None else here & truth[window])
        spots[kind][window] |= here
        counts[kind] += 1
    for kind, spot in spots.items():
        if 0 < counts[kind] <= MAX_RINGS:
            color = COLORS["finding" if truth is None else kind]
            draw_rings_around(image, spot, thickness, color=color, side=side)


def draw_rings_around(
    image: Image, spots: Mask, thickness: int, *, color: Color, side: int
) -> None:
    """Draw a ring, in place, around each of ``spots``, of up to ``side`` pixels."""
    radius = _ring_radius(side)
    for reach, one in ((thickness + 1, BACKGROUND), (0.7 * thickness, color)):
        # A little wider, so that distances equal to the inner border count too.
        _paint(image, distance_band(spots, radius - reach - 1e-3, radius + reach), one)


def ring_reach(shape: tuple[int, ...], thickness: int) -> int:
    """Return how many pixels from a spot, in an image of a shape, its ring ends at most."""
    return _ring_radius(max_ringed_side(shape)) + thickness + 2


def max_ringed_side(shape: tuple[int, ...]) -> int:
    """Return up to which side in pixels spots get a ring in an image of a shape."""
    return max(MAX_RINGED_SIDE, max(shape) // 40)


def _ring_radius(side: int) -> int:
    return side // 2 + 4


def include_ring(box: BoxXywh, shape: tuple[int, ...]) -> BoxXywh:
    """Return ``box``, enlarged so that it includes the ring if it is small enough to have one."""
    x, y, width, height = box
    side = max_ringed_side(shape)
    if max(width, height) > side:
        return box
    reach = _ring_radius(side) - 4
    return x - reach, y - reach, width + 2 * reach, height + 2 * reach


def _spot_kind(predicted: Mask, truth: Mask) -> str:
    if not truth.any():
        return "false"
    return "hit" if (predicted & truth).sum() >= FOUND_COVERAGE * truth.sum() else "missed"
