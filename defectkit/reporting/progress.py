"""Progress bars on the console."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_PER_REFRESH = 0.2

Result = TypeVar("Result")


def track(results: Iterable[Result], total: int, what: str, console: Console) -> Iterator[Result]:
    """Yield ``results`` under a progress bar named ``what``, with the time left."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Without its own thread the bar costs the workers nothing, and forking stays safe.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        shown = time.monotonic()
        for done, result in enumerate(results, start=1):
            yield result
            if time.monotonic() - shown > SECONDS_PER_REFRESH:
                progress.update(task, completed=done, refresh=True)
                shown = time.monotonic()
