"""The overlay of a large image, drawn strip by strip while it is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from defectkit.arrays import BoxXywh, Image, ImageSize, Mask
from defectkit.data.images import encode_jpeg, png_pieces
from defectkit.data.strips import row_slices
from defectkit.evaluation.verdicts import Judgment
from defectkit.files import write_bytes, write_pieces
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import Scope
from defectkit.memory import return_freed
from defectkit.regions import StripRegions
from defectkit.reporting.drawing.header import GUTTER, draw_header
from defectkit.reporting.drawing.overlay import (
    HIGHEST_SCORE,
    MIN_WIDTH,
    Tag,
    draw_overlay,
    is_stacked,
    line_width,
    note_of,
    region_tags,
)
from defectkit.reporting.drawing.overlay_files import (
    PREVIEW_SUFFIX,
    EncodedOverlay,
    scale_box,
    shrink_image,
)
from defectkit.reporting.drawing.palette import COLORS, WHITE
from defectkit.reporting.drawing.sheets import is_covered
from defectkit.reporting.drawing.strokes import (
    MAX_RINGS,
    SPOT_GAP,
    distance_band,
    draw_outline,
    draw_rings_around,
    draw_scope,
    fill_canvas,
    include_ring,
    max_ringed_side,
    place_image,
    ring_reach,
)
from defectkit.reporting.drawing.tags import TAG_ROWS, PlacedTag, place_tags, write_tags
from defectkit.watching import tell

ROWS = 256
"""Number of rows of the image that are drawn at a time."""

MaskRows = Callable[[slice], Mask]
"""Returns some rows of a mask, (H, W) bool."""


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """A small spot of a mask: the place of its box, and its pixels in it."""

    x: int
    y: int
    mask: Mask


@dataclass(frozen=True, kw_only=True, eq=False)
class LargeOverlay:
    """What ``draw_overlay`` draws of an image, for a finding that is sparse.

    Attributes:
        image: (H, W), (H, W, 1) or (H, W, 3) RGB uint8.
        finding: what was found in it.
        judgment: the verdict.
        image_id: any text.
        scope: what is outside of the region to inspect is dimmed.
        preview: the content of the file beside it, a JPEG.
    """

    image: Image
    finding: SparseFinding
    judgment: Judgment
    image_id: str
    scope: Scope
    preview: bytes | memoryview

    def write(self, path: Path) -> None:
        """Write the overlay to ``path`` and its preview beside it."""
        write_bytes(path.with_suffix(PREVIEW_SUFFIX), self.preview)
        write_pieces(path, png_pieces(self._size, self._strips()))

    def encode(self) -> EncodedOverlay:
        """Return it with all its bytes."""
        return EncodedOverlay(b"".join(png_pieces(self._size, self._strips())), self.preview)

    @cached_property
    def _header(self) -> Image:
        width = self.finding.size[1]
        across = 1 if is_stacked(self.finding.size) else 2
        return draw_header(
            max(across * (width + GUTTER) + GUTTER, MIN_WIDTH),
            self.judgment,
            image_id=self.image_id,
            has_truth=False,
            note=note_of(len(self.finding.regions)),
            scope=self.scope,
        )

    @property
    def _size(self) -> ImageSize:
        panels = 2 if is_stacked(self.finding.size) else 1
        return len(self._header) + panels * (self.finding.size[0] + GUTTER), self._header.shape[1]

    def _strips(self) -> Iterator[Image]:
        """Yield the overlay from the top down."""
        (height, width), canvas_width = self.finding.size, self._header.shape[1]
        marks = Marks.of(self.finding, self.judgment)
        panels: list[Callable[[Image, slice], None]] = [
            lambda panel, rows: place_image(panel, self.image[rows]),
            lambda panel, rows: marks.draw(panel, rows, self.image, self.scope),
        ]
        lines = [panels[:1], panels[1:]] if is_stacked(self.finding.size) else [panels]
        yield self._header
        for place, line in enumerate(lines):
            for top in range(0, height, ROWS):
                rows = slice(top, min(top + ROWS, height))
                strip = fill_canvas(rows.stop - top, canvas_width)
                for index, draw in enumerate(line):
                    x = GUTTER + index * (width + GUTTER)
                    draw(strip[:, x : x + width], rows)
                yield strip
                del strip
                return_freed()
                tell((place + rows.stop / height) / len(lines))
            yield fill_canvas(GUTTER, canvas_width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """All that is drawn on a large image, with what is known of the whole of it.

    Attributes:
        size: the (height, width) of the image.
        mask: the marked pixels.
        spots: those that get rings.
        tags: the names.
    """

    size: ImageSize
    mask: MaskRows
    spots: Sequence[Spot]
    tags: Sequence[PlacedTag]

    @classmethod
    def of(cls, finding: SparseFinding, judgment: Judgment) -> "Marks":
        """Return the marks of a finding: where no pixel was found, the highest score."""
        size, mask = finding.size, finding.found_in
        tags: Sequence[Tag] = region_tags(finding)
        if judgment.verdict != "good" and not finding.pixels.size:
            mask = finding.highest_in
            tags = [(HIGHEST_SCORE, _first_box(mask, size))]
        named = [(text, include_ring(box, size), WHITE) for text, box in tags]
        return cls(size=size, mask=mask, spots=find_spots(mask, size), tags=place_tags(size, named))

    def draw(self, panel: Image, rows: slice, image: Image, scope: Scope) -> None:
        """Draw some rows of the marked image on a panel of their size, (H, W, 3)."""
        line = line_width(self.size)
        near = _near(rows, self.size[0], max(ring_reach(self.size, line), TAG_ROWS))
        marked = np.empty((near.stop - near.start, self.size[1], 3), np.uint8)
        place_image(marked, image[near])
        draw_scope(marked, Scope(roi=None if scope.roi is None else scope.roi[near]))
        draw_outline(marked, self.mask(near), COLORS["finding"], line)
        if self.spots:
            side = max_ringed_side(self.size)
            spots = _spots_in(self.spots, near, self.size[1])
            draw_rings_around(marked, spots, line, color=COLORS["finding"], side=side)
        write_tags(marked, [tag for tag in self.tags if _reaches(tag, rows)], top=near.start)
        panel[...] = marked[rows.start - near.start : rows.stop - near.start]


def draw_large_overlay(
    image: Image,
    finding: SparseFinding,
    judgment: Judgment,
    *,
    image_id: str,
    scope: Scope,
) -> LargeOverlay:
    """Return the overlay of a large image; its preview is drawn now, all else when it is written.

    The arguments are those of ``draw_overlay``; no pixels may be ignored.
    """
    small = shrink_image(image)
    shape = small.shape
    named = [
        (text, scale_box(box, shape[1] / image.shape[1])) for text, box in region_tags(finding)
    ]
    roi = scope.roi
    preview = draw_overlay(
        small,
        _shrink(finding, shape),
        judgment,
        image_id=image_id,
        tags=named or None,
        scope=Scope(roi=None if roi is None else _fit_rows(roi.__getitem__, finding.size, shape)),
    )
    return LargeOverlay(
        image=image,
        finding=finding,
        judgment=judgment,
        image_id=image_id,
        scope=scope,
        preview=encode_jpeg(preview),
    )


def _shrink(finding: SparseFinding, shape: tuple[int, ...]) -> Finding:
    """Return what ``draw_overlay`` needs of a finding at a smaller size."""
    mask, highest = (
        _fit_rows(rows, finding.size, shape) for rows in (finding.found_in, finding.highest_in)
    )
    return Finding(
        score_map=highest[None].astype(np.float32),
        region_map=mask.astype(np.int32),
        regions=(),
        score=finding.score,
        class_scores=np.array([finding.score], np.float32),
    )


def _fit_rows(mask: MaskRows, size: ImageSize, shape: tuple[int, ...]) -> Mask:
    """Return a mask scaled to a smaller shape, as ``fit_mask`` does: first across, then down."""
    narrow = np.empty((size[0], shape[1]), np.float32)
    for rows in row_slices(size[0]):
        part = mask(rows).astype(np.float32)
        narrow[rows] = cv2.resize(part, (shape[1], len(part)), interpolation=cv2.INTER_AREA)
    return is_covered(cv2.resize(narrow, (shape[1], shape[0]), interpolation=cv2.INTER_AREA))


def find_spots(mask: MaskRows, size: ImageSize) -> list[Spot]:
    """Return the spots of a mask that get rings, as ``draw_rings`` finds them."""
    height = size[0]

    def near_mask(rows: slice) -> Mask:
        around = _near(rows, height, SPOT_GAP + 3)
        band = distance_band(mask(around), -1, SPOT_GAP)
        return band[rows.start - around.start : rows.stop - around.start]

    parts = StripRegions()
    for top in range(0, height, ROWS):
        parts.add(near_mask(slice(top, min(top + ROWS, height))))
    side = max_ringed_side(size) + 2 * SPOT_GAP
    small = [box for box in parts.boxes() if max(box[2:]) <= side]
    if len(small) > MAX_RINGS:
        return []
    spots = []
    for x, y, across, down in small:
        rows, columns = slice(y, y + down), slice(x, x + across)
        near = np.ascontiguousarray(near_mask(rows)[:, columns])
        _, labels, stats, _ = cv2.connectedComponentsWithStats(near.view(np.uint8))
        # Others may reach into its box, but no other one fills it.
        own = 1 + int(np.flatnonzero((stats[1:, :4] == (0, 0, across, down)).all(axis=1))[0])
        spots.append(Spot(x, y, mask(rows)[:, columns] & (labels == own)))
    return spots


def _first_box(mask: MaskRows, size: ImageSize) -> BoxXywh:
    """Return the box of the first region of a mask that is not empty."""
    parts = StripRegions()
    for top in range(0, size[0], ROWS):
        parts.add(mask(slice(top, min(top + ROWS, size[0]))))
    return parts.boxes()[0]


def _near(rows: slice, height: int, reach: int) -> slice:
    return slice(max(rows.start - reach, 0), min(rows.stop + reach, height))


def _reaches(tag: PlacedTag, rows: slice) -> bool:
    """Return whether letters may lie in some rows."""
    top, size = tag.text.top, tag.text.size
    return bool(top - size < rows.stop and top + 3 * size > rows.start)


def _spots_in(spots: Sequence[Spot], rows: slice, width: int) -> Mask:
    """Return some rows of the mask of spots, (H, W) bool."""
    mask = np.zeros((rows.stop - rows.start, width), np.bool_)
    for spot in spots:
        height, across = spot.mask.shape
        top, bottom = max(spot.y, rows.start), min(spot.y + height, rows.stop)
        if top < bottom:
            part = mask[top - rows.start : bottom - rows.start, spot.x : spot.x + across]
            part |= spot.mask[top - spot.y : bottom - spot.y]
    return mask
