"""What the values of mask images mean, as far as the images themselves tell."""

# Long: the rules about values stand together, since which of them holds depends on the others.

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import ImageSize
from defectkit.data.mask_images import MaskKind, MaskPixels, PaletteColor, read_mask
from defectkit.errors import ImageError
from defectkit.labels import rle
from defectkit.labels.read_options import ReadOptions

SOFT_EDGES = (
    "it has soft edges (values between defect and no defect, from smoothing, resizing or JPEG): "
    "give the value from which on pixels are defective, such as --mask-threshold 128; if the "
    "values are classes after all, name them in classes.csv"
)
JPEG_MASK = (
    "JPEG does not keep the values of a mask, its edges are soft: give the value from which on "
    "pixels are defective, such as --mask-threshold 128"
)
TOO_MANY = (
    "its {count} different values are too many for classes: if they number single defects "
    "(instances), give --mask-threshold 1, if they are edges, --mask-threshold 128"
)
MAX_VALUES = 64
"""An image with more values is not a mask."""
IGNORE_VALUE = 255
NEARLY_WHITE, WHITE_16_BIT = 250, 65535
"""In 8 bits, values from the first one on are white but for noise."""
MAX_CLASS_VALUE = 64
"""Values up to this one are class numbers, beside which 255 means "ignore" (as in Pascal VOC)."""
MIN_CLASS_SHARE = 0.01
"""Beside 255 that is to be ignored, at least so much of it are pixels of classes."""
SOFT_SHARE = 0.4
"""Edges are soft where so much of the pixels between 0 and the highest value lie on slopes."""
MIN_SLOPES = 16
"""Fewer pixels on slopes, over all masks, show nothing."""
JPEG_NOISE = 16
"""Black is no darker than this in a JPEG."""
NEAR_ENDS = 0.8
"""In an image of many values that is a mask nonetheless, so much is near one of two values."""
HALF = 0.5
ONE_IMAGE_SHARE = 0.9
MAX_UNNAMED = 16
"""Pictures of unknown kind are masks if they have no more values than this."""
FEW_VALUES = 4
"""Up to so many values may occur in one image each and be classes nonetheless."""


@dataclass(frozen=True, slots=True)
class MaskImage:
    """What is kept of a mask image.

    Attributes:
        size: of the image.
        rles: the canonical encoding of each value but 0.
        kind: what the values are.
        problem: why it cannot be read.
        between: number of pixels between 0 and the highest value.
        on_slopes: number of those that have both a lower and a higher neighbor.
        defective: number of pixels that are not 0.
        lossy: whether it is a JPEG.
        palette: the colors that it uses, where the values are their indices.
    """

    size: ImageSize = (0, 0)
    rles: Mapping[int, str] = field(default_factory=dict)
    kind: MaskKind = "values"
    problem: str = ""
    between: int = 0
    on_slopes: int = 0
    defective: int = 0
    lossy: bool = False
    palette: tuple[PaletteColor, ...] = ()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What values mean: the class of each, or why it has none, and those that count nowhere."""

    classes: Mapping[int, str] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)
    ignored: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def encode_mask(
    path: Path, *, options: ReadOptions, as_colors: bool, palette_colors: bool = False
) -> MaskImage:
    """Read a mask image and encode each of its values."""
    try:
        mask = read_mask(path, as_colors=as_colors, palette_colors=palette_colors)
    except ImageError as error:
        return MaskImage(problem=str(error))
    palette = mask.palette
    if options.mask_threshold is not None:
        brightness = mask.brightness()
        if problem := _why_all_below(brightness, options.mask_threshold, lossy=mask.lossy):
            return MaskImage(problem=problem)
        mask = MaskPixels((brightness >= options.mask_threshold).astype(np.int32))
    values, kind = mask.values, mask.kind
    size: ImageSize = (values.shape[0], values.shape[1])
    present = np.unique(values).tolist()
    many = len(present) > MAX_VALUES
    if present[0] < 0 or (many and not _is_near_two_values(mask.brightness())):
        problem = f"its {len(present)} different values are not those of a mask"
        return MaskImage(size, problem=problem)
    between, on_slopes = _count_slopes(mask.brightness())
    if options.invert:
        values, kind = (values == 0).astype(np.int32), "values"
        present, many = [0, 1], False
    return MaskImage(
        size,
        {} if many else _encode_values(values, present),
        kind,
        problem=TOO_MANY.format(count=len(present)) if many else "",
        between=between,
        on_slopes=on_slopes,
        defective=int(np.count_nonzero(values)),
        lossy=mask.lossy,
        palette=palette,
    )


def _why_all_below(brightness: npt.NDArray[np.int32], threshold: int, *, lossy: bool) -> str:
    """Return that a mask has values but none reaches the threshold, or ""."""
    highest = int(brightness.max())
    if highest >= threshold or highest <= (JPEG_NOISE if lossy else 0):
        return ""
    return (
        f"its largest value is {highest}, below --mask-threshold {threshold}, and nothing of it "
        "would be left: lower the threshold"
    )


def is_photograph(path: Path) -> bool:
    """Return whether a picture of unknown kind has too many values for a mask."""
    try:
        return len(np.unique(read_mask(path).values)) > MAX_UNNAMED
    except ImageError:
        return False


def palettes_count_by_color(masks: Sequence[MaskImage], *, invert: bool) -> bool:
    """Return whether black is the background of palettes rather than the color of index 0.

    So it is where index 0 is another color and has fewer pixels than black, over all masks, and
    where it is black in some masks and not in others: each has a palette of its own. ``invert``
    looks for the defects, which have fewer pixels.
    """
    used = [color for mask in masks for color in mask.palette]
    first = {color.color for color in used if color.index == 0}
    if 0 in first:
        return len(first) > 1
    black = sum(color.pixels for color in used if color.color == 0)
    return black > 0 and (black > sum(color.pixels for color in used if not color.index)) != invert


def find_soft_edges(masks: Sequence[MaskImage]) -> dict[int, str]:
    """Return why masks are not used, by their number, where their values are soft edges.

    Pixels on a slope have a lower and a higher neighbor; areas of classes have few of these.
    """
    between = sum(mask.between for mask in masks)
    soft = sum(mask.on_slopes for mask in masks) >= max(MIN_SLOPES, SOFT_SHARE * between)
    return {
        index: JPEG_MASK if mask.lossy else SOFT_EDGES
        for index, mask in enumerate(masks)
        if mask.lossy or (soft and mask.between)
    }


def find_meaning(masks: Sequence[MaskImage]) -> Meaning:
    """Return what the values of masks mean that nothing names."""
    kinds = {mask.kind for mask in masks if mask.rles}
    if "colors" in kinds:
        return _meaning_of_colors(masks)
    notes = ["the masks are in the alpha channel"] if "alpha" in kinds else []
    values = {value for mask in masks for value in mask.rles}
    together = any(len(mask.rles) > 1 for mask in masks)
    on = "alpha" in kinds or all(value == 1 or _is_white(value) for value in values)
    if len(values) <= 1 or (on and not together):
        if len(values) > 1:
            shown = " or ".join(map(str, sorted(values)))
            notes.append(f"the masks have 0 and {shown}: all but 0 is one class")
        return Meaning({value: "1" if on else str(value) for value in values}, notes=tuple(notes))
    return _meaning_of_numbers(masks, values, notes)


def describe_shares(masks: Mapping[str, MaskImage], *, inverted: bool = False) -> str:
    """Return a note if defects fill most of most images, or of some and little of all others.

    Args:
        masks: by the names of their files.
        inverted: whether --invert was given.
    """
    shares = {
        name: mask.defective / (mask.size[0] * mask.size[1])
        for name, mask in masks.items()
        if not mask.problem
    }
    large = [name for name, share in shares.items() if share > HALF]
    others = [share for share in shares.values() if share <= HALF]
    if len(large) > len(others):
        found = f"defects fill more than half of {len(large)} of {len(shares)} images"
        if inverted:
            return f"{found}: if 0 does not mean defect in the masks, leave out --invert"
        return f"{found}: if 0 means defect in the masks, give --invert"
    if not large or not any(others) or max(others) > HALF / 2:
        return ""
    shown = ", ".join(large[:5]) + (", ..." if len(large) > 5 else "")
    return (
        f"defects fill more than half of the image in {len(large)} masks ({shown}), and at most "
        f"{max(others):.1%} in all others: look whether they are inverted"
    )


def _meaning_of_numbers(masks: Sequence[MaskImage], values: set[int], notes: list[str]) -> Meaning:
    classes = {value: str(value) for value in sorted(values)}
    others = values - {IGNORE_VALUE}
    ignored: frozenset[int] = frozenset()
    if IGNORE_VALUE in values and max(others) <= MAX_CLASS_VALUE:
        if problem := _why_not_ignored(masks):
            return Meaning(classes, {IGNORE_VALUE: problem}, notes=tuple(notes))
        del classes[IGNORE_VALUE]
        ignored = frozenset({IGNORE_VALUE})
        notes.append(
            "255 beside class numbers means neither defect nor good, as in Pascal VOC: these "
            "pixels are ignored (classes.csv can name 255 as a class)"
        )
    if _are_numbered(masks):
        notes.append(
            "each mask has the values from 1 to some number: if they number its single defects "
            "(instances), --mask-threshold 1 makes all of them one class"
        )
    counts = Counter(value for mask in masks for value in mask.rles if value in classes)
    alone = [value for value in classes if counts[value] == 1]
    if len(masks) == 1 or len(alone) < ONE_IMAGE_SHARE * len(classes):
        return Meaning(classes, {}, ignored, tuple(notes))
    shown = ", ".join(map(str, alone[:5])) + (", ..." if len(alone) > 5 else "")
    reason = (
        f"the values {shown} occur in one mask each: instances (numbers of single defects) or "
        "noise rather than classes; --mask-threshold 1 makes all of them one class, classes.csv "
        "names them if they are classes"
    )
    if len(classes) > FEW_VALUES:
        return Meaning({}, dict.fromkeys(classes, reason), ignored, tuple(notes))
    return Meaning(classes, {}, ignored, (*notes, reason))


def _why_not_ignored(masks: Sequence[MaskImage]) -> str:
    """Return why 255 beside class numbers cannot be what is to be ignored, or "".

    Then it is a class, and the other values may be stray pixels.
    """
    white = [mask for mask in masks if IGNORE_VALUE in mask.rles]
    alone = sum(len(mask.rles) == 1 for mask in white)
    areas: Counter[bool] = Counter()
    for mask in white:
        for value, text in mask.rles.items():
            areas[value == IGNORE_VALUE] += sum(map(int, text.split()[1::2]))
    if 2 * alone <= len(white) and areas[False] >= MIN_CLASS_SHARE * areas[True]:
        return ""
    found = (
        f"{alone} of {len(white)} masks with the value 255 have no other"
        if 2 * alone > len(white)
        else f"of the pixels of masks with the value 255, {areas[True]} have it and "
        f"{areas[False]} are of a class"
    )
    return (
        f'{found}, so that it hardly means "ignore": if all that is not 0 is one class, give '
        "--mask-threshold 1; otherwise name the values in classes.csv"
    )


def _is_white(value: int) -> bool:
    return NEARLY_WHITE <= value <= IGNORE_VALUE or value == WHITE_16_BIT


def _are_numbered(masks: Sequence[MaskImage]) -> bool:
    """Return whether each mask has all numbers from 1 to some number of its own."""
    highest = {max(mask.rles) for mask in masks if mask.rles}
    numbered = all(max(mask.rles) == len(mask.rles) for mask in masks if mask.rles)
    return numbered and len(highest) > 2


def _meaning_of_colors(masks: Sequence[MaskImage]) -> Meaning:
    colors = sorted({value for mask in masks for value in mask.rles})
    classes = {value: color_name(value) for value in colors}
    shown = ", ".join(list(classes.values())[:8]) + (", ..." if len(colors) > 8 else "")
    if all(mask.defective == mask.size[0] * mask.size[1] for mask in masks if mask.rles):
        problem = (
            f"no mask has black, which would be no defect, among its colors ({shown}): name them "
            "in labelmap.txt (background:255,255,255::)"
        )
        return Meaning(problems=dict.fromkeys(colors, problem))
    note = f"each color of the masks is a class ({shown}): labelmap.txt or classes.csv names them"
    return Meaning(classes, notes=(note,))


def color_name(value: int) -> str:
    """Return 0xRRGGBB as ``#rrggbb``."""
    return f"#{value:06x}"


def _encode_values(values: npt.NDArray[np.int32], present: Sequence[int]) -> dict[int, str]:
    rles = {value: rle.encode(values == value) for value in present if value}
    return {value: text for value, text in rles.items() if text}


def _count_slopes(values: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Return the numbers of pixels between 0 and the highest value, and of those on slopes."""
    if (values[values != IGNORE_VALUE] <= MAX_CLASS_VALUE).all():  # It may border on all classes.
        values = np.where(values == IGNORE_VALUE, 0, values)
    highest = values.max()
    between = (values > 0) & (values < highest)
    count = int(np.count_nonzero(between))
    if not count:
        return 0, 0
    gray: npt.NDArray[Any] = values.astype(np.uint8 if highest < 256 else np.float32)
    square = np.ones((3, 3), np.uint8)
    slopes = between & (cv2.dilate(gray, square) > gray) & (cv2.erode(gray, square) < gray)
    noise = between & (values >= NEARLY_WHITE) & (highest <= IGNORE_VALUE)
    if noise.any():  # JPEG leaves it at both ends.
        slopes |= noise | (between & (values <= IGNORE_VALUE - NEARLY_WHITE))
    return count, int(np.count_nonzero(slopes))


def _is_near_two_values(values: npt.NDArray[np.int32]) -> bool:
    """Return whether most pixels have nearly the lowest or the highest value."""
    low, high = int(values.min()), int(values.max())
    margin = (high - low) / 8
    near = np.count_nonzero((values <= low + margin) | (values >= high - margin))
    return bool(near >= NEAR_ENDS * values.size)
