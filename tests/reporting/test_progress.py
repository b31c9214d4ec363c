import io
import itertools

import pytest
from rich.console import Console

from defectkit.reporting import progress
from defectkit.reporting.progress import Progress, Tracked, track
from defectkit.watching import tell


@pytest.fixture
def clock(monkeypatch):
    """A clock that is 25 s further on each time it is read."""
    ticks = itertools.count(0.0, 25.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))


def log() -> Console:
    return Console(file=io.StringIO(), width=100)


def test_items_come_in_their_order():
    console = log()
    squares = track((n * n for n in range(5)), "Reading", console=console, total=5)
    assert list(squares) == [0, 1, 4, 9, 16]
    assert list(track([], "Reading", console=console)) == []
    assert console.file.getvalue() == "", "what is done at once needs no lines"


@pytest.mark.parametrize("thread", [False, True])
def test_progress_is_shown_as_items_are_done(monkeypatch, thread):
    monkeypatch.setattr(progress, "SECONDS_PER_REFRESH", -1.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    assert list(track("abc", "Reading [images]", console=console, thread=thread)) == [*"abc"]
    shown = console.file.getvalue()
    assert "Reading [images]" in shown
    if not thread:
        assert "2/3" in shown


def test_a_log_gets_a_line_soon_and_then_one_a_minute(clock):
    console = log()
    list(track(range(8), "Reading [images]", console=console))
    assert console.file.getvalue().splitlines() == [
        "Reading [images]: 1 of 8, about 3 min left",
        "Reading [images]: 4 of 8, about 2 min left",
        "Reading [images]: 7 of 8, about 25 s left",
    ]


def test_what_is_told_of_the_work_on_an_item_counts_until_it_is_done(clock):
    console = log()
    for _ in track("ab", "Reading", console=console):
        tell(0.25)
        tell(0.5)
    tell(0.75)  # Nobody watches any more.
    assert console.file.getvalue().splitlines() == [
        "Reading: 0 of 2, about 3 min left",
        "Reading: 1 of 2, about 60 s left",
    ]


def test_what_is_told_while_an_item_is_made_counts_too(clock):
    def squares():
        for number in range(2):
            tell(0.5)
            yield number * number

    console = log()
    assert list(track(squares(), "Reading", console=console, total=2)) == [0, 1]
    assert console.file.getvalue() == "Reading: 0 of 2, about 75 s left\nReading: 2 of 2\n"


def test_a_sequence_shows_progress_each_time_that_it_is_gone_through(clock):
    console = log()
    items = Tracked("abcd", "Reading", console=console)
    assert (len(items), items[1]) == (4, "b")
    for done in (1, 2):
        assert list(items) == [*"abcd"]
        told = console.file.getvalue().splitlines()
        assert told == ["Reading: 1 of 4, about 75 s left", "Reading: 4 of 4"] * done


def test_the_time_left_is_that_of_what_was_not_done_before(clock):
    console = log()
    with Progress(console, "inspecting", total=10, done=8) as bar:
        bar.update(9)
    assert console.file.getvalue() == "inspecting: 9 of 10, about 25 s left\n"


def test_a_share_is_told_in_percent_with_what_is_done_now(clock):
    console = log()
    with Progress(console, "starting") as bar:
        bar.update(0.0, "epoch 1")
        bar.update(0.5)
        bar.update(0.75)
        bar.update(0.9, "epoch 2")
    assert console.file.getvalue().splitlines() == [
        "epoch 1: 0 %",
        "epoch 2: 90 %, about 11 s left",
    ]
