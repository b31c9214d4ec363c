"""Contact sheets of a dataset, to see whether the masks lie where the defects are."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from defectkit.arrays import BoxXywh, Color, Image, Mask
from defectkit.data.images import write_png
from defectkit.files import safe_name
from defectkit.labels import rle
from defectkit.labels.scope import Scope, read_scope
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.leaks.pairs import Leak
from defectkit.regions import Region
from defectkit.reporting.drawing.sheets import (
    class_colors,
    contact_sheet,
    draw_labels,
    label_legend,
)
from defectkit.reporting.drawing.strokes import as_rgb, draw_scope
from defectkit.reporting.drawing.tags import MAX_TAGS

MAX_PER_SHEET = 24
CellShape = tuple[int, int, int]
"""Width and height of a cell in pixels, and the number of columns."""
SQUARE: CellShape = (220, 220, 6)
ASPECTS = (0.5, 8.0)
"""Min. and max. aspect (width over height) of cells; captions need some width."""
CLOSE_UP = 96
"""Min. side, in pixels of the image, of what ``smallest.png`` shows around a region."""
PNG_LEVEL = 2
"""Higher levels make photographs hardly smaller."""

Entry = TypeVar("Entry")


class Cell(NamedTuple):
    """A cell of a sheet: an image, or the surroundings of one of its regions, and the caption."""

    caption: str
    image: Facts
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet to draw."""

    path: Path
    shape: CellShape
    cells: tuple[Cell, ...]
    colors: Mapping[str, Color]
    """Those of all classes of the dataset, so that a class has one color in all sheets."""


def class_sheets(folder: Path, images: Sequence[Facts], classes: Sequence[str]) -> list[Sheet]:
    """Return the sheets ``defective_<class>.png``, ``smallest.png`` and ``good.png``, to be drawn.

    A class's images are spread over its areas, smallest first; ``smallest.png`` shows the
    surroundings of the smallest regions. There is no sheet without images.
    """
    shape, colors = _cell_shape(images), class_colors(classes)
    chosen = {
        f"defective_{safe_name(name, caseless=True)}": _of_class(images, name) for name in classes
    }
    chosen["good"] = [
        Cell(image.image_id, image)
        for image in _spread([image for image in images if not image.rles])
    ]
    sheets = [
        Sheet(folder / f"{name}.png", shape, tuple(cells), colors) for name, cells in chosen.items()
    ]
    sheets.append(Sheet(folder / "smallest.png", SQUARE, tuple(_smallest(images)), colors))
    return [sheet for sheet in sheets if sheet.cells]


def leak_sheets(
    folder: Path, images: Sequence[Facts], leaks: Sequence[Leak], classes: Sequence[str]
) -> list[Sheet]:
    """Return the sheet ``leaks.png``, to be drawn: pairs side by side, with their masks.

    Those in different splits come first, then the least similar. There is no sheet without pairs.
    """
    shown = sorted(leaks, key=lambda leak: (leak.joined, leak.similarity))[: MAX_PER_SHEET // 2]
    names = {name for leak in shown for name in (leak.image_id_a, leak.image_id_b)}
    by_id = {image.image_id: image for image in images if image.image_id in names}
    cells: list[Cell] = []
    for leak in shown:
        kind = leak.kind if leak.joined else f"{leak.kind}, divided"
        cells.append(
            Cell(f"{leak.similarity:.2f} {kind}  {leak.image_id_a}", by_id[leak.image_id_a])
        )
        cells.append(Cell(leak.image_id_b, by_id[leak.image_id_b]))
    if not cells:
        return []
    width, height, columns = _cell_shape([cell.image for cell in cells])
    shape = width, height, columns // 2 * 2
    return [Sheet(folder / "leaks.png", shape, tuple(cells), class_colors(classes))]


def write_sheet(sheet: Sheet) -> None:
    """Draw a sheet, from the image files, and write it."""
    cells = [_draw_cell(cell, sheet) for cell in sheet.cells]
    width, height, columns = sheet.shape
    shown = {class_id for cell in sheet.cells for class_id in cell.image.rles}
    legend = label_legend(sheet.colors, shown, boxes=True)
    picture = contact_sheet(cells, columns=columns, cell_size=(width, height), legend=legend)
    write_png(sheet.path, picture, compress_level=PNG_LEVEL)


def _of_class(images: Sequence[Facts], class_id: str) -> list[Cell]:
    areas = [
        (sum(region.area for region in image.regions if region.class_id == class_id), image)
        for image in images
        if class_id in image.rles
    ]
    areas.sort(key=lambda entry: entry[0])
    return [Cell(f"{area} px  {image.image_id}", image) for area, image in _spread(areas)]


def _smallest(images: Sequence[Facts]) -> list[Cell]:
    regions = ((region, image) for image in images for region in image.regions)
    smallest = heapq.nsmallest(MAX_PER_SHEET, regions, key=lambda entry: entry[0].area)
    return [
        Cell(f"{region.area} px  {image.image_id}", image, region) for region, image in smallest
    ]


def _spread(entries: Sequence[Entry]) -> list[Entry]:
    """Take up to ``MAX_PER_SHEET`` entries at even distances, the first and the last among them."""
    places = np.linspace(0, len(entries) - 1, min(MAX_PER_SHEET, len(entries)))
    return [entries[place] for place in np.rint(places).astype(int)]


def _cell_shape(images: Sequence[Facts]) -> CellShape:
    """Fit cells to the images' median aspect; the area of cells and the sheet's width stay."""
    aspect = float(np.median([image.width / image.height for image in images]))
    stretch = min(max(aspect, ASPECTS[0]), ASPECTS[1]) ** 0.5
    side, _, columns = SQUARE
    return round(side * stretch), round(side / stretch), max(2, round(columns / stretch))


def _draw_cell(cell: Cell, sheet: Sheet) -> tuple[str, Image]:
    """Return caption and image, or close-up, scaled to a cell first so that the lines stay thin.

    The caption counts the boxes that are not drawn.
    """
    image, shape = cell.image, sheet.shape
    x, y, width, height = _window(image, cell.region)
    scale = min(shape[0] / width, shape[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    part = (slice(y, y + height), slice(x, x + width))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = image.pixels.show(image.read_image())
    pixels = cv2.resize(shown[part], size, interpolation=way)
    pixels = _mark_scope(pixels, image, part)
    masks: dict[str, Mask] = {}
    for class_id, text in image.rles.items():
        mask = rle.decode(text, (image.height, image.width))[part]
        # A pixel is marked where any part of it is, so that no small defect vanishes.
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        # The mask lies column by column: turned, it is scaled in half of the time.
        share = cv2.resize(mask.T.astype(np.float32), size[::-1], interpolation=way)
        masks[class_id] = share.T > 0
    boxes = [
        (region.class_id, box)
        for region in image.regions
        if (box := _scaled(region.box_xywh, (x, y, width, height), scale))
    ]
    more = len(boxes) - MAX_TAGS
    caption = f"{cell.caption}  +{more:,} boxes" if more > 0 else cell.caption
    return caption, draw_labels(pixels, masks, boxes, sheet.colors)


def _mark_scope(pixels: Image, image: Facts, part: tuple[slice, slice]) -> Image:
    """Return the pixels of a cell, which shows ``part`` of an image, dimmed and hatched."""
    scope = read_scope(image.roi, image.ignored, (image.height, image.width))
    if scope.counted is None:
        return pixels
    size = pixels.shape[1::-1]
    roi, ignored = (
        None
        if mask is None
        else cv2.resize(mask[part].view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for mask in (scope.roi, scope.ignored)
    )
    marked = as_rgb(pixels).copy()
    draw_scope(marked, Scope(roi, ignored))
    return marked


def _window(image: Facts, region: Region | None) -> BoxXywh:
    if region is None:
        return 0, 0, image.width, image.height
    x, y, width, height = region.box_xywh
    side = max(CLOSE_UP, 2 * width, 2 * height)
    across, down = min(side, image.width), min(side, image.height)
    left = min(max(0, x + width // 2 - across // 2), image.width - across)
    top = min(max(0, y + height // 2 - down // 2), image.height - down)
    return left, top, across, down


def _scaled(box: BoxXywh, window: BoxXywh, scale: float) -> BoxXywh | None:
    """Return ``box`` as seen in ``window``, or None where it lies outside."""
    left, top = max(box[0] - window[0], 0), max(box[1] - window[1], 0)
    right = min(box[0] + box[2] - window[0], window[2])
    bottom = min(box[1] + box[3] - window[1], window[3])
    if left >= right or top >= bottom:
        return None
    x, y = int(left * scale), int(top * scale)
    return x, y, max(1, round(right * scale) - x), max(1, round(bottom * scale) - y)
