"""Overlays as files, and the previews of those that are too large for a screen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from defectkit.arrays import BoxXywh, Image, Mask, ScoreMap
from defectkit.data.images import encode_jpeg, encode_png
from defectkit.evaluation.verdicts import Judgment
from defectkit.files import write_bytes
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.reporting.drawing.overlay import Tag, draw_overlay, is_stacked, region_tags
from defectkit.reporting.drawing.sheets import fit_image, fit_mask
from defectkit.reporting.drawing.strokes import as_rgb

LARGE_SIDE = 4000
"""Images with a longer side, in pixels, get a preview beside their overlay."""

PREVIEW_SIDE = 2000
"""Max. width and height in pixels of the panels of a preview together."""

PREVIEW_SUFFIX = ".preview.jpg"


@dataclass(frozen=True, slots=True)
class EncodedOverlay:
    """The bytes of an overlay's PNG, and those of its preview, a JPEG, if it is large."""

    picture: memoryview | bytes
    preview: memoryview | bytes | None

    def write(self, path: Path) -> None:
        """Write the overlay to ``path`` and its preview beside it."""
        if self.preview is not None:
            write_bytes(path.with_suffix(PREVIEW_SUFFIX), self.preview)
        write_bytes(path, self.picture)


def write_overlay(
    path: Path,
    image: Image,
    finding: Finding,
    judgment: Judgment,
    *,
    image_id: str,
    truth: Mask | None = None,
    tags: Sequence[Tag] | None = None,
    scope: Scope = EVERYWHERE,
) -> None:
    """Write the overlay of an image to ``path``, a PNG, and where it is large a preview beside it.

    The preview ``NAME.preview.jpg`` of ``NAME.png`` shows the same at a size that fits a screen;
    lines and letters are drawn at that size. The arguments are those of ``draw_overlay``.
    """
    encode_overlay(
        image, finding, judgment, image_id=image_id, truth=truth, tags=tags, scope=scope
    ).write(path)


def encode_overlay(
    image: Image,
    finding: Finding,
    judgment: Judgment,
    *,
    image_id: str,
    truth: Mask | None = None,
    tags: Sequence[Tag] | None = None,
    scope: Scope = EVERYWHERE,
) -> EncodedOverlay:
    """Return the content of the files that ``write_overlay`` writes."""
    draw = partial(draw_overlay, judgment=judgment, image_id=image_id)
    preview: memoryview | None = None
    if max(image.shape[:2]) > LARGE_SIDE:
        small = shrink_image(image)
        shape = small.shape
        named = region_tags(finding) if tags is None and finding.regions else tags
        small_overlay = draw(
            small,
            _shrink(finding, shape),
            truth=truth if truth is None else fit_mask(truth, shape),
            tags=named
            and [(text, scale_box(box, shape[1] / image.shape[1])) for text, box in named],
            scope=_shrink_scope(scope, shape),
        )
        preview = encode_jpeg(small_overlay)
    overlay = draw(image, finding, truth=truth, tags=tags, scope=scope)
    return EncodedOverlay(encode_png(overlay, overwrite=True), preview)


def shrink_image(image: Image) -> Image:
    """Return a large image at the size of its preview, (H, W, 3)."""
    half = PREVIEW_SIDE // 2
    stacked = is_stacked((image.shape[0], image.shape[1]))
    return as_rgb(fit_image(image, (PREVIEW_SIDE, half) if stacked else (half, PREVIEW_SIDE)))


def _shrink(finding: Finding, shape: tuple[int, ...]) -> Finding:
    """Return what ``draw_overlay`` needs of a finding at a smaller size: mask and highest score."""
    highest: ScoreMap = fit_mask(_highest(finding.score_map), shape)[None].astype(np.float32)
    return replace(
        finding,
        score_map=highest,
        region_map=fit_mask(finding.mask, shape).astype(np.int32),
        regions=(),
        class_scores=finding.class_scores[:1],
        detections=(),
    )


def _shrink_scope(scope: Scope, shape: tuple[int, ...]) -> Scope:
    roi, ignored = (
        None if mask is None else fit_mask(mask, shape) for mask in (scope.roi, scope.ignored)
    )
    return Scope(roi=roi, ignored=ignored)


def _highest(score_map: ScoreMap) -> Mask:
    return np.asarray((score_map == score_map.max()).any(axis=0))


def scale_box(box: BoxXywh, scale: float) -> BoxXywh:
    """Return a box in an image that was scaled; it has at least one pixel."""
    x, y, width, height = box
    left, top = int(x * scale), int(y * scale)
    right, bottom = round((x + width) * scale), round((y + height) * scale)
    return left, top, max(1, right - left), max(1, bottom - top)
