"""The strip above an overlay: the image's id, its verdict, score, thresholds, and the colors."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

from defectkit.arrays import Color, Image
from defectkit.evaluation.verdicts import Judgment
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.reporting.drawing.lettering import (
    PlacedText,
    draw_texts,
    line_height,
    shorten,
    text_width,
)
from defectkit.reporting.drawing.palette import (
    BACKGROUND,
    COLORS,
    FAINT,
    INK,
    OUTCOME_COLORS,
    VERDICT_COLORS,
)
from defectkit.reporting.drawing.strokes import draw_scope, fill_canvas

GUTTER = 8
DIM_SIGN: Color = (70, 73, 77)
"""The sign of what is dimmed, lighter than the background."""


class Item(NamedTuple):
    """One item of a line: a text with a sign before it, or a plate behind it."""

    sign: Literal["none", "plate", "square", "hatching", "ring", "dashes", "line"]
    text: str
    size: int
    color: Color


def draw_header(
    width: int,
    judgment: Judgment,
    *,
    image_id: str,
    has_truth: bool,
    note: str = "",
    scope: Scope = EVERYWHERE,
) -> Image:
    """Return a (H, ``width``, 3) RGB uint8 strip; what does not fit in a line goes to the next.

    Without truth only the finding's color is explained, and of ``scope`` only what there
    is. ``note`` follows the colors.
    """
    verdict, outcome, score = judgment.verdict, judgment.outcome, judgment.score
    low, high = judgment.thresholds.low, judgment.thresholds.high
    size = int(np.clip(width // 56, 13, 40))
    digits = _digits(score, low, high)
    if low == high:
        rule = f"threshold {low:.{digits}f}"
    else:
        rule = f"review from {low:.{digits}f} to {high:.{digits}f}"
    items = [Item("plate", verdict.upper(), size, VERDICT_COLORS[verdict])]
    if outcome in OUTCOME_COLORS:
        items.append(Item("plate", outcome.upper(), size, OUTCOME_COLORS[outcome]))
    elif outcome is not None and outcome != verdict:
        items.append(Item("none", outcome, size, INK))
    items.append(Item("none", f"score {score:.{digits}f}", size, INK))
    items.append(Item("none", rule, size, FAINT))
    legend = legend_items(size - 2, has_truth=has_truth, scope=scope)
    if note:
        legend.append(Item("none", note, size - 2, FAINT))

    step = line_height(size)
    places = _flow(items, width, top=GUTTER + step + 2)
    places += _flow(legend, width, top=places[-1][1] + step + 2)
    strip = fill_canvas(places[-1][1] + step + GUTTER // 2, width)
    shown_id = shorten(image_id, width - 2 * GUTTER, size)
    name = PlacedText(shown_id, GUTTER, GUTTER, size, INK)
    draw_texts(strip, [name, *_draw_signs(strip, [*items, *legend], places)])
    return strip


def draw_items(width: int, items: Sequence[Item]) -> Image:
    """Return a (H, ``width``, 3) RGB uint8 strip of items, in as many lines as they need."""
    places = _flow(items, width, top=2)
    height = places[-1][1] + line_height(items[-1].size) + 2
    strip = fill_canvas(height, width)
    draw_texts(strip, _draw_signs(strip, items, places))
    return strip


def legend_items(size: int, *, has_truth: bool, scope: Scope = EVERYWHERE) -> list[Item]:
    """Return the explanation of an overlay's colors."""
    items = [Item("line", "finding", size, COLORS["finding"])]
    if has_truth:
        items = [
            Item("square", "found", size, COLORS["hit"]),
            Item("square", "missed", size, COLORS["missed"]),
            Item("square", "false alarm", size, COLORS["false"]),
            Item("dashes", "truth", size, COLORS["truth"]),
            *items,
        ]
    items.append(Item("ring", "small spot", size, INK))
    if scope.ignored is not None:
        items.append(Item("hatching", "ignored", size, COLORS["scope"]))
    if scope.roi is not None:
        items.append(Item("square", "not inspected", size, DIM_SIGN))
    return items


def _digits(score: float, *thresholds: float) -> int:
    """Return the number of decimals that show the score's side of each threshold, 3 to 6."""
    for digits in (3, 4, 5):
        if all(
            score == threshold or f"{score:.{digits}f}" != f"{threshold:.{digits}f}"
            for threshold in thresholds
        ):
            return digits
    return 6


def _flow(items: Sequence[Item], width: int, *, top: int) -> list[tuple[int, int]]:
    """Return the left and top of each item, set in lines of at most ``width`` pixels."""
    places: list[tuple[int, int]] = []
    x, y = GUTTER, top
    for item in items:
        item_width = _width(item)
        if x > GUTTER and x + item_width > width - GUTTER:
            x, y = GUTTER, y + line_height(item.size)
        places.append((x, y))
        x += item_width + item.size
    return places


def _indent(item: Item) -> int:
    """Return the pixels between the left of the item and its text."""
    match item.sign:
        case "none":
            return 0
        case "plate":
            return item.size // 2
        case "square" | "hatching" | "ring":
            return round(1.3 * item.size)
        case "dashes" | "line":
            return 2 * item.size + 4


def _width(item: Item) -> int:
    right = _indent(item) if item.sign == "plate" else 0
    return _indent(item) + text_width(item.text, item.size) + right


def _draw_signs(
    strip: Image, items: Sequence[Item], places: Sequence[tuple[int, int]]
) -> list[PlacedText]:
    """Draw the signs of all items; return their texts, as ``draw_texts`` takes them."""
    return [
        PlacedText(item.text, x + _indent(item), y, item.size, _draw_sign(strip, item, x, y))
        for item, (x, y) in zip(items, places, strict=True)
    ]


def _draw_sign(strip: Image, item: Item, x: int, y: int) -> Color:
    """Draw the sign before the text or the plate behind it; return the color of the text."""
    size, middle = item.size, y + round(0.72 * item.size)
    match item.sign:
        case "none":
            return item.color
        case "plate":
            strip[y : y + line_height(size) - 2, x : x + _width(item)] = item.color
            return BACKGROUND
        case "square":
            strip[middle - size // 2 : middle + size // 2, x : x + size] = item.color
        case "hatching":
            square = strip[middle - size // 2 : middle + size // 2, x : x + size]
            draw_scope(square, Scope(ignored=np.ones(square.shape[:2], np.bool_)))
        case "ring":
            cv2.circle(strip, (x + size // 2, middle), size // 2 - 1, item.color, 1, cv2.LINE_AA)
        case "line":
            strip[middle - 1 : middle + 1, x : x + 2 * size] = item.color
        case "dashes":
            for start in range(x, x + 2 * size, 7):
                strip[middle - 1 : middle + 1, start : min(start + 4, x + 2 * size)] = item.color
    return FAINT
