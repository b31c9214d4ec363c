import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defectkit.control_characters import (
    escape_controls,
    has_controls,
    restore_controls,
    show_controls,
)

anything = st.text(st.characters(codec=None, exclude_categories=())) | st.text("\\xu0\x1b\u202e2e")


@pytest.mark.check(59)
@given(anything)
@example(r"\x1b")
@example(r"\x5cx1b")
@example(r"\U000e0041" + "\U000e0041\x85\ud800\\")
def test_a_cell_is_one_line_without_controls_and_comes_back(text):
    cell = escape_controls(text)
    assert restore_controls(cell) == text
    assert not has_controls(cell)
    assert len(cell.splitlines()) <= 1


@pytest.mark.check(59)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\x08\x7f", r"over\x0dwritten\x08\x7f"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\udce9", r"\udce9"),
        ("\U000e0041", r"\U000e0041"),
        ("two\nlines,\ta tab", "two\nlines,\ta tab"),
        ("零件\u3000é 👩\u200d🔧 C:\\x1b", "零件\u3000é 👩\u200d🔧 C:\\x1b"),
    ],
)
def test_controls_are_shown_and_text_stays(text, shown):
    assert show_controls(text) == shown
    assert show_controls(shown) == shown


@pytest.mark.check(59)
def test_no_control_of_unicode_is_left_out():
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t":
            assert show_controls(character) != character
        if unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI",
                                                     "FSI", "PDI"):  # fmt: skip
            assert show_controls(character) != character
