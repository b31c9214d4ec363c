import io

from rich.console import Console

from defectkit.reporting import progress
from defectkit.reporting.progress import track_results


def test_results_are_collected_in_their_order_and_the_bar_is_named(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_PER_REFRESH", -1.0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80)
    assert track_results((n * n for n in range(4)), 4, "Reading images", console) == [0, 1, 4, 9]
    assert "Reading images" in text.getvalue()
    assert "4/4" in text.getvalue()


def test_nothing_is_tracked_without_results():
    assert track_results([], 0, "Reading images", Console(file=io.StringIO())) == []
