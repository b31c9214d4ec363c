"""The best value must be marked as best, worse ones as worse, and every number be right."""

import io

import pytest
from comparison_rows import comparison_row
from rich.console import Console

from defectkit.evaluation.comparison import COMPARED_METRICS
from defectkit.reporting.comparison_table import (
    CONSOLE_NAMES,
    LINES,
    RATE_COUNTS,
    Cell,
    console_table,
    format_cell,
    make_cells,
)


def row(name="a", **changes):
    """A row whose rates have few counts; ``changes`` replace any."""
    counts = {key: None for pair in RATE_COUNTS.values() for key in pair}
    counts |= {"escapes": 2, "n_defective": 8, "overkills": 0, "n_good": 9,
               "regions_found": 3, "regions_total": 4}  # fmt: skip
    return comparison_row(name, **counts | changes)


@pytest.mark.parametrize(
    ("key", "values", "best"),
    [
        ("image_ap", (0.5, 0.7, 0.6), [False, True, False]),
        ("escape_rate", (0.5, 0.7, 0.6), [True, False, False]),
        ("false_alarms_per_image", (0.0, 0.0, 3.0), [True, True, False]),
        ("ms_per_image", (12.0, 7.0, None), [False, True, False]),
        ("box_map_50", (None, None, None), [False, False, False]),
        ("box_map_50", (None, 0.0, None), [False, False, False]),  # with nothing to beat
        ("epochs", (3, 4, 5), [False, False, False]),
        ("device", ("a", "b", "c"), [False, False, False]),
    ],
)
def test_the_best_cells(key, values, best):
    cells = make_cells(LINES[key], [row(**{key: value}) for value in values])
    assert [cell.best for cell in cells] == best


def test_one_run_alone_is_not_the_best():
    assert make_cells(LINES["image_ap"], [row()]) == [Cell("0.500", (), False, False)]


def test_cells_have_their_counts_interval_and_mark():
    one = row(image_ap_low=0.25, image_ap_high=0.75, image_ap_significant=True)
    (cell,) = make_cells(LINES["image_ap"], [one])
    assert cell == ("0.500", ("0.25–0.75",), False, True)  # noqa: RUF001
    two = row(escape_rate=0.25, escape_rate_low=0.032, escape_rate_high=0.651)
    (cell,) = make_cells(LINES["escape_rate"], [two])
    assert cell == ("25.0 %", ("2 of 8", "3.2–65.1"), False, False)  # noqa: RUF001
    three = row(escape_rate=None, escape_rate_low=0.0, escape_rate_high=1.0)
    assert make_cells(LINES["escape_rate"], [three])[0].details == ()


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "number", "–"),  # noqa: RUF001
        (None, "text", "–"),  # noqa: RUF001
        (0.12345, "number", "0.123"),
        (195.8846, "number", "195.9"),
        (0.0547, "rate", "5.5 %"),
        (7.26, "milliseconds", "7.3"),
        (332.76, "milliseconds", "333"),
        (89.0, "time", "89 s"),
        (3599.0, "time", "1 h 0 min"),
        (8_416_509_952, "large", "8.42 G"),
        (61_706, "large", "61.71 k"),
        (999, "large", "999"),
        (12, "count", "12"),
    ],
)
def test_values_are_formatted_for_people(value, form, text):
    assert format_cell(value, form) == text


def test_the_direction_of_a_metric_is_that_of_the_comparison():
    assert {key: LINES[key].better for key in COMPARED_METRICS} == COMPARED_METRICS


def test_the_console_shows_names_marks_and_no_markup():
    rows = [row("run [bold]1", image_ap=0.9), row("two", image_ap=0.4, image_ap_significant=True)]
    output = io.StringIO()
    Console(file=output, width=80).print(console_table(rows))
    text = output.getvalue()
    for part in (
        "run [bold]1",
        "0.900",
        "0.400 ▼",
        "box ",
        "ssd ",
        "overkills",
        "regions",
        "found",
    ):
        assert part in text
    assert text.count("▼") == 1
    assert "…" not in text
    assert set(CONSOLE_NAMES) <= set(LINES)
