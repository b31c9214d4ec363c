"""Text on pictures: any Unicode string, shortened to a given width.

``cv2.putText`` supports ASCII only, so Pillow draws. The font is DejaVu Sans, which comes with
matplotlib. A text that it cannot show (for example a Chinese file name) is drawn with the first
installed system font that can; if there is none, the missing characters are written as escapes.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from defectkit.arrays import Color, Image

ELLIPSIS = "…"

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
        if _glyphs(path).issuperset(map(ord, text)):
            return _load_font(path, size)
    return _load_font(_font_paths()[0], size)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters, and those that no font shows, as escapes.

    >>> printable("a\tb")
    'a\\tb'
    """
    codes = set(map(ord, text))
    if text.isprintable() and any(codes <= _glyphs(path) for path in _font_paths()):
        return text
    known = _glyphs(_font_paths()[0])
    return "".join(
        character
        if character.isprintable() and ord(character) in known
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
    bundled = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    paths = [str(bundled)]
    for name in SYSTEM_FONTS:
        try:
            paths.append(str(ImageFont.truetype(name).path))
        except OSError:  # Not installed.
            continue
    return tuple(paths)


@functools.cache
def _glyphs(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


@functools.lru_cache(maxsize=64)
def _load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
