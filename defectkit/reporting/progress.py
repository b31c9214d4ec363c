"""Progress bars on the console."""

import time
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_PER_REFRESH = 0.2

Result = TypeVar("Result")


def track_results(
    results: Iterable[Result], total: int, what: str, console: Console
) -> list[Result]:
    """Collect ``results`` under a progress bar named ``what``, with the time left."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    collected = []
    # Without its own thread the bar costs the workers nothing, and forking stays safe.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        shown = time.monotonic()
        for result in results:
            collected.append(result)
            if time.monotonic() - shown > SECONDS_PER_REFRESH:
                progress.update(task, completed=len(collected), refresh=True)
                shown = time.monotonic()
    return collected
