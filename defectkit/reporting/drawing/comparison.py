"""``comparison.png``: what several runs find in the same images, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from defectkit.arrays import Color, Image, Mask
from defectkit.data.dataset import ImageRecord
from defectkit.reporting.drawing.header import GUTTER, Item, draw_items, legend_items
from defectkit.reporting.drawing.lettering import shorten, text_width
from defectkit.reporting.drawing.overlay import mark_defects
from defectkit.reporting.drawing.palette import (
    BACKGROUND,
    COLORS,
    FAINT,
    INK,
    OUTCOME_COLORS,
    VERDICT_COLORS,
)
from defectkit.reporting.drawing.sheets import fit_image, fit_mask
from defectkit.reporting.drawing.strokes import as_rgb, draw_dashed_outline

MAX_CELL_SIZE = (420, 240)
"""Max. width and height in pixels of one image; wide images are shown wider than high ones."""

MIN_COLUMN_WIDTH = 230
"""In pixels; narrower columns have no room for their text."""

FONT_SIZE = 13
TITLE_SIZE = 17


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFinding:
    """What one run finds in an image: mask, (H, W), score in [0, 1], verdict and outcome."""

    predicted: Mask
    score: float
    verdict: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedImage:
    """An image, (H, W, C), with its truth, (H, W), and the finding of each run.

    ``kind`` names its defect classes, or says that it is good.
    """

    image_id: str
    kind: str
    image: Image
    truth: Mask
    findings: Sequence[RunFinding]

    @classmethod
    def of(cls, record: ImageRecord, findings: Sequence[RunFinding]) -> Self:
        """Return an image of a dataset with the findings of all runs in it."""
        classes = sorted(record.rles)
        return cls(
            image_id=record.image_id,
            kind=f"class {', '.join(classes)}" if classes else "good",
            image=record.pixels.show(record.read_image(record.channels)),
            truth=np.asarray(record.read_masks(classes).any(axis=0)),
            findings=findings,
        )


def draw_comparison(images: Sequence[ComparedImage], titles: Sequence[tuple[str, str]]) -> Image:
    """Return a row for each image: the image with its truth, then a column for each run.

    Args:
        images: the images, each with one finding per run.
        titles: the name of each run, and a line about its model.

    Returns:
        (H, W, 3) RGB uint8.
    """
    assert images, "nothing to show"
    rows = [[_truth_cell(one), *(_cell(one, found) for found in one.findings)] for one in images]
    width = max(MIN_COLUMN_WIDTH, *(cell.shape[1] for row in rows for cell in row))
    heads = [_head(*title, width) for title in (("Image", "true defects dashed"), *titles)]
    sheet_width = len(heads) * (width + GUTTER) + GUTTER
    legend = draw_items(sheet_width, legend_items(FONT_SIZE, has_truth=True))
    bands = [_band(heads, width), legend]
    for image, cells in zip(images, rows, strict=True):
        lines = [_image_line(image, width), *(_finding_line(one, width) for one in image.findings)]
        bands += [_band(lines, width), _band(cells, width)]
    gap = np.full((GUTTER, sheet_width, 3), BACKGROUND, np.uint8)
    return np.concatenate([gap, *bands, gap])


def _truth_cell(compared: ComparedImage) -> Image:
    cell = fit_image(as_rgb(compared.image), MAX_CELL_SIZE)
    draw_dashed_outline(cell, fit_mask(compared.truth, cell.shape), COLORS["truth"], 1)
    return cell


def _cell(compared: ComparedImage, found: RunFinding) -> Image:
    # Drawn at the size in which it is shown, so that lines stay sharp and small spots get rings.
    small = fit_image(as_rgb(compared.image), MAX_CELL_SIZE)
    predicted, truth = (fit_mask(mask, small.shape) for mask in (found.predicted, compared.truth))
    return mark_defects(small, found=predicted, truth=truth)


def _head(name: str, text: str, width: int) -> Image:
    lines = [(name, TITLE_SIZE, INK), (text, FONT_SIZE, FAINT)]
    strips = [_text(line, width, size, color) for line, size, color in lines]
    return np.concatenate(strips)


def _image_line(compared: ComparedImage, width: int) -> Image:
    kind = Item("none", compared.kind, FONT_SIZE, FAINT)
    room = width - text_width(compared.kind, FONT_SIZE) - 2 * FONT_SIZE
    name = Item("none", shorten(compared.image_id, room, FONT_SIZE), FONT_SIZE, INK)
    return draw_items(width + GUTTER, [name, kind])


def _finding_line(found: RunFinding, width: int) -> Image:
    items = [
        Item("plate", found.verdict.upper(), FONT_SIZE, VERDICT_COLORS[found.verdict]),
        Item("none", f"{found.score:.3f}", FONT_SIZE, INK),
    ]
    if found.outcome in OUTCOME_COLORS:
        color = OUTCOME_COLORS[found.outcome]
        items.append(Item("plate", found.outcome.upper(), FONT_SIZE, color))
    return draw_items(width + GUTTER, items)


def _text(text: str, width: int, size: int, color: Color) -> Image:
    return draw_items(width + GUTTER, [Item("none", shorten(text, width, size), size, color)])


def _band(cells: Sequence[Image], width: int) -> Image:
    """Return cells side by side, each in a column of ``width``; lines of text have own margins."""
    height = max(cell.shape[0] for cell in cells)
    step = width + GUTTER
    band = np.full((height, len(cells) * step + GUTTER, 3), BACKGROUND, np.uint8)
    for index, cell in enumerate(cells):
        x = index * step + (0 if cell.shape[1] == step else GUTTER)
        band[: cell.shape[0], x : x + cell.shape[1]] = cell
    return band
