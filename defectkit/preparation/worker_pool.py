"""Worker processes for images; none where the work is small."""

import gc
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import cv2

from defectkit.devices import usable_processors
from defectkit.errors import WorkerError, check_range
from defectkit.processes import (
    MAX_PROCESSES,
    allowed_workers,
    end_workers,
    explain_failed_start,
    prepare_worker,
)

MIN_JOBS_PER_PROCESS = 64
"""Fewer images than this are done before a process has started."""
MAX_CHUNK = 64
MIN_CHUNKS_PER_PROCESS = 16
"""Many chunks, so that all processes end at about the same time."""
NO_WORKERS = "--workers 0"
"""The option that starts no worker process."""

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
        with explain_failed_start(NO_WORKERS):
            return self.pool.map(function, jobs, chunksize=chunk)


def check_workers(count: int | None) -> None:
    """Check a number of worker processes; None lets ``open_worker_pool`` choose.

    Raises:
        ConfigError: it is negative or above ``MAX_PROCESSES``.
    """
    check_range("--workers", count, 0, MAX_PROCESSES)


@contextmanager
def open_worker_pool(count: int | None, *, n_jobs: int) -> Iterator[WorkerPool]:
    """Yield ``count`` worker processes, none for 0; for None up to one for each processor.

    Where shared memory allows fewer of them, there are fewer, with a warning. However it ends, no
    process stays; an interrupted one does not wait for the jobs that are left.

    Raises:
        ConfigError: ``count`` is negative or above ``MAX_PROCESSES``.
        WorkerError: a process died while the workers were in use, or cannot be started.
    """
    check_workers(count)
    if count is None:
        count = min(usable_processors(), n_jobs // MIN_JOBS_PER_PROCESS, MAX_PROCESSES)
    count = allowed_workers(count, option=NO_WORKERS)
    if count == 0:
        yield WorkerPool(0, None)
        return
    # A search for garbage in what the workers inherit would copy all of its pages, and here it
    # takes long: most of it are rows of the label table. A program may have done so before.
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(count, initializer=_start_worker)
    try:
        yield WorkerPool(count, pool)
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        end_workers(before)
        if isinstance(error, BrokenProcessPool):
            raise WorkerError(
                f"one of {count} worker processes died, most likely for lack of memory. "
                f"Use fewer: --workers {count // 2}."
            ) from error
        raise
    finally:
        if freezes:
            gc.unfreeze()


def _start_worker() -> None:
    prepare_worker()
    cv2.setNumThreads(0)  # OpenCV's threads would fight with the other processes for the cores.
