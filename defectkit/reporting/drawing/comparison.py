"""``comparison.png``: what several runs say of the same images, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Color, Image, Mask
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

CELL = (420, 240)
"""Width and height in pixels of the room of one picture: wide images may be wide."""

LEAST_WIDTH = 230
"""Narrower columns could not hold what is written in them."""

FONT_SIZE = 13
TITLE_SIZE = 17


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What one run says of an image: its mask (H, W), score in [0, 1], verdict and outcome."""

    predicted: Mask
    score: float
    verdict: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """An image (H, W, C) with its truth (H, W) and the answer of each run.

    ``kind`` says what it is: its defect classes, or that it is good.
    """

    image_id: str
    kind: str
    image: npt.NDArray[np.uint8]
    truth: Mask
    answers: Sequence[Answer]


def draw_comparison(examples: Sequence[Example], heads: Sequence[tuple[str, str]]) -> Image:
    """Return a row for each image: the image with its truth, then a column for each run.

    Args:
        examples: the images, each with one answer a run.
        heads: the name of each run, and a line that says what it is.

    Returns:
        (H, W, 3) RGB uint8.
    """
    assert examples, "nothing to show"
    rows = [[_truth_cell(one), *(_cell(one, answer) for answer in one.answers)] for one in examples]
    width = max(LEAST_WIDTH, *(cell.shape[1] for row in rows for cell in row))
    titles = [_title(*head, width) for head in (("Image", "true defects dashed"), *heads)]
    across = len(titles) * (width + GUTTER) + GUTTER
    bands = [_band(titles, width), draw_items(across, legend_items(FONT_SIZE, has_truth=True))]
    for example, cells in zip(examples, rows, strict=True):
        said = [_answer_line(answer, width) for answer in example.answers]
        bands += [_band([_image_line(example, width), *said], width), _band(cells, width)]
    gap = np.full((GUTTER, across, 3), BACKGROUND, np.uint8)
    return np.concatenate([gap, *bands, gap])


def _truth_cell(example: Example) -> Image:
    cell = fit_image(as_rgb(example.image), CELL)
    draw_dashed_outline(cell, fit_mask(example.truth, cell.shape), COLORS["truth"], 1)
    return cell


def _cell(example: Example, answer: Answer) -> Image:
    # Drawn at the size in which it is shown, so that lines stay sharp and small spots get rings.
    small = fit_image(as_rgb(example.image), CELL)
    found, truth = (fit_mask(mask, small.shape) for mask in (answer.predicted, example.truth))
    return mark_defects(small, found=found, truth=truth)


def _title(name: str, text: str, width: int) -> Image:
    lines = [(name, TITLE_SIZE, INK), (text, FONT_SIZE, FAINT)]
    strips = [_text(line, width, size, color) for line, size, color in lines]
    return np.concatenate(strips)


def _image_line(example: Example, width: int) -> Image:
    kind = Item("none", example.kind, FONT_SIZE, FAINT)
    room = width - text_width(example.kind, FONT_SIZE) - 2 * FONT_SIZE
    name = Item("none", shorten(example.image_id, room, FONT_SIZE), FONT_SIZE, INK)
    return draw_items(width + GUTTER, [name, kind])


def _answer_line(answer: Answer, width: int) -> Image:
    items = [
        Item("plate", answer.verdict.upper(), FONT_SIZE, VERDICT_COLORS[answer.verdict]),
        Item("none", f"{answer.score:.3f}", FONT_SIZE, INK),
    ]
    if answer.outcome in OUTCOME_COLORS:
        color = OUTCOME_COLORS[answer.outcome]
        items.append(Item("plate", answer.outcome.upper(), FONT_SIZE, color))
    return draw_items(width + GUTTER, items)


def _text(text: str, width: int, size: int, color: Color) -> Image:
    return draw_items(width + GUTTER, [Item("none", shorten(text, width, size), size, color)])


def _band(cells: Sequence[Image], width: int) -> Image:
    """Return cells side by side, each in a column of ``width``; texts bring their own margin."""
    height = max(cell.shape[0] for cell in cells)
    step = width + GUTTER
    band = np.full((height, len(cells) * step + GUTTER, 3), BACKGROUND, np.uint8)
    for index, cell in enumerate(cells):
        x = index * step + (0 if cell.shape[1] == step else GUTTER)
        band[: cell.shape[0], x : x + cell.shape[1]] = cell
    return band
