"""Runs the command line in forks of a process that has imported everything: some 0.1 s per call."""

import ctypes
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import defectkit

HANG_SECONDS = 60.0
GRACE_SECONDS = {False: 2.0, True: 15.0}
"""What a command's own processes have to end after it, by whether it was killed."""
MEMORY_BYTES = 2**33
BEYOND_PERMISSIONS = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: by these root reads what nobody may read."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: status (negative: the signal), all it printed, and what it left."""

    status: int
    text: str
    seconds: float
    orphans: bool = False
    hung: bool = False


@dataclass(frozen=True)
class Kill:
    """A signal after some seconds."""

    number: int
    seconds: float


def open_server() -> Any:
    """Return the context whose children have everything imported."""
    context = multiprocessing.get_context("forkserver")
    modules = [one.name for one in pkgutil.walk_packages(defectkit.__path__, "defectkit.")]
    context.set_forkserver_preload(["torch", "pandas", "matplotlib.pyplot", *modules])
    return context


def run_forked(
    context: Any,
    arguments: Sequence[str],
    folder: Path,
    *,
    kill: Kill | None = None,
    max_file_bytes: int | None = None,
) -> Outcome:
    """Run ``defectkit ARGUMENTS`` in ``folder``; its output goes to a file beside it."""
    printed = folder.with_name("printed.txt")
    parent, child = context.Pipe()
    process = context.Process(
        target=_run, args=(list(arguments), folder, printed, max_file_bytes, child)
    )
    process.start()
    parent.poll(HANG_SECONDS)
    start = time.monotonic()
    process.join(kill.seconds if kill else HANG_SECONDS)
    if kill and process.is_alive():
        os.kill(process.pid, kill.number)
        process.join(HANG_SECONDS)
    seconds, hung = time.monotonic() - start, process.is_alive()
    if hung:
        os.kill(process.pid, signal.SIGABRT)  # faulthandler prints where it hangs
        process.join()
    orphans = _leaves_processes(process.pid, GRACE_SECONDS[kill is not None or hung])
    text = printed.read_bytes().decode("utf-8", "surrogateescape")
    return Outcome(process.exitcode, text, seconds, orphans, hung)


def call_forked(context: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, called in a fork; a hang or a crash raises.

    Raises:
        RuntimeError: it ended without a result.
    """
    parent, child = context.Pipe()
    process = context.Process(target=_call, args=(child, function, arguments))
    process.start()
    child.close()
    try:
        if parent.poll(HANG_SECONDS):
            return parent.recv()
        raise RuntimeError(f"{function.__name__} hangs")
    except EOFError:
        raise RuntimeError(f"{function.__name__} crashed") from None
    finally:
        process.kill()
        process.join()


def _call(connection: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    _be_as_others()
    connection.send(function(*arguments))


def _run(
    arguments: list[str],
    folder: Path,
    printed: Path,
    max_file_bytes: int | None,
    ready: Connection,
) -> None:
    import faulthandler

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    os.chdir(folder)
    _be_as_others()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.argv = ["defectkit", *arguments]
    from defectkit import cli

    cli.orderly_end = _telling(cli.orderly_end, ready)
    cli.main()


def _telling(orderly_end: Callable[[], AbstractContextManager[None]], ready: Connection) -> Any:
    """Tell when signals are answered: before, they end any process of Python as they like."""

    @contextmanager
    def end() -> Iterator[None]:
        with orderly_end():
            ready.send(True)
            yield

    return end


def _be_as_others() -> None:
    """Start workers as a process that is no fork does, and obey permissions as a user does."""
    multiprocessing.set_start_method(None, force=True)
    _obey_permissions()


def _obey_permissions() -> None:
    """Take from root what lets it read and write every file (Linux, version 3 of capabilities)."""
    if os.geteuid() == 0 and sys.platform == "linux":
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capget(header, data) == 0
        data[0] &= ~BEYOND_PERMISSIONS
        data[1] &= ~BEYOND_PERMISSIONS
        assert libc.capset(header, data) == 0


def _leaves_processes(group: int, grace: float) -> bool:
    """Whether processes of the group live on; they are ended."""
    end = time.monotonic() + grace
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    return True
