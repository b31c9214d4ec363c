from defectkit.labels.ledger import LedgerRow
from defectkit.preparation.ledger_column import LedgerColumn, SortedLedger

ROWS = [
    LedgerRow(7, "a.png", "1", "used"),
    LedgerRow(2**40, "as written", "2", "merged", "found as a.png"),
    LedgerRow(3, "", "", "refused", "no id", refused_with_image=True),
]


def test_rows_come_back_as_they_were():
    column = LedgerColumn()
    for row in ROWS:
        column.append(row, "a.png")
    assert [column.row(number, "a.png") for number in range(len(column))] == ROWS


def test_a_ledger_is_in_the_order_of_its_lines():
    ledger = SortedLedger(["a.png", "b.png"])
    assert [*ledger] == []
    lines = [LedgerRow(line, "b.png", str(place), "used") for place, line in enumerate((5, 2, 5))]
    for row in ROWS:
        ledger.add(row)
    for row in lines:
        ledger.add(row, 1)
    ledger.sort()
    expected = sorted([*ROWS, *lines], key=lambda row: row.line)
    assert [*ledger] == expected
    assert len(ledger) == 6
    assert ledger[0] == expected[0]
    assert ledger[-1] == ROWS[1]
    assert ledger[1:3] == expected[1:3]
