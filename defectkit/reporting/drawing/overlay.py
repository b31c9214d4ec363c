"""The picture of one inspected image: what is there, what was found, what was said of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoxXywh, Image, Mask
from defectkit.files import safe_name
from defectkit.findings import Finding
from defectkit.regions import measure_regions
from defectkit.reporting.drawing.header import GUTTER, draw_header
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, WHITE
from defectkit.reporting.drawing.strokes import (
    as_rgb,
    draw_dashed_outline,
    draw_outline,
    draw_rings,
    draw_tint,
    include_ring,
)
from defectkit.reporting.drawing.tags import draw_tags

MIN_WIDTH = 340
"""Narrower canvases are padded to this many pixels, so that the header can be read."""

STACK_ASPECT = 2.5
"""Images this many times as wide as high are stacked, since side by side they fit no screen."""


def draw_overlay(
    image: Image,
    *,
    predicted: Mask,
    truth: Mask | None,
    verdict: str,
    score: float,
    threshold_low: float,
    threshold_high: float,
    image_id: str,
    outcome: str | None = None,
    labels: Sequence[tuple[str, BoxXywh]] = (),
    score_map: npt.NDArray[np.float32] | None = None,
) -> Image:
    """Return a header strip above the bare image and, right of it, the marked image.

    Both panels have the image's native resolution; the bare one is never drawn on, so that no
    mark hides a defect from the reader. Very wide images are stacked, bare above marked.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) RGB uint8.
        predicted: (H, W) bool, the found pixels.
        truth: (H, W) bool, the true defect pixels, or None where the truth is not known.
        verdict: ``good``, ``review`` or ``defective``.
        score: the image's defect score in [0, 1].
        threshold_low: below it the verdict is good.
        threshold_high: at or above it the verdict is defective.
        image_id: any text; what no font shows is written as escapes, long ids lose their middle.
        outcome: what the verdict meant (``hit``, ``escape`` …) where the truth is known.
        labels: text and box_xywh, in pixels of the image, of regions to name.
        score_map: (K, H, W), the scores of the classes. Where an image is not good although no
            pixel was found, the highest one is marked, so that the reader sees why.

    Returns:
        (H', W', 3) RGB uint8.
    """
    bare = as_rgb(image)
    height, width = bare.shape[:2]
    stacked = width >= STACK_ASPECT * height
    across, down = (1, 2) if stacked else (2, 1)
    canvas_width = max(across * (width + GUTTER) + GUTTER, MIN_WIDTH)
    header = draw_header(
        canvas_width,
        image_id=image_id,
        verdict=verdict,
        outcome=outcome,
        score=score,
        threshold_low=threshold_low,
        threshold_high=threshold_high,
        has_truth=truth is not None,
    )
    top = len(header)
    canvas = np.full((top + down * (height + GUTTER), canvas_width, 3), BACKGROUND, np.uint8)
    canvas[:top] = header
    marked = mark(bare, predicted=predicted, truth=truth, labels=labels)
    if score_map is not None and verdict != "good" and not predicted.any():
        _mark_highest(marked, score_map)
    panels = (bare, marked)
    for index, panel in enumerate(panels):
        x = GUTTER + (0 if stacked else index * (width + GUTTER))
        y = top + (index * (height + GUTTER) if stacked else 0)
        canvas[y : y + height, x : x + width] = panel
    return canvas


def overlay_name(image_id: str) -> str:
    """Return a file name for the overlay of ``image_id``: safe on all systems, one for each id.

    >>> overlay_name("exp1_num_461.jpg")
    'exp1_num_461.jpg.png'
    >>> overlay_name("lot 7/a.png")
    'lot_7_a.png-384786f3.png'
    """
    return safe_name(image_id) + ".png"


def mark(
    image: Image, *, predicted: Mask, truth: Mask | None, labels: Sequence[tuple[str, BoxXywh]] = ()
) -> Image:
    """Return ``image`` with its parts tinted, outlined and named, as (H, W, 3) RGB uint8.

    Hit, missed and false pixels get a light tint; the finding a solid line and the truth a dashed
    one, both outside of what they surround; a defect too small to be noticed gets a ring.
    """
    marked = as_rgb(image).copy()
    assert predicted.shape == marked.shape[:2], (predicted.shape, marked.shape)
    assert truth is None or truth.shape == predicted.shape, (truth.shape, predicted.shape)
    line = _line_width(marked)
    if truth is not None:
        draw_tint(marked, truth & predicted, COLORS["hit"])
        draw_tint(marked, truth & ~predicted, COLORS["missed"])
        draw_tint(marked, predicted & ~truth, COLORS["false"])
    draw_outline(marked, predicted, COLORS["finding"], line)
    if truth is not None:
        draw_dashed_outline(marked, truth, COLORS["truth"], line)
    draw_rings(marked, predicted, truth, line)
    draw_tags(marked, [(text, include_ring(box, marked.shape), WHITE) for text, box in labels])
    return marked


def _mark_highest(marked: Image, score_map: npt.NDArray[np.float32]) -> None:
    # Often one pixel; of a tile or a box all.
    highest = (score_map == score_map.max()).any(axis=0)
    line = _line_width(marked)
    draw_outline(marked, highest, COLORS["finding"], line)
    draw_rings(marked, highest, None, line)
    first, *_ = measure_regions(highest)
    draw_tags(marked, [("highest score", include_ring(first.box_xywh, marked.shape), WHITE)])


def _line_width(image: Image) -> int:
    return 1 + int(max(image.shape[:2])) // 1000


def region_labels(finding: Finding, *, most: int = 8) -> list[tuple[str, BoxXywh]]:
    """Return the text and box of a finding's largest regions, as ``draw_overlay`` takes them."""
    largest = sorted(finding.regions, key=lambda region: -region.area)[:most]
    return [(f"{region.class_id} {region.score:.2f}", region.box_xywh) for region in largest]
