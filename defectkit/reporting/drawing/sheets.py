"""Contact sheets: many small pictures in a grid, each with a caption."""

import itertools
from collections.abc import Container, Mapping, Sequence

import cv2
import numpy as np

from defectkit.arrays import BoxXywh, Color, Float32Array, Image, Mask
from defectkit.reporting.drawing.header import Item, draw_items
from defectkit.reporting.drawing.lettering import PlacedText, draw_texts, line_height, shorten
from defectkit.reporting.drawing.palette import BACKGROUND, CLASS_COLORS, FAINT, INK
from defectkit.reporting.drawing.strokes import as_rgb, draw_outline
from defectkit.reporting.drawing.tags import MAX_TAGS, draw_tags

CELL_SIZE = (220, 220)
"""Width and height in pixels of the space for one picture."""

GUTTER = 10
FONT_SIZE = 13
MAX_CLASS_WIDTH = 200
"""Max. width in pixels of the name of a class in a legend; longer ones lose their middle."""
MIN_BOX_SIDE = 12
"""Boxes with a shorter side are enlarged to this many pixels, so that they are visible."""


def contact_sheet(
    cells: Sequence[tuple[str, Image]],
    *,
    columns: int = 6,
    cell_size: tuple[int, int] = CELL_SIZE,
    legend: Sequence[Item] = (),
) -> Image:
    """Return captioned pictures in a grid, each fitted into a cell with its aspect ratio kept.

    Args:
        cells: caption and (H, W), (H, W, 1) or (H, W, 3) uint8 picture, any size.
        columns: number of pictures in a row.
        cell_size: width and height in pixels of the space for one picture, without its caption.
        legend: what stands above the pictures.

    Returns:
        (H, W, 3) RGB uint8.
    """
    width, height = cell_size
    columns = max(1, min(columns, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    step_x, step_y = width + GUTTER, height + line_height(FONT_SIZE) + GUTTER
    sheet = np.full((rows * step_y + GUTTER, columns * step_x + GUTTER, 3), BACKGROUND, np.uint8)
    texts = []
    for index, (caption, picture) in enumerate(cells):
        x = GUTTER + index % columns * step_x
        y = GUTTER + index // columns * step_y
        fitted = fit_image(as_rgb(picture), cell_size)
        left = x + (width - fitted.shape[1]) // 2
        top = y + (height - fitted.shape[0]) // 2
        sheet[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        shown = shorten(caption, width, FONT_SIZE)
        texts.append(PlacedText(shown, x, y + height, FONT_SIZE, INK))
    draw_texts(sheet, texts)
    return np.concatenate([draw_items(sheet.shape[1], legend), sheet]) if legend else sheet


def label_legend(
    colors: Mapping[str, Color], classes: Container[str], *, boxes: bool
) -> list[Item]:
    """Return the explanation of what ``draw_labels`` draws: the ``classes``, and their lines.

    ``colors`` are those of all classes; without any of ``classes`` there is nothing to explain.
    """
    items = [
        Item("line", f"class {shorten(name, MAX_CLASS_WIDTH, FONT_SIZE)}", FONT_SIZE, color)
        for name, color in colors.items()
        if name in classes
    ]
    if items:
        boxed = ", rectangle: its box" if boxes else ""
        items.append(Item("none", f"outline: what is labeled{boxed}", FONT_SIZE, FAINT))
    return items


def draw_labels(
    image: Image,
    masks: Mapping[str, Mask],
    boxes: Sequence[tuple[str, BoxXywh]],
    colors: Mapping[str, Color],
    *,
    cell_size: tuple[int, int] | None = None,
) -> Image:
    """Return ``image`` with mask outlines and boxes in the colors of their classes.

    Of more than ``MAX_TAGS`` boxes the largest are drawn, so that the outlines remain visible.
    With ``cell_size`` the image is resized before the lines are drawn, so that lines stay sharp and
    small defects remain visible on a contact sheet.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) uint8.
        masks: (H, W) bool for each class id.
        boxes: class id and box_xywh in pixels of the image.
        colors: the color of each class, as ``class_colors`` chooses them.
        cell_size: width and height in pixels, as given to ``contact_sheet``; None keeps the size of
            the image.

    Returns:
        (H', W', 3) RGB uint8.
    """
    rgb = as_rgb(image)
    marked = rgb.copy() if cell_size is None else fit_image(rgb, cell_size)
    scale = marked.shape[1] / image.shape[1]
    for class_id, mask in masks.items():
        draw_outline(marked, fit_mask(mask, marked.shape), colors[class_id], 1)
    tags = []
    for class_id, box in sorted(boxes, key=lambda entry: -entry[1][2] * entry[1][3]):
        tags.append((class_id, _scale_box(box, scale, marked.shape), colors[class_id]))
    for _, (x, y, width, height), color in tags[:MAX_TAGS]:
        cv2.rectangle(marked, (x, y), (x + width - 1, y + height - 1), color, 1)
    draw_tags(marked, tags, distance=2)
    return marked


def class_colors(classes: Sequence[str]) -> dict[str, Color]:
    """Return the color of each class: another one for each, as long as there are some left."""
    return dict(zip(classes, itertools.cycle(CLASS_COLORS)))


def fit_image(image: Image, max_size: tuple[int, int]) -> Image:
    """Return (H, W, 3) ``image`` scaled to the largest size within ``max_size`` (width, height)."""
    height, width = image.shape[:2]
    scale = min(max_size[0] / width, max_size[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def fit_mask(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return ``mask`` scaled to ``shape`` (H, W, …); a pixel that covers any true pixel is true."""
    size = shape[1], shape[0]
    coverage = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return is_covered(np.asarray(coverage, np.float32))


def is_covered(coverage: Float32Array) -> Mask:
    """Return which pixels have a share, (H, W) in [0, 1], above an error of rounding."""
    return np.asarray(coverage > 1e-6, dtype=np.bool_)


def _scale_box(box: BoxXywh, scale: float, shape: tuple[int, ...]) -> BoxXywh:
    """Return ``box`` in the scaled image: a little larger than its defect, inside ``shape``."""
    x, y, width, height = (value * scale for value in box)
    half_width, half_height = max(MIN_BOX_SIDE, width + 6) / 2, max(MIN_BOX_SIDE, height + 6) / 2
    left = max(0, round(x + width / 2 - half_width))
    top = max(0, round(y + height / 2 - half_height))
    right = min(shape[1], round(x + width / 2 + half_width))
    bottom = min(shape[0], round(y + height / 2 + half_height))
    return left, top, right - left, bottom - top
