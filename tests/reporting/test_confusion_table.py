import io

import pytest
from rich.console import Console

from defectkit.reporting.confusion_table import (
    ConfusionCell,
    confusion_rows,
    confusion_table,
    describe_mixups,
)

CONFUSION = {"classes": ["[red]a", "b"], "counts": [[97, 1, 2], [0, 0, 0]]}


def test_cells_have_their_share_of_the_row_as_heat():
    (first, cells), (second, nothing) = confusion_rows(CONFUSION)
    assert (first, second) == ("[red]a", "b")
    assert cells == [
        ConfusionCell(97, 10, True), ConfusionCell(1, 1, False), ConfusionCell(2, 1, False),
    ]  # fmt: skip
    assert nothing == [
        ConfusionCell(0, 0, False), ConfusionCell(0, 0, True), ConfusionCell(0, 0, False),
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "heat"), [(0, 0), (1, 1), (10, 1), (11, 2), (100, 10)])
def test_the_heat_is_rounded_up(count, heat):
    counts = [[count, 100 - count, 0], [1, 0, 0]]
    cells = confusion_rows({"classes": ["a", "b"], "counts": counts})[0][1]
    assert cells[0].heat == heat


def test_the_table_for_a_terminal():
    console = Console(file=io.StringIO(), width=80)
    console.print(confusion_table(CONFUSION))
    lines = [line.split() for line in console.file.getvalue().replace("┃", "│").splitlines()]
    assert ["│", "labeled", "class", "│", "[red]a", "│", "b", "│", "missed", "│"] in lines
    assert ["│", "[red]a", "│", "97", "│", "1", "│", "2", "│"] in lines
    assert ["│", "b", "│", "·", "│", "·", "│", "·", "│"] in lines


def test_mixups_are_counted_among_the_found_regions_with_the_most_frequent_one():
    assert describe_mixups(CONFUSION) == (
        "named as another class: 1 of 98 found defects, most often class [red]a as class b"
    )
    three = {"classes": ["1", "2", "3"], "counts": [[4, 1, 0, 9], [0, 5, 2, 0], [1, 0, 6, 0]]}
    assert describe_mixups(three) == (
        "named as another class: 4 of 19 found defects, most often class 2 as class 3"
    )
    right = {"classes": ["1", "2"], "counts": [[4, 0, 1], [0, 5, 0]]}
    assert describe_mixups(right) == "named as another class: none of 9 found defects"


def test_without_several_classes_or_without_found_regions_there_are_no_mixups():
    assert describe_mixups(None) == ""
    assert describe_mixups({"classes": ["1"], "counts": [[4, 1]]}) == ""
    assert describe_mixups({"classes": ["1", "2"], "counts": [[0, 0, 3], [0, 0, 1]]}) == ""
