"""The processes of one training that ``torchrun`` starts side by side, and how they agree.

Each has a rank, from 0; the one of rank 0 is the *first*: it alone writes, draws and prints. In one
process, and inside of ``alone``, all of this does nothing. What is sent goes only between these
processes of one user.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from defectkit.errors import ConfigError, DefectkitError, WorkerError, first_line

Value = TypeVar("Value")

LAUNCHED_BY = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""The variables by which ``torchrun`` tells a process its place."""
PATIENCE = timedelta(hours=6)
"""Time that a process waits for another. One that has died is noticed at once, by its connection;
the first one may be busy for long, with fitting or drawing."""
SIGNAL_SECONDS = 2.0
"""Time that a process waits, after it has lost another one, for the signal that may have ended that
one: ``torchrun`` sends its signals to all, but not at the same moment."""
LAUNCHER_SECONDS = 0.5
"""How often it is checked that the launcher lives."""

_rank, _world = 0, 1
_control: Any = None
"""The group for what is no tensor of the training: its collectives never mix with those."""


def launched() -> tuple[int, int]:
    """Return rank and number of the processes as ``torchrun`` tells; (0, 1) without it.

    Raises:
        ConfigError: a variable is no number in range.
    """
    if not all(name in os.environ for name in LAUNCHED_BY):
        return 0, 1
    try:
        place, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        place, count = -1, 0
    if not 0 <= place < count:
        raise ConfigError(
            f"RANK={os.environ['RANK']!r} and WORLD_SIZE={os.environ['WORLD_SIZE']!r} are no place "
            "among processes. Start them with torchrun, or unset both variables."
        )
    return place, count


def launch_name() -> str:
    """Return a name of the launch, the same after ``torchrun`` has restarted its processes."""
    if launched()[1] == 1:
        return ""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    # The default name is that of many launches; the launcher outlives a restart.
    return f"{socket.gethostname()}:{os.getppid()}" if name == "none" else name


def is_restarted() -> bool:
    """Return whether ``torchrun`` has started these processes again after the end of one."""
    return launched()[1] > 1 and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def rank() -> int:
    """Return the rank of this process, from 0."""
    return _rank


def world() -> int:
    """Return the number of processes."""
    return _world


def is_first() -> bool:
    """Return whether this process is the one that writes, draws and prints."""
    return _rank == 0


def on_this_machine() -> int:
    """Return the number of processes on this machine, which share its processors."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _world > 1 else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` has started; without it nothing happens.

    Should the launcher die, the process ends in order, as after SIGTERM.

    Raises:
        ConfigError: there are more processes on this machine than GPUs.
        WorkerError: another process has ended.
    """
    global _rank, _world, _control
    place, count = launched()
    if count == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():  # by the program that calls defectkit: then it has its own plan
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend, local = "cpu:gloo,cuda:nccl", int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun started more processes on this machine than its "
                f"{torch.cuda.device_count()} GPUs. Give --nproc-per-node "
                f"{torch.cuda.device_count()}, or hide them for --device cpu: "
                "CUDA_VISIBLE_DEVICES=''."
            )
        torch.cuda.set_device(local)
    _rank, _world = place, count
    with explain_lost_process():
        dist.init_process_group(backend, timeout=PATIENCE)
        _control = dist.new_group(backend="gloo", timeout=PATIENCE)
    _end_with_launcher()
    try:
        yield
    finally:
        _rank, _world, _control = 0, 1, None
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Let this process do something by itself, as if there were no others."""
    global _rank, _world
    before = _rank, _world
    _rank, _world = 0, 1
    try:
        yield
    finally:
        _rank, _world = before


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn the failure of a collective into an error with a way out.

    Raises:
        WorkerError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if _world == 1 or not _is_lost(error):
            raise
        time.sleep(SIGNAL_SECONDS)
        lost = WorkerError(
            f"another process of this training has ended ({first_line(error)}); its own message, "
            "if it could give one, is beside this one. Continue with --resume, or let torchrun do "
            "so by its own option for restarts (README)."
        )
        lost.told_by_another = not is_first()
        raise lost from error


def _is_lost(error: RuntimeError) -> bool:
    if type(error).__module__.startswith("torch.distributed") or type(error).__name__.startswith(
        "Dist"
    ):
        return True
    text = str(error)
    return any(word in text for word in ("gloo", "NCCL", "Connection closed by peer"))


def refuse_several(option: str) -> None:
    """Refuse an option whose work several processes cannot share.

    Raises:
        ConfigError: there are several.
    """
    if _world > 1:
        raise ConfigError(
            f"several processes cannot share a training with {option}. Start it without torchrun, "
            f"or without {option}."
        )


@contextmanager
def agreed() -> Iterator[None]:
    """Let all processes fail together: with the error of the lowest rank that has one.

    Only ``DefectkitError`` is agreed on. There must be no collective inside.

    Raises:
        DefectkitError: of this process, or of another one; it is ``told_by_another`` then.
    """
    failure = None
    try:
        yield
    except DefectkitError as error:
        if _world == 1:
            raise
        failure = error
    if _world > 1:
        raise_first(failure)


def raise_first(failure: DefectkitError | None) -> None:
    """Raise the error of the lowest rank that has one, in all processes.

    Raises:
        DefectkitError: as ``agreed``.
    """
    failures = _gather_everywhere(failure)
    if any(failures):
        failure = next(one for one in failures if one)
        # The first process tells it, whoever failed.
        failure.told_by_another = not is_first()
        raise failure


def by_first(function: Callable[[], Value]) -> Value:
    """Call a function in the first process alone, and return its result in all.

    Raises:
        DefectkitError: the function has raised it.
    """
    if _world == 1:
        return function()
    result: Any = None
    failure: DefectkitError | None = None
    if is_first():
        try:
            with alone():
                result = function()
        except DefectkitError as error:
            failure = error
    result, failure = from_first((result, failure))
    if failure:
        failure.told_by_another = not is_first()
        raise failure
    return result  # type: ignore[no-any-return]


def from_first(value: Value) -> Value:
    """Return the value that the first process has."""
    if _world == 1:
        return value
    import torch.distributed as dist

    values: list[Any] = [value if is_first() else None]
    with explain_lost_process():
        dist.broadcast_object_list(values, src=0, group=_control)
    return value if is_first() else values[0]


def gather(value: Value) -> list[Value]:
    """Return the values of all processes by rank, in the first one; in the others nothing."""
    if _world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * _world if is_first() else None
    with explain_lost_process():
        dist.gather_object(value, values, dst=0, group=_control)
    return values or []


def highest(*numbers: float) -> list[float]:
    """Return the highest of each of these numbers in all processes."""
    if _world == 1:
        return list(numbers)
    import torch
    import torch.distributed as dist

    values = torch.tensor(numbers, dtype=torch.float64)
    with explain_lost_process():
        dist.all_reduce(values, dist.ReduceOp.MAX, group=_control)
    return values.tolist()


def _gather_everywhere(value: Value) -> list[Value]:
    import torch.distributed as dist

    values: list[Any] = [None] * _world
    with explain_lost_process():
        dist.all_gather_object(values, value, group=_control)
    return values


def _end_with_launcher() -> None:
    """End this process as SIGTERM does when its launcher has died: nobody else would."""
    import signal

    launcher = os.getppid()
    if sys.platform == "win32":  # there a process keeps the number of a parent that has ended
        return

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LAUNCHER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
