"""Settings of the whole process: changed while they are needed, then as they were before.

defectkit may be one of many libraries in a program. So no module changes a setting for good; only
the command line (``cli.py``) does, whose process is its own.
"""

import csv
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

_LOCK = threading.RLock()
_IMPORTED_IN = os.getpid()


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread may hold the lock at a fork, and is not there in the child to release it.
    os.register_at_fork(after_in_child=_renew_lock)


def attribute(target: Any, name: str) -> Callable[[Any], Any]:
    """Return what ``setting`` needs to change an attribute, such as one of a module."""

    def change(value: Any) -> Any:
        before = getattr(target, name)
        setattr(target, name, value)
        return before

    return change


@contextmanager
def setting(change: Callable[[Any], Any], value: Any) -> Iterator[None]:
    """Change a setting by a function that returns the value before; one thread at a time."""
    with _LOCK:
        before = change(value)
        try:
            yield
        finally:
            change(before)


def next_csv_row(reader: Iterator[list[str]]) -> list[str] | None:
    """Return the next row of a CSV reader, None at the end; its cells may have any length."""
    # The csv module by itself refuses cells above 131,072 characters.
    with setting(csv.field_size_limit, 2**31 - 1):
        return next(reader, None)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def let_idle_threads_sleep() -> None:
    """Let idle threads of the numeric libraries sleep; call it before torch is first imported.

    By default the threads of OpenMP spin while they wait for each other. As soon as anything else
    runs on the machine, such as loader processes, they block its processors, and each training step
    takes several times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def is_forked() -> bool:
    """Return whether this process is a copy of the one that imported defectkit, without threads."""
    return os.getpid() != _IMPORTED_IN


@contextmanager
def own_torch_settings() -> Iterator[None]:
    """Import torch and use our settings of it: numbers of 32 bits, and random draws of our own.

    Afterwards all is as before. Where several threads are inside, the last one restores it.
    """
    with environment("OMP_WAIT_POLICY", "PASSIVE"):  # read when torch is imported
        import torch  # noqa: F401
    _SHARED.enter()
    try:
        with own_thread_settings():
            yield
    finally:
        _SHARED.leave()


@contextmanager
def own_thread_settings() -> Iterator[None]:
    """Use our settings of torch for this thread: its device is the CPU unless another is named.

    Numbers too small to matter are flushed to 0, since they make a CPU many times slower. In a
    process that was forked, torch and OpenCV compute in this thread alone: they would wait forever
    for threads that were not copied.
    """
    import torch

    with ExitStack() as changed:
        before = _flushes_denormals()
        torch.set_flush_denormal(True)
        changed.callback(torch.set_flush_denormal, before)
        if torch.get_default_device().type != "cpu":
            changed.enter_context(torch.device("cpu"))
        if is_forked():
            import cv2

            changed.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            changed.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(0)  # With 1 it would wait for its threads to end.
        yield


class _SharedSettings:
    """The settings of torch that all threads share, from the first that enters to the last."""

    def __init__(self) -> None:
        self.inside = 0
        self.restored = ExitStack()

    def enter(self) -> None:
        import torch

        with _LOCK:
            self.inside += 1
            if self.inside > 1:
                return
            self.restored.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
            self.restored.enter_context(torch.random.fork_rng(devices=_used_gpus()))

    def leave(self) -> None:
        with _LOCK:
            self.inside -= 1
            if not self.inside:
                self.restored.close()


_SHARED = _SharedSettings()


def _used_gpus() -> list[int]:
    import torch

    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if initialized else []


def _flushes_denormals() -> bool:
    import torch

    # torch can be told, but not asked.
    return not (torch.tensor(1e-40, dtype=torch.float32, device="cpu") / 2).item()
