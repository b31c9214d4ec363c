"""Processes that share out work on images; none at all where the work is small."""

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import cv2

from defectkit.devices import usable_processors
from defectkit.errors import DatasetError

JOBS_PER_PROCESS = 64
"""Fewer images than this are done sooner than a process starts."""
LARGEST_CHUNK = 64
CHUNKS_PER_PROCESS = 16
"""At least so many, that all processes end at about the same time."""
MOST_PROCESSES = 61
"""More of them Python cannot wait for on Windows, nor one process keep busy."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Workers:
    """``count`` processes of ``pool``, or this process alone where ``pool`` is None."""

    count: int
    pool: ProcessPoolExecutor | None

    def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Return what ``function`` gives for each job, in their order, as an iterator.

        With a pool all the work starts at once; without one, as the results are asked for.
        """
        if self.pool is None:
            return map(function, jobs)
        chunk = max(1, min(LARGEST_CHUNK, len(jobs) // (CHUNKS_PER_PROCESS * self.count)))
        return self.pool.map(function, jobs, chunksize=chunk)


@contextmanager
def open_workers(count: int | None, *, n_jobs: int) -> Iterator[Workers]:
    """Yield ``count`` worker processes, none for 0; for None up to one per processor, as it pays.

    Raises:
        DatasetError: ``count`` is negative, or a process died while the workers were in use.
    """
    if count is None:
        count = min(usable_processors(), n_jobs // JOBS_PER_PROCESS)
    if count < 0:
        raise DatasetError(
            f"--workers {count} is below 0. Give 0 for no processes beside this one."
        )
    count = min(count, MOST_PROCESSES)
    if count == 0:
        yield Workers(0, None)
        return
    # Searching what the workers inherit for garbage would copy all of its pages, and here it costs
    # time: most of it are rows of the label table.
    gc.freeze()
    pool = ProcessPoolExecutor(count, initializer=_settle)
    try:
        yield Workers(count, pool)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"one of {count} worker processes died, most likely for lack of memory. "
            f"Use fewer: --workers {count // 2}."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


def _settle() -> None:
    cv2.setNumThreads(0)  # OpenCV's threads would fight with the other processes for the cores.
