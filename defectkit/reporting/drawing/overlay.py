"""The overlay of one inspected image: the image, its truth, its finding and its verdict."""

from collections.abc import Sequence

from defectkit.arrays import BoxXywh, Image, ImageSize, Mask, ScoreMap
from defectkit.evaluation.verdicts import Judgment
from defectkit.files import safe_name
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.regions import measure_regions
from defectkit.reporting.drawing.header import GUTTER, draw_header
from defectkit.reporting.drawing.palette import COLORS, WHITE
from defectkit.reporting.drawing.strokes import (
    as_rgb,
    draw_dashed_outline,
    draw_outline,
    draw_rings,
    draw_scope,
    draw_tint,
    fill_canvas,
    include_ring,
    place_image,
)
from defectkit.reporting.drawing.tags import MAX_TAGS, draw_tags

Tag = tuple[str, BoxXywh]
"""A text and the box that it names, in pixels of the image."""

MIN_WIDTH = 340
"""Narrower canvases are padded to this many pixels, so that the header can be read."""

HIGHEST_SCORE = "highest score"
"""The name of the pixels that are marked where nothing was found."""

STACK_ASPECT = 2.5
"""Images this many times as wide as high are stacked, since side by side they fit no screen."""


def draw_overlay(
    image: Image,
    finding: Finding,
    judgment: Judgment,
    *,
    image_id: str,
    truth: Mask | None = None,
    tags: Sequence[Tag] | None = None,
    scope: Scope = EVERYWHERE,
) -> Image:
    """Return a header strip above the bare image and, right of it, the marked image.

    Both panels have the image's native resolution; the bare one is never drawn on, so that no
    mark hides a defect from the reader. Very wide images are stacked, bare above marked.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) RGB uint8.
        finding: what was found in it.
        judgment: the verdict, and its outcome where that is to be shown.
        image_id: any text; what no font shows is written as escapes, long ids lose their middle.
        truth: (H, W) bool, the true defect pixels, or None where the truth is not known.
        tags: names of places in the marked image, the most important first; the header counts
            them where there are too many. By default those of the finding's regions; where the
            image is not good although no pixel was found, the highest score is marked instead, so
            that the reader sees why.
        scope: what is outside of the region to inspect is dimmed, what is ignored is hatched.

    Returns:
        (H', W', 3) RGB uint8.
    """
    height, width = image.shape[:2]
    stacked = is_stacked((height, width))
    across, down = (1, 2) if stacked else (2, 1)
    canvas_width = max(across * (width + GUTTER) + GUTTER, MIN_WIDTH)
    found = finding.mask
    named = region_tags(finding) if tags is None else tags
    header = draw_header(
        canvas_width,
        judgment,
        image_id=image_id,
        has_truth=truth is not None,
        note=note_of(len(named)),
        scope=scope,
    )
    top = len(header)
    canvas = fill_canvas(top + down * (height + GUTTER), canvas_width)
    canvas[:top] = header
    for index in range(2):  # Drawn where they stay: large images are not copied.
        x = GUTTER + (0 if stacked else index * (width + GUTTER))
        y = top + (index * (height + GUTTER) if stacked else 0)
        panel = canvas[y : y + height, x : x + width]
        place_image(panel, image)
    _mark(panel, found, truth, named, scope)
    if tags is None and judgment.verdict != "good" and not found.any():
        _mark_highest_score(panel, finding.score_map)
    return canvas


def overlay_name(image_id: str) -> str:
    """Return a file name for the overlay of ``image_id``: safe on all systems, one for each id.

    >>> overlay_name("exp1_num_461.jpg")
    'exp1_num_461.jpg.png'
    >>> overlay_name("lot 7/a.png")
    'lot_7_a.png-384786f3.png'
    """
    return safe_name(image_id) + ".png"


def mark_defects(
    image: Image,
    *,
    found: Mask,
    truth: Mask | None,
    tags: Sequence[Tag] = (),
    scope: Scope = EVERYWHERE,
) -> Image:
    """Return ``image`` with its defects tinted, outlined and named, as (H, W, 3) RGB uint8.

    Hit, missed and false pixels get a light tint; the finding a solid line and the truth a dashed
    one, both outside of what they surround; a defect too small to be noticed gets a ring.
    """
    marked = as_rgb(image).copy()
    _mark(marked, found, truth, tags, scope)
    return marked


def _mark(
    marked: Image, found: Mask, truth: Mask | None, tags: Sequence[Tag], scope: Scope
) -> None:
    """Mark defects on an (H, W, 3) image in place."""
    assert found.shape == marked.shape[:2], (found.shape, marked.shape)
    assert truth is None or truth.shape == found.shape, (truth.shape, found.shape)
    line = line_width(marked.shape)
    draw_scope(marked, scope)
    if truth is not None:
        draw_tint(marked, truth & found, COLORS["hit"])
        draw_tint(marked, truth & ~found, COLORS["missed"])
        draw_tint(marked, found & ~truth, COLORS["false"])
    draw_outline(marked, found, COLORS["finding"], line)
    if truth is not None:
        draw_dashed_outline(marked, truth, COLORS["truth"], line)
    draw_rings(marked, found, truth, line)
    named = [(text, include_ring(box, marked.shape), WHITE) for text, box in tags]
    draw_tags(marked, named, defects=truth)  # What is missed has no name, and must be seen.


def _mark_highest_score(marked: Image, score_map: ScoreMap) -> None:
    # Often one pixel; all pixels of a tile or a box.
    highest = (score_map == score_map.max()).any(axis=0)
    line = line_width(marked.shape)
    draw_outline(marked, highest, COLORS["finding"], line)
    draw_rings(marked, highest, None, line)
    first, *_ = measure_regions(highest)
    draw_tags(marked, [(HIGHEST_SCORE, include_ring(first.box_xywh, marked.shape), WHITE)])


def line_width(shape: tuple[int, ...]) -> int:
    """Return how thick the lines are in an image of a shape, in pixels."""
    return 1 + int(max(shape[:2])) // 1000


def is_stacked(size: ImageSize) -> bool:
    """Return whether the marked image stands below the bare one."""
    return size[1] >= STACK_ASPECT * size[0]


def note_of(tags: int) -> str:
    """Return what the header says of a number of names, if it is too large."""
    return f"{tags:,} regions, not all labeled" if tags > MAX_TAGS else ""


def region_tags(finding: Finding | SparseFinding) -> list[Tag]:
    """Return class, if any, and score of a finding's regions, the largest first, with boxes."""
    largest = sorted(finding.regions, key=lambda region: -region.area)
    texts = (f"{region.class_id} {region.score:.2f}".lstrip() for region in largest)
    return [(text, region.box_xywh) for text, region in zip(texts, largest, strict=True)]
