"""Contact sheets: many pictures on one, each with a caption."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from defectkit.arrays import BoxXywh, Color, Image, Mask
from defectkit.reporting.drawing.lettering import draw_texts, line_height, shorten
from defectkit.reporting.drawing.palette import BACKGROUND, CLASS_COLORS, INK
from defectkit.reporting.drawing.strokes import as_rgb, draw_tags, outline

CELL = (220, 220)
"""Width and height in pixels of the room of one picture."""

GUTTER = 10
FONT_SIZE = 13
MIN_BOX = 12
"""Smaller boxes are drawn this large around the same center, so that they are seen."""


def contact_sheet(
    cells: Sequence[tuple[str, Image]], *, columns: int = 6, cell: tuple[int, int] = CELL
) -> Image:
    """Return captioned pictures in a grid, each fitted into ``cell`` with its aspect kept.

    Args:
        cells: caption and (H, W), (H, W, 1) or (H, W, 3) uint8 picture, any size.
        columns: pictures in a row.
        cell: width and height in pixels of the room of one picture, caption not counted.

    Returns:
        (H, W, 3) RGB uint8.
    """
    width, height = cell
    columns = max(1, min(columns, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    step_x, step_y = width + GUTTER, height + line_height(FONT_SIZE) + GUTTER
    sheet = np.full((rows * step_y + GUTTER, columns * step_x + GUTTER, 3), BACKGROUND, np.uint8)
    texts = []
    for index, (caption, picture) in enumerate(cells):
        x = GUTTER + index % columns * step_x
        y = GUTTER + index // columns * step_y
        fitted = fit(as_rgb(picture), cell)
        left = x + (width - fitted.shape[1]) // 2
        top = y + (height - fitted.shape[0]) // 2
        sheet[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        texts.append((shorten(caption, width, FONT_SIZE), x, y + height, FONT_SIZE, INK))
    draw_texts(sheet, texts)
    return sheet


def preview_cell(
    image: Image,
    masks: Mapping[str, Mask],
    boxes: Sequence[tuple[str, BoxXywh]],
    *,
    cell: tuple[int, int] | None = None,
) -> Image:
    """Return ``image`` with mask outlines and boxes in the colors of their classes.

    With ``cell`` the image is fitted into it before the lines are drawn, so that they stay sharp
    and small defects visible on a contact sheet of such cells.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) uint8.
        masks: (H, W) bool for each class id.
        boxes: class id and box_xywh in pixels of the image.
        cell: width and height in pixels, as given to ``contact_sheet``; None keeps the size.

    Returns:
        (H', W', 3) RGB uint8.
    """
    marked = as_rgb(image).copy() if cell is None else fit(as_rgb(image), cell)
    scale = marked.shape[1] / image.shape[1]
    for class_id, mask in masks.items():
        outline(marked, fit_mask(mask, marked.shape), class_color(class_id), 1)
    tags = []
    for class_id, box in boxes:
        x, y, width, height = _scaled(box, scale, marked.shape)
        color = class_color(class_id)
        cv2.rectangle(marked, (x, y), (x + width - 1, y + height - 1), color, 1)
        tags.append((class_id, (x, y, width, height), color))
    draw_tags(marked, tags, away=2)
    return marked


def class_color(class_id: str) -> Color:
    """Return the color of a class: by its number where it is one, else by its letters."""
    number = int(class_id) - 1 if class_id.isdecimal() else sum(map(ord, class_id))
    return CLASS_COLORS[number % len(CLASS_COLORS)]


def fit(image: Image, room: tuple[int, int]) -> Image:
    """Return (H, W, 3) ``image`` scaled to the largest size within ``room`` (width, height)."""
    height, width = image.shape[:2]
    scale = min(room[0] / width, room[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=way), dtype=np.uint8)


def fit_mask(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return ``mask`` scaled to ``shape`` (H, W, …); what holds any true pixel stays true."""
    size = shape[1], shape[0]
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(share > 1e-6, dtype=np.bool_)


def _scaled(box: BoxXywh, scale: float, shape: tuple[int, ...]) -> BoxXywh:
    """Return ``box`` on the scaled image: a little larger than its defect, inside ``shape``."""
    x, y, width, height = (value * scale for value in box)
    reach_x, reach_y = max(MIN_BOX, width + 6) / 2, max(MIN_BOX, height + 6) / 2
    left = max(0, round(x + width / 2 - reach_x))
    top = max(0, round(y + height / 2 - reach_y))
    right = min(shape[1], round(x + width / 2 + reach_x))
    bottom = min(shape[0], round(y + height / 2 + reach_y))
    return left, top, right - left, bottom - top
