import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from defectkit.reporting.inspection_summary import MAX_NAMES, summarize_inspection


@pytest.mark.parametrize(
    ("drawn", "told"),
    [
        ("none", "; verdicts and masks in out/findings.csv"),
        (
            "flagged",
            "; overlays of those to review and defective in out/overlays, verdicts and masks in",
        ),
        ("all", "; overlays in out/overlays, verdicts and masks in"),
    ],
)
def test_the_last_line_counts_and_says_where_the_files_are(drawn, told):
    console = Console(file=io.StringIO(), width=1000)
    summary = summarize_inspection(
        console, Path("out"), verdicts=Counter(good=3, defective=1), n_errors=2,
        notes={"odd": [str(number) for number in range(MAX_NAMES + 2)]}, drawn=drawn, skipped=1,
        told_skipped="1 other file skipped",
    )  # fmt: skip
    assert (summary.good, summary.review, summary.defective) == (3, 0, 1)
    assert (summary.unreadable, summary.skipped) == (2, 1)
    note, line = console.file.getvalue().splitlines()
    assert note == "note: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: odd"
    assert line.startswith("1 defective, 0 to review, 3 good, 2 not inspected (out/errors.csv)")
    assert told in line
    assert line.endswith("; 1 other file skipped")
