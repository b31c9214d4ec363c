"""Rows of ``comparison.csv`` that are made up, for tests of what is made from them."""

from typing import Any

from defectkit.evaluation.comparison import COMPARED_METRICS
from defectkit.reporting.comparison_table import LINES, RATE_COUNTS


def comparison_row(name: str, **changes: object) -> dict[str, Any]:
    """Return the row of a run with a number in every line, none of them worse than another's.

    ``changes`` replace any.
    """
    ends = ("", "_low", "_high", "_p")
    return {
        **dict.fromkeys(LINES, 0.5),
        **{key: 1 for pair in RATE_COUNTS.values() for key in pair},
        "run": name,
        "approach": "box",
        "network": "ssd",
        "device": "cpu",
        "encoder": None,
        "exported": None,
        **{f"{key}_to_best{end}": None for key in COMPARED_METRICS for end in ends},
        **{f"{key}_significant": False for key in COMPARED_METRICS},
        **changes,
    }
