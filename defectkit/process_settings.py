"""Settings of the whole process: changed while they are needed, then as they were before.

defectkit may be one of many libraries in a program. So no module changes a setting for good; only
the command line (``cli.py``) does, whose process is its own.
"""

import csv
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from defectkit.optional_packages import needed_package

IDLE_THREADS_SLEEP = ("OMP_WAIT_POLICY", "PASSIVE")
"""The variable that lets idle threads of the numeric libraries sleep; torch reads it when imported.

By default the threads of OpenMP spin while they wait for each other. As soon as anything else runs
on the machine, such as loader processes, they block its processors, and each training step takes
several times as long.
"""

_LOCK = threading.RLock()
_IMPORTED_IN = os.getpid()
_single_threaded: set[int] = set()
"""The forked processes, this one and those before it, in which ``compute_in_one_thread`` was."""

Settings = Callable[[], AbstractContextManager[None]]


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
    """Change a setting by a function that returns the value before."""
    before = change(value)
    try:
        yield
    finally:
        change(before)


def shared(settings: Settings) -> Settings:
    """Let threads be inside of settings together: the first changes them, the last restores them.

    None waits for another: a lock is held only while they are changed.
    """
    inside, changed = 0, ExitStack()

    @contextmanager
    def enter() -> Iterator[None]:
        nonlocal inside
        with _LOCK:
            if not inside:
                changed.enter_context(settings())
            inside += 1
        try:
            yield
        finally:
            with _LOCK:
                inside -= 1
                if not inside:
                    changed.close()

    return enter


@shared
@contextmanager
def _long_csv_cells() -> Iterator[None]:
    # The csv module by itself refuses cells above 131,072 characters.
    with setting(csv.field_size_limit, 2**31 - 1):
        yield


def next_csv_row(reader: Iterator[list[str]]) -> list[str] | None:
    """Return the next row of a CSV reader, None at the end; its cells may have any length."""
    with _long_csv_cells():
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
    """Set ``IDLE_THREADS_SLEEP`` for good, unless the user has set it, before torch is imported."""
    os.environ.setdefault(*IDLE_THREADS_SLEEP)


def is_forked() -> bool:
    """Return whether this process is a copy of the one that imported defectkit, without threads."""
    return os.getpid() != _IMPORTED_IN


@contextmanager
def own_torch_settings() -> Iterator[None]:
    """Import torch and use our settings of it: numbers of 32 bits, and random draws of our own.

    Afterwards all is as before. Where several threads are inside, the last one restores it.

    Raises:
        MissingPackageError: torch is not installed.
    """
    needed = needed_package("torch", extra="train", what="what trains, or uses a trained model,")
    with environment(*IDLE_THREADS_SLEEP), needed:
        import torch  # noqa: F401
    with _numbers_and_draws(), own_thread_settings():
        yield


@contextmanager
def own_thread_settings() -> Iterator[None]:
    """Use our settings of torch for this thread: its device is the CPU unless another is named.

    Numbers too small to matter are flushed to 0, since they make a CPU many times slower. Numbers
    have 32 bits, and gradients are there for who needs them, also where the program is inside of
    ``torch.autocast`` or ``torch.inference_mode``.

    In a process that was forked, torch and OpenCV compute in this thread alone, from then on: they
    would wait forever for threads that were not copied.
    """
    import torch

    with ExitStack() as changed:
        before = _flushes_denormals()
        torch.set_flush_denormal(True)
        changed.callback(torch.set_flush_denormal, before)
        if torch.get_default_device().type != "cpu":
            changed.enter_context(torch.device("cpu"))
        changed.enter_context(torch.inference_mode(False))  # that of torch.no_grad as well
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                changed.enter_context(torch.autocast(kind, enabled=False))
        if is_forked():
            compute_in_one_thread()
        yield


def compute_in_one_thread() -> None:
    """Let torch, where it is imported, and OpenCV start no threads in a process that was forked."""
    import cv2

    if os.getpid() not in _single_threaded:
        _single_threaded.add(os.getpid())
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        cv2.setNumThreads(0)  # With 1, which it then says it has, it waits for its threads to end.


@shared
@contextmanager
def _numbers_and_draws() -> Iterator[None]:
    """Use the settings of torch that all threads share."""
    import torch

    with (
        setting(_set_default_dtype, torch.float32),
        _all_bits(torch.backends.cudnn, torch.backends.cudnn.conv),  # type: ignore[attr-defined]
        _all_bits(torch.backends.cuda.matmul, torch.backends.cuda.matmul),
        torch.random.fork_rng(devices=_used_gpus()),
    ):
        yield


def _all_bits(backend: Any, newer: Any) -> AbstractContextManager[None]:
    """Let a GPU compute what is in 32 bits with all of them; by itself it takes 19 (TF32).

    So it finds what a CPU finds. Torch has two settings for this and fails on reading ``backend``'s
    where a program has set that of ``newer``. Where it has not, only the older one will do: to
    export a model, torch reads it.
    """
    try:
        backend.allow_tf32  # noqa: B018
    except RuntimeError:
        return setting(attribute(newer, "fp32_precision"), "ieee")
    return setting(attribute(backend, "allow_tf32"), False)


def _set_default_dtype(dtype: Any) -> Any:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    return before


def _used_gpus() -> list[int]:
    import torch

    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if initialized else []


def _flushes_denormals() -> bool:
    import torch

    # torch can be told, but not asked.
    return not (torch.tensor(1e-40, dtype=torch.float32, device="cpu") / 2).item()
