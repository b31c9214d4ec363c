"""The processes of one training that ``torchrun`` starts side by side, and how they agree.

Each has a rank, from 0; the one of rank 0 is the *first*: it alone writes, draws and prints. In one
process, and inside of ``alone``, all of this does nothing. What is sent goes only between these
processes of one user.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from defectkit import launcher
from defectkit.errors import ConfigError, DefectkitError, WorkerError, first_line
from defectkit.process_settings import environment

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

NO_HINTS = ("TORCH_CPP_LOG_LEVEL", "ERROR")
"""The variable that keeps torch from printing hints for its developers, read at its import."""
PATIENCE = timedelta(hours=6)
"""Time that a process waits for another. One that has died is noticed at once, by its connection;
the first one may be busy for long, with fitting or drawing."""
SIGNAL_SECONDS = 2.0
"""Time that a process waits, after it has lost another one, for the signal that may have ended that
one: ``torchrun`` sends its signals to all, but not at the same moment."""

_rank, _world = 0, 1
_control: Any = None
"""The group for what is no tensor of the training: its collectives never mix with those."""


def rank() -> int:
    """Return the rank of this process, from 0."""
    return _rank


def world() -> int:
    """Return the number of processes."""
    return _world


def is_first() -> bool:
    """Return whether this process is the one that writes, draws and prints."""
    return _rank == 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` has started; without it nothing happens.

    Should the launcher die, the process ends in order, as after SIGTERM.

    Raises:
        ConfigError: there are more processes on this machine than GPUs.
        WorkerError: another process has ended.
    """
    global _rank, _world, _control
    place, count = launcher.launched()
    if count == 1:
        yield
        return
    with environment(*NO_HINTS):
        import torch
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():  # by the program that calls defectkit: then it has its own plan
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend, local = "cpu:gloo,cuda:nccl", int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun started more processes on this machine than its "
                f"{torch.cuda.device_count()} GPUs. Start one for each GPU, or hide all of them "
                "for a training on CPUs: CUDA_VISIBLE_DEVICES=''."
            )
        torch.cuda.set_device(local)
    _rank, _world = place, count
    with explain_lost_process():
        # The launcher keeps its store over restarts, with addresses of processes that have died.
        store, *_ = next(iter(rendezvous("env://", place, count, timeout=PATIENCE)))
        own = PrefixStore(f"start-{launcher.restarts()}", store)
        dist.init_process_group(backend, store=own, rank=place, world_size=count, timeout=PATIENCE)
        _control = dist.new_group(backend="gloo", timeout=PATIENCE)
    launcher.end_with_launcher()
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


def add_up(values: "torch.Tensor") -> "torch.Tensor":
    """Return the sums of tensors, (N,), over all processes: the same in each, to the last bit."""
    import torch.distributed as dist

    # One round of messages; a reduction takes two, and those of a step are many and small.
    parts = values.new_empty(_world * len(values))
    with explain_lost_process():
        dist.all_gather_into_tensor(parts, values)
    return parts.view(_world, -1).sum(dim=0)


def _gather_everywhere(value: Value) -> list[Value]:
    import torch.distributed as dist

    values: list[Any] = [None] * _world
    with explain_lost_process():
        dist.all_gather_object(values, value, group=_control)
    return values
