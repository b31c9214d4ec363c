"""What a command says whose tables grow, when it is stopped before its end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from defectkit.results_folder import Results
from defectkit.terminal import one_line


@contextmanager
def tell_if_stopped(
    console: Console, results: Results, table: str, *, way_on: str = ""
) -> Iterator[None]:
    """Say where the rows of ``table`` will lie, if it was begun and anything ends the work.

    ``way_on`` is a sentence that follows: how the work goes on.
    """
    try:
        yield
    except BaseException:
        if (results.folder / table).is_file():
            told = _where_rows_are(results, table)
            told = f"{told.removesuffix('.')}. {way_on}" if way_on else told
            console.print(one_line(told))
        raise


def _where_rows_are(results: Results, table: str) -> str:
    folder = results.if_failed(table).parent
    if not results.keeps_earlier:
        return f"stopped; the rows so far are in {folder}"
    return (
        f"stopped; the earlier results in {results.out} are kept. The rows so far are in {folder}, "
        f"until the next {results.kind} removes them."
    )
