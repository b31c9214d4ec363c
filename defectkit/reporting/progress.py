"""How far a piece of work is: a bar on a terminal, lines in a log."""

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from rich import progress as bars
from rich.console import Console

from defectkit.terminal import one_line
from defectkit.watching import watching

SECONDS_PER_REFRESH = 0.2
SECONDS_TO_FIRST_LINE = 10
SECONDS_PER_LINE = 60

Item = TypeVar("Item")


class Progress:
    """A bar with the time left; where there is no terminal, a line after 10 s and each minute.

    Without ``thread`` the bar moves only when it is updated: work in other processes costs it
    nothing, and forking stays safe.

    Args:
        console: where to show it.
        what: what is done.
        total: how much there is to do: a number of things, or 1.0 for a share that is told.
        done: how much was done before.
        thread: whether a thread keeps the bar moving.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        *,
        total: float = 1.0,
        done: float = 0,
        thread: bool = True,
    ) -> None:
        self._console, self._what, self._total = console, what, total
        self._done_before, self._start = done, time.monotonic()
        self._next_line = self._start + SECONDS_TO_FIRST_LINE
        self._counts = isinstance(total, int)
        self._thread = thread
        self._shown = self._start
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn() if self._counts else bars.TaskProgressColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            auto_refresh=thread,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(one_line(what), total=total, completed=done)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, done: float, what: str | None = None) -> None:
        """Show that ``done`` of the total is done, and what is done next, if that changed.

        A part of a thing counts for the time left.
        """
        now, self._what = time.monotonic(), what or self._what
        if not self._console.is_terminal:
            if now >= self._next_line:
                self._next_line = now + SECONDS_PER_LINE
                self._console.print(self._line(done, now), highlight=False)
            return
        refresh = not self._thread and now - self._shown > SECONDS_PER_REFRESH
        self._shown = now if refresh else self._shown
        self._bar.update(
            self._task, completed=done, description=one_line(self._what), refresh=refresh
        )

    def _line(self, done: float, now: float) -> str:
        told = (
            f"{int(done)} of {self._total}" if self._counts else f"{100 * done / self._total:.0f} %"
        )
        own = done - self._done_before
        left = (self._total - done) * (now - self._start) / own if own > 0 else None
        return (
            f"{one_line(self._what)}: {told}{f', about {format_time(left)} left' if left else ''}"
        )


def track(
    items: Iterable[Item],
    what: str,
    *,
    console: Console,
    total: int | None = None,
    thread: bool = True,
) -> Iterator[Item]:
    """Yield items while their progress is shown; ``total`` is their number, if they have none.

    An item is done when the next one is asked for; what is told of the work on it counts before.
    """
    if total is None:
        assert isinstance(items, Sequence)
        total = len(items)
    done = 0
    progress = Progress(console, what, total=total, thread=thread)
    with progress, watching(lambda share: progress.update(done + share)):
        for item in items:
            yield item
            done += 1
            progress.update(done)


class Tracked(Sequence[Item]):
    """A sequence that shows how far it has come, each time that it is gone through."""

    def __init__(self, items: Sequence[Item], what: str, *, console: Console) -> None:
        self._items, self._what, self._console = items, what, console

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: Any) -> Any:
        return self._items[place]

    def __iter__(self) -> Iterator[Item]:
        return track(self._items, self._what, console=self._console)


def format_time(seconds: float) -> str:
    """Return a time in the units that suit it.

    >>> format_time(42.3), format_time(130), format_time(9000)
    ('42 s', '2 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
