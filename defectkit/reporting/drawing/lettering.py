"""Text on pictures: any Unicode string, shortened to a given width.

``cv2.putText`` supports ASCII only, so Pillow draws. The font is DejaVu Sans, which lies beside
this module. A text that it cannot show (for example a Chinese file name) is drawn with the first
installed system font that can; if there is none, the missing characters are written as escapes.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from defectkit.arrays import Color, Image

ELLIPSIS = "…"

BUNDLED_FONT = Path(__file__).with_name("fonts") / "DejaVuSans.ttf"
NO_CHARACTER = "\uffff"
"""A code that Unicode gives to no character: fonts have the same picture for all that they lack."""
PROBE_SIZE = 20
"""Size in pixels at which characters are compared with it."""

# File names that Pillow looks for in the font folders of Linux, macOS and Windows.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "malgun.ttf",
)


class PlacedText(NamedTuple):
    """A line of text; ``left`` and ``top`` of the line and the font ``size`` are in pixels."""

    text: str
    left: int
    top: int
    size: int
    color: Color


def choose_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the font of ``size`` pixels that shows ``text``, or DejaVu Sans if none does."""
    for path in _font_paths():
        if _shows(path, text):
            return _load_font(path, size)
    return _load_font(_font_paths()[0], size)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters, and those that no font shows, as escapes.

    >>> printable("a\tb")
    'a\\tb'
    """
    if text.isprintable() and any(_shows(path, text) for path in _font_paths()):
        return text
    known = _font_paths()[0]
    return "".join(
        character
        if character.isprintable() and _has_glyph(known, character)
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def text_width(text: str, size: int) -> int:
    """Return the width in pixels of ``printable(text)`` drawn at ``size``."""
    text = printable(text)
    return int(np.ceil(choose_font(text, size).getlength(text)))


def line_height(size: int) -> int:
    """Return the distance in pixels between two lines of text of ``size``."""
    return round(size * 1.45)


def shorten(text: str, width: int, size: int) -> str:
    """Return ``printable(text)``; if wider than ``width``, an ellipsis replaces its middle.

    Both ends are kept, since file names differ there.
    """
    text = printable(text)
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text) - 1  # Number of characters that fit beside the ellipsis.
    while low < high:
        kept = (low + high + 1) // 2
        if text_width(_without_middle(text, kept), size) <= width:
            low = kept
        else:
            high = kept - 1
    return _without_middle(text, low)


def draw_texts(canvas: Image, texts: Sequence[PlacedText]) -> None:
    """Draw texts on the (H, W, 3) RGB uint8 ``canvas`` in place."""
    for text, left, top, size, color in texts:
        text = printable(text)
        # Only the surroundings become a picture, with room for letters that reach out of the line.
        y, x = max(0, top - size), max(0, left - size)
        near = canvas[y : max(y, top + 3 * size), x : max(x, left + text_width(text, size) + size)]
        if not near.size:
            continue
        picture = Pillow.fromarray(np.ascontiguousarray(near))
        # Anchored at the baseline, since the top of a line differs from font to font.
        baseline = left - x, top - y + round(size * 1.1)
        pen = ImageDraw.Draw(picture)
        pen.text(baseline, text, color, choose_font(text, size), anchor="ls")
        near[...] = np.asarray(picture)


def _without_middle(text: str, kept: int) -> str:
    tail = kept // 2
    return text[: kept - tail] + ELLIPSIS + text[len(text) - tail :]


@functools.cache
def _font_paths() -> tuple[str, ...]:
    paths = [str(BUNDLED_FONT)]
    for name in SYSTEM_FONTS:
        try:
            paths.append(str(ImageFont.truetype(name).path))
        except OSError:  # Not installed.
            continue
    return tuple(paths)


def _shows(path: str, text: str) -> bool:
    return all(_has_glyph(path, character) for character in set(text))


@functools.lru_cache(maxsize=4096)
def _has_glyph(path: str, character: str) -> bool:
    """Return whether a printable character looks unlike one that no font has."""
    return character.isspace() or _picture(path, character) != _picture(path, NO_CHARACTER)


def _picture(path: str, character: str) -> tuple[tuple[int, int], bytes]:
    # Without shaping, which would make something of a mark that stands alone.
    mask = _load_font(path, PROBE_SIZE, ImageFont.Layout.BASIC).getmask(character)
    return mask.size, bytes(mask)


@functools.lru_cache(maxsize=64)
def _load_font(
    path: str, size: int, layout: ImageFont.Layout | None = None
) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=layout)
