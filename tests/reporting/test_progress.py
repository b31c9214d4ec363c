import io

from rich.console import Console

from defectkit.reporting import progress
from defectkit.reporting.progress import track


def test_results_come_back_in_their_order():
    console = Console(file=io.StringIO())
    assert [*track((n * n for n in range(5)), 5, "Reading", console)] == [0, 1, 4, 9, 16]
    assert [*track([], 0, "Reading", console)] == []


def test_progress_is_shown_as_results_arrive(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_PER_REFRESH", -1.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    assert [*track(range(3), 3, "Reading images", console)] == [0, 1, 2]
    shown = console.file.getvalue()
    assert "Reading images" in shown
    assert "2/3" in shown
