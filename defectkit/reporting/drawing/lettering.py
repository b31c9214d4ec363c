"""Text on pictures: any Unicode string, in a given width, never cut at the edge.

``cv2.putText`` knows ASCII only, so Pillow draws. The font is DejaVu Sans, which comes with
matplotlib; a text that it cannot show (a Chinese file name, say) is drawn with the first installed
system font that can, and where none is there the missing characters are written as escapes.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from defectkit.arrays import Color

ELLIPSIS = "…"

# File names that Pillow looks for in the font folders of Linux, macOS and Windows.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "malgun.ttf",
)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the font of ``size`` pixels that shows ``text``, or DejaVu Sans if none does."""
    for path in _font_paths():
        if _glyphs(path).issuperset(map(ord, text)):
            return _load(path, size)
    return _load(_font_paths()[0], size)


def printable(text: str) -> str:
    r"""Return ``text`` with what no installed font shows (and control characters) as escapes.

    >>> printable("a\tb")
    'a\\tb'
    """
    letters = set(map(ord, text))
    if text.isprintable() and any(letters <= _glyphs(path) for path in _font_paths()):
        return text
    shown = _glyphs(_font_paths()[0])
    return "".join(
        letter
        if letter.isprintable() and ord(letter) in shown
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def text_width(text: str, size: int) -> int:
    """Return the width in pixels of ``printable(text)`` drawn at ``size``."""
    text = printable(text)
    return int(np.ceil(font_for(text, size).getlength(text)))


def line_height(size: int) -> int:
    """Return the height in pixels of a line of text of ``size``, gap included."""
    return round(size * 1.45)


def shorten(text: str, width: int, size: int) -> str:
    """Return ``printable(text)``, its middle replaced by an ellipsis where wider than ``width``.

    The two ends are kept, since file names differ there.
    """
    text = printable(text)
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text) - 1  # how many letters can stay
    while low < high:
        kept = (low + high + 1) // 2
        if text_width(_without_middle(text, kept), size) <= width:
            low = kept
        else:
            high = kept - 1
    return _without_middle(text, low)


def draw_texts(
    canvas: npt.NDArray[np.uint8], texts: Sequence[tuple[str, int, int, int, Color]]
) -> None:
    """Draw (text, x, y, size, color) entries on the (H, W, 3) ``canvas`` in place.

    ``x`` and ``y`` are the left and the top of the line in pixels.
    """
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for text, x, y, size, color in texts:
        text = printable(text)
        # Anchored at the baseline, since the top of a line differs from font to font.
        pen.text((x, y + round(size * 1.1)), text, color, font_for(text, size), anchor="ls")
    canvas[...] = np.asarray(picture)


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
        except OSError:  # not installed
            continue
    return tuple(paths)


@functools.cache
def _glyphs(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


@functools.lru_cache(maxsize=64)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
