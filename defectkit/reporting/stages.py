"""Work on one item after another in stages that overlap: reading, network, drawing, writing.

Each stage has threads of its own. Results come in the order of the items, and a bounded number of
items is in progress.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

SECONDS_TO_LOOK = 0.2
"""How long a thread waits before it looks whether it is to stop: a signal may not wake it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is done with an item, and the number of threads that do it."""

    work: Callable[[Any], Any]
    threads: int = 1


class Room:
    """Room for what is in progress: ``size`` in any unit, or a single item that is larger."""

    def __init__(self, size: int) -> None:
        self._free = self._size = size
        self._changed = threading.Condition()
        self._closed = False

    def take(self, size: int) -> None:
        """Wait until there is room for ``size``, then take it."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free >= size)
            self._free -= size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def run_stages(
    items: Iterable[Any], stages: Sequence[Stage], *, ahead: int, room: Room | None = None
) -> Generator[Any, None, None]:
    """Yield the result of the last stage for each item, in order.

    The items are taken, which may be work too, in a thread of their own; what this or a stage
    raises is raised here, in place of the result. When the iterator is closed, or an exception
    leaves it, no further work begins; what is being computed then is not waited for.

    Args:
        items: what the first stage gets.
        stages: one or more; each gets what the one before returns.
        ahead: max. number of items whose results wait to be taken.
        room: is closed at the end, if items are taken only when it has room for them.
    """
    stop: Future[None] = Future()
    waiting: Queue[Future[Any] | None] = Queue(ahead)
    with _executors(stages) as executors:
        feeder = threading.Thread(
            target=_feed, args=(items, stages, executors, waiting, stop), daemon=True
        )
        feeder.start()
        try:
            while (result := _take(waiting)) is not None:
                while not wait([result], SECONDS_TO_LOOK).done:
                    pass
                yield result.result()
            feeder.join()
        finally:
            stop.set_result(None)
            if room:
                room.close()


@contextmanager
def _executors(stages: Sequence[Stage]) -> Iterator[list[ThreadPoolExecutor]]:
    executors = [ThreadPoolExecutor(stage.threads) for stage in stages]
    done = False
    try:
        yield executors
        done = True
    finally:
        # After the last item all threads are to be gone before anything else: one that still lets
        # go of a compiled graph while the process forks crashes it (seen with OpenVINO).
        for executor in executors:
            executor.shutdown(wait=done, cancel_futures=True)


def _take(waiting: "Queue[Future[Any] | None]") -> "Future[Any] | None":
    while True:
        try:
            return waiting.get(timeout=SECONDS_TO_LOOK)
        except Empty:
            continue


def _feed(
    items: Iterable[Any],
    stages: Sequence[Stage],
    executors: Sequence[ThreadPoolExecutor],
    waiting: "Queue[Future[Any] | None]",
    stop: "Future[None]",
) -> None:
    """Begin the work on each item, and put its result into the queue as soon as there is space."""

    def put(result: "Future[Any] | None") -> None:
        while not stop.done():
            with suppress(Full):
                waiting.put(result, timeout=SECONDS_TO_LOOK)
                return

    def work_on(earlier: "Future[Any]", stage: Stage) -> Any:
        wait([earlier, stop], return_when=FIRST_COMPLETED)
        if stop.done():
            raise CancelledError
        return stage.work(earlier.result())

    try:
        for item in items:
            result: Future[Any] = Future()
            result.set_result(item)
            for stage, executor in zip(stages, executors, strict=True):
                result = executor.submit(work_on, result, stage)
            put(result)
            if stop.done():
                return
        put(None)
    except BaseException as error:
        if not stop.done():  # Else executors take no more work.
            failed: Future[Any] = Future()
            failed.set_exception(error)
            put(failed)
