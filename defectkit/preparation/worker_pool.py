"""Worker processes for images; none where the work is small."""

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

MIN_JOBS_PER_PROCESS = 64
"""Fewer images than this are done before a process has started."""
MAX_CHUNK = 64
MIN_CHUNKS_PER_PROCESS = 16
"""Many chunks, so that all processes end at about the same time."""
MAX_PROCESSES = 61
"""On Windows Python cannot wait for more, and one process cannot keep more busy."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """``count`` processes of ``pool``, or this process alone where ``pool`` is None."""

    count: int
    pool: ProcessPoolExecutor | None

    def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Return the result of ``function`` for each job, in their order, as an iterator.

        With a pool all the work starts at once; without one, as the results are asked for.
        """
        if self.pool is None:
            return map(function, jobs)
        chunk = max(1, min(MAX_CHUNK, len(jobs) // (MIN_CHUNKS_PER_PROCESS * self.count)))
        return self.pool.map(function, jobs, chunksize=chunk)


def check_workers(count: int | None) -> None:
    """Check a number of worker processes; None lets ``open_worker_pool`` choose.

    Raises:
        DatasetError: it is negative.
    """
    if count is not None and count < 0:
        raise DatasetError(f"--workers {count} is below 0. Use 0 to start no worker processes.")


@contextmanager
def open_worker_pool(count: int | None, *, n_jobs: int) -> Iterator[WorkerPool]:
    """Yield ``count`` worker processes, none for 0; for None up to one for each processor.

    Raises:
        DatasetError: ``count`` is negative, or a process died while the workers were in use.
    """
    check_workers(count)
    if count is None:
        count = min(usable_processors(), n_jobs // MIN_JOBS_PER_PROCESS)
    count = min(count, MAX_PROCESSES)
    if count == 0:
        yield WorkerPool(0, None)
        return
    # A search for garbage in what the workers inherit would copy all of its pages, and here it
    # takes long: most of it are rows of the label table. A program may have done so before.
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    pool = ProcessPoolExecutor(count, initializer=_use_one_opencv_thread)
    try:
        yield WorkerPool(count, pool)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"one of {count} worker processes died, most likely for lack of memory. "
            f"Use fewer: --workers {count // 2}."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        if freezes:
            gc.unfreeze()


def _use_one_opencv_thread() -> None:
    cv2.setNumThreads(0)  # OpenCV's threads would fight with the other processes for the cores.
