import pytest

from defectkit.csv_cells import read_cell, unquote_formula, write_cell


@pytest.mark.check(38)
@pytest.mark.check(59)
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("'=1", "''=1"),
        ("\t=1", r"\x09=1"),
        ("'\x1b[2J", r"''\x1b[2J"),
        ("-1\n", r"'-1\x0a"),
        ("007", "007"),
    ],
)
def test_a_text_is_harmless_in_its_cell_and_comes_back(text, cell):
    assert write_cell(text) == cell
    assert read_cell(cell) == text


@pytest.mark.parametrize("value", [-1, 2.5, 0])
def test_numbers_are_written_as_they_are(value):
    assert write_cell(value) is value
    assert write_cell(None) == ""


def test_a_quote_that_protects_nothing_stays():
    assert unquote_formula("'tis.png") == "'tis.png"
