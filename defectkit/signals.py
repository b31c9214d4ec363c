"""How signals end a command: in order, once, and within seconds."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

SECONDS_TO_END = 9.0
"""Time for what must be finished or removed before the process ends; then it just ends."""
SECONDS_TO_COME_AGAIN = 0.05
"""Time after which a signal that Python has ignored comes again."""


class _SignalExit(SystemExit):
    """The signal ``number`` ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _ending_signals() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP.
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def noted_signals() -> Iterator[None]:
    """Note the signals that would end the command, for processes that end together.

    Each asks for its own by ``noted_signal``, and tells the others. One that nobody has asked for
    is heard at the end of the context, as if it came then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = {
        number: signal.signal(number, lambda number, _: _noted.append(number))
        for number in _ending_signals()
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if unheard := noted_signal():
            signal.raise_signal(unheard)


_noted: list[int] = []


def noted_signal() -> int:
    """Return the last signal that was noted since this was asked, else 0."""
    last = _noted[-1] if _noted else 0
    _noted.clear()
    return last


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let Ctrl+C, SIGTERM and a closed terminal (SIGHUP) end the command as ``sys.exit`` does.

    The exit status is 128 plus the number of the signal. Half-written files are removed, and
    run.json tells what happened. Further signals do not disturb this, and it cannot hang: after
    ``SECONDS_TO_END`` the process ends as it is. After the command is done, a signal ends the
    process at once. One that is ignored (by ``nohup``, or in the background of a shell) stays so.
    One that comes where Python drops exceptions, as in a destructor, comes again soon after.
    """
    heard = [number for number in _ending_signals() if signal.getsignal(number) != signal.SIG_IGN]
    # On Windows os.kill ends a process; elsewhere it wakes the main thread too.
    send = signal.raise_signal if os.name == "nt" else partial(os.kill, os.getpid())
    process, timers, dropped, done = os.getpid(), list[threading.Timer](), set[int](), False

    def end(number: int, _: object) -> None:
        status = 128 + number
        if os.getpid() != process:  # a worker process that has inherited this
            os._exit(status)
        if timers and number not in dropped:
            return
        if done:  # An exception in the interpreter's end would be a traceback.
            os._exit(status)
        if not timers:
            call_later(SECONDS_TO_END, os._exit, status)
        dropped.clear()
        raise _SignalExit(number)

    def call_later(seconds: float, function: Callable[..., None], *arguments: int) -> None:
        timer = threading.Timer(seconds, function, arguments)
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def come_again(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, _SignalExit):
            show_ignored(ignored)
        elif not done:
            dropped.add(ignored.exc_value.number)
            call_later(SECONDS_TO_COME_AGAIN, send, ignored.exc_value.number)

    for number in heard:
        signal.signal(number, end)
    show_ignored, sys.unraisablehook = sys.unraisablehook, come_again
    try:
        yield
    finally:
        done = True
        sys.unraisablehook = show_ignored
        for timer in timers:
            timer.cancel()
