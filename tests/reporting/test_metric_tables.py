"""Numbers must be shown as they are, with their intervals, and none left out."""

import pytest

from defectkit.reporting.metric_tables import format_value, metric_tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),  # noqa: RUF001
        (True, "yes"),
        (12, "12"),
        (0.98765, "0.988"),
        (0.0, "0.000"),
        (0.0005, "0.0005"),
        (1234.56, "1,234.6"),
        ({"value": 0.25, "low": 0.1, "high": 0.5}, "25.0 % (95 % interval 10.0 to 50.0 %)"),
        (
            {"found": 1, "total": 4, "value": 0.25, "low": 0.006, "high": 0.81},
            "1 of 4, 25.0 % (95 % interval 0.6 to 81.0 %)",
        ),
        (
            {"count": 3, "total": 4, "value": 0.75, "low": 0.19, "high": 0.994},
            "3 of 4, 75.0 % (95 % interval 19.0 to 99.4 %)",
        ),
        ({"found": 0, "total": 0, "value": None, "low": 0.0, "high": 1.0}, "0 of 0, –"),  # noqa: RUF001
        ({"torch": "2.10", "seed": 0}, "torch 2.10, seed 0"),
        ([1, 0.5], "1, 0.500"),
    ],
)
def test_values_are_shown_for_people(value, shown):
    assert format_value(value) == shown


def test_every_number_is_listed_and_the_unknown_ones_come_last():
    metrics = {
        "image": {"new_number": 3, "auroc": 0.5},
        "pixel": {"iou_by_class": {"1": 0.25, "{0.__class__}": None}, "dice": 0.5},
        "box": None,
        "later_section": {"x": 1},
    }
    tables = dict(metric_tables(metrics))
    assert list(tables) == ["Images", "Pixels"]
    assert [row[:2] for row in tables["Images"]] == [("AUROC", "0.500"), ("new_number", "3")]
    assert [row[:2] for row in tables["Pixels"]] == [
        ("Dice, pooled", "0.500"),
        ("IoU of class 1", "0.250"),
        ("IoU of class {0.__class__}", "–"),  # noqa: RUF001
    ]
    assert all(meaning for name, _, meaning in tables["Pixels"])
    assert dict(metric_tables({"pixel": {"iou_by_class": None}})) == {}
