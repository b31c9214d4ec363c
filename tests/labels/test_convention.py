import pytest

from defectkit.errors import LabelError
from defectkit.labels.convention import Convention, decide_convention, refuse_contradiction
from defectkit.labels.table import LabelRow


def rows(*texts: str) -> list[LabelRow]:
    return [LabelRow(line, "a.png", "1", text) for line, text in enumerate(texts, start=2)]


@pytest.mark.parametrize("texts", [(), ("",), ("1 3",), ("5 0",), ("10 20 100 1",), ("3 0 7 2",)])
def test_without_a_start_at_0_pixels_count_from_1(texts):
    assert decide_convention(rows(*texts)) == Convention(
        1, "column", "base 1: assumed, Kaggle's; order column: assumed, Kaggle's"
    )


@pytest.mark.parametrize("text", ["0 3", "7 2 0 3", "  0   3"])
def test_a_start_at_0_shows_base_0(text):
    found = decide_convention(rows("1 2", text))
    assert (found.base, found.order) == (0, "column")
    assert found.how_decided.startswith("base 0: a run in line 3 starts at 0;")


def test_what_is_given_is_taken():
    found = decide_convention(rows("0 3"), base="1", order="row")
    assert found == Convention(1, "row", "base 1: given; order row: given")


def test_a_row_that_fits_base_1_alone_contradicts_a_guess_of_base_0():
    guess = decide_convention(rows("0 3"))
    with pytest.raises(LabelError, match=r"line 2 ends at 12, .*Say which with --rle-base 0 or"):
        refuse_contradiction([(rows("11 2")[0], 12)], guess, asked="auto")
    refuse_contradiction([(rows("12 2")[0], 12)], guess, asked="auto")  # fits neither
    refuse_contradiction([(rows("11 2")[0], 12)], guess, asked="0")
