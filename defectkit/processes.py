"""How worker processes start and end: as many as the machine allows, none that outlives its use."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from defectkit.errors import DefectkitWarning, WorkerError

MAX_PROCESSES = 61
"""On Windows Python cannot wait for more, and one process cannot keep more busy."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
"""Where Linux keeps memory and locks that processes share; containers often have little of it."""
BYTES_FOR_LOCKS = 2**14
"""Shared memory in bytes that the locks and queues of one worker process take at most."""
SECONDS_TO_FINISH = 3.0
"""Time that interrupted workers have for the files they are writing."""
PARENT_FIRST_SECONDS = 2.0
"""Time that a worker waits for its parent to end it before a signal to both ends it."""


def allowed_workers(wanted: int, *, option: str, shared_bytes: int = 0) -> int:
    """Return ``wanted`` worker processes, or as many as shared memory allows, with a warning.

    Args:
        wanted: number of worker processes.
        option: what the user writes to have none.
        shared_bytes: shared memory in bytes that each of them needs for its results.
    """
    if not wanted:
        return 0
    allowed, reason = wanted, ""
    try:
        if SHARED_MEMORY.is_dir():
            free = shutil.disk_usage(SHARED_MEMORY).free
            allowed = min(wanted, free // (shared_bytes + BYTES_FOR_LOCKS))
            reason = f"{free:,} bytes are free"
        multiprocessing.Lock()
    except (ImportError, OSError) as error:
        allowed, reason = 0, str(error)
    if allowed < wanted:
        warnings.warn(
            f"shared memory ({SHARED_MEMORY}: {reason}) allows {allowed} of {wanted} worker "
            f"processes: this takes longer. {option} starts none.",
            DefectkitWarning,
            stacklevel=2,
        )
    return allowed


@contextmanager
def explain_failed_start(option: str) -> Iterator[None]:
    """Turn the refusal of the system to start a process into an error with a way out.

    Raises:
        WorkerError: a worker process cannot be started; ``option`` starts none.
    """
    try:
        yield
    except OSError as error:
        raise WorkerError(
            f"a worker process cannot be started ({error}). Start none: {option}."
        ) from error


def prepare_worker() -> None:
    """Let this worker process end when its parent ends it, and when its parent has died.

    Signals may reach all processes of a command: Ctrl+C and a closed terminal do. It is the parent
    that tells what happened; should its workers be gone first, it would report their death.
    """

    def end_later(number: int, _: object) -> None:
        timer = threading.Timer(PARENT_FIRST_SECONDS, os._exit, [128 + number])
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP.
            signal.signal(getattr(signal, name), end_later)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def end_workers(started_before: Collection[BaseProcess]) -> None:
    """End all child processes but ``started_before``: those that are busy for too long are killed.

    Call it after they were asked to end.
    """
    workers = [one for one in multiprocessing.active_children() if one not in started_before]
    deadline = time.monotonic() + SECONDS_TO_FINISH
    try:
        for worker in workers:
            worker.join(max(deadline - time.monotonic(), 0.0))
    finally:  # also after a second Ctrl+C
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        # Where a thread of their pool learned of an end first, it says so a moment later.
        deadline = time.monotonic() + 1.0
        while any(one.exitcode is None for one in workers) and time.monotonic() < deadline:
            time.sleep(0.001)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
