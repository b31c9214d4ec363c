from pathlib import Path

import pytest

from defectkit.errors import LabelError
from defectkit.labels.ledger import (
    MAX_ROWS_SHOWN,
    LedgerRow,
    refuse_bad_rows,
    why_refused_with_image,
)

SOURCE, WRITTEN = Path("train.csv"), Path("dataset/ledger.csv")


def refused(line, **changes):
    return LedgerRow(line, f"{line}.png", "1", "refused", f"reason {line}", **changes)


def test_a_ledger_without_refusals_passes():
    rows = [LedgerRow(2, "a.png", "1", "used"), LedgerRow(3, "a.png", "1", "merged", "repeats")]
    refuse_bad_rows(rows, source=SOURCE, written=WRITTEN)
    refuse_bad_rows([], source=SOURCE, written=WRITTEN)


def test_bad_rows_are_named_with_line_image_and_reason():
    rows = [LedgerRow(2, "a.png", "1", "used"), refused(3)]
    with pytest.raises(LabelError) as error:
        refuse_bad_rows(rows, source=SOURCE, written=WRITTEN)
    assert str(error.value).splitlines() == [
        "1 of 2 rows of train.csv cannot be used:",
        "  train.csv:3: 3.png: reason 3",
        "Fix them, or leave out their images with --skip-bad-rows. "
        f"The outcome of every row is in {WRITTEN}.",
    ]


def test_only_the_first_ones_are_shown_and_the_rest_is_counted():
    with pytest.raises(LabelError) as error:
        refuse_bad_rows(
            [refused(line) for line in range(2, MAX_ROWS_SHOWN + 5)], source=SOURCE, written=WRITTEN
        )
    lines = str(error.value).splitlines()
    assert len(lines) == MAX_ROWS_SHOWN + 3
    assert lines[-2] == "  and 3 more"


def test_valid_rows_of_a_refused_image_are_no_cause_themselves():
    with_image = refused(4, refused_with_image=True)
    refuse_bad_rows([with_image], source=SOURCE, written=WRITTEN)
    with pytest.raises(LabelError, match=r"^1 of 2 rows .* cannot be used:\n.*reason 3\nFix"):
        refuse_bad_rows([refused(3), with_image], source=SOURCE, written=WRITTEN)
    assert why_refused_with_image(3).startswith("line 3 of the same image was refused")
