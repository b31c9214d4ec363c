"""Text must fit, must not crash, and must show what the font lacks as escapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.ft2font import FT2Font

from defectkit.reporting.drawing import lettering
from defectkit.reporting.drawing.lettering import (
    PlacedText,
    draw_texts,
    printable,
    shorten,
    text_width,
)


@pytest.fixture
def only_bundled_font(monkeypatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    lettering._font_paths.cache_clear()
    yield
    lettering._font_paths.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ärger-ß_01.png", "Ärger-ß_01.png"),
        ("划痕_1.png", "\\u5212\\u75d5_1.png"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # would turn the rest of the line around
        ("bad\udcff.png", "bad\\udcff.png"),  # how Python shows a byte that is no UTF-8
    ],
)
@pytest.mark.usefixtures("only_bundled_font")
def test_what_the_font_lacks_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_the_characters_of_a_font_are_those_that_it_lists():
    listed = set(FT2Font(str(lettering.BUNDLED_FONT)).get_charmap())
    codes = [code for code in range(32, 0x3000) if chr(code).isprintable()]
    shown = {code for code in codes if lettering._has_glyph(str(lettering.BUNDLED_FONT), chr(code))}
    blank = {code for code in codes if chr(code).isspace()}
    assert len(shown) > 4000
    assert shown - blank == listed.intersection(codes) - blank


def test_a_system_font_with_the_letters_is_used(monkeypatch):
    fonts = ("bundled", "cjk")
    glyphs = {"bundled": "ab_1", "cjk": "ab_1划痕"}
    monkeypatch.setattr(lettering, "_font_paths", lambda: fonts)
    monkeypatch.setattr(lettering, "_has_glyph", lambda path, one: one in glyphs[path])
    monkeypatch.setattr(lettering, "_load_font", lambda path, size: (path, size))
    assert printable("划痕_1") == "划痕_1"
    assert lettering.choose_font("划痕_1", 12) == ("cjk", 12)
    assert lettering.choose_font("ab_1", 12) == ("bundled", 12)


def test_a_long_text_keeps_both_ends():
    text = "line-07_" + "x" * 300 + "_0001.png"
    short = shorten(text, 200, 13)
    assert text_width(short, 13) <= 200 < text_width(text, 13)
    assert short.startswith("line-07_x")
    assert short.endswith("x_0001.png")
    assert shorten("short.png", 200, 13) == "short.png"


@given(text=st.text(max_size=60), width=st.integers(20, 300))
def test_no_text_is_wider_than_its_room(text, width):
    assert text_width(shorten(text, width, 12), 12) <= width


@given(text=st.text(max_size=30))
def test_any_text_is_drawn_inside_its_width_and_line(text):
    text = shorten(text, 280, 12)
    canvas = np.zeros((lettering.line_height(12) + 8, 300, 3), np.uint8)
    draw_texts(canvas, [PlacedText(text, 4, 4, 12, (255, 255, 255))])
    rows, columns = np.nonzero(canvas.any(axis=-1))
    if rows.size:
        assert columns.max() < 4 + text_width(text, 12) + 3
        assert rows.max() <= 4 + lettering.line_height(12) + 2
