"""How signals end a command: in order, once, and within seconds."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_TO_END = 9.0
"""Time for what must be finished or removed before the process ends; then it just ends."""


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let Ctrl+C, SIGTERM and a closed terminal (SIGHUP) end the command as ``sys.exit`` does.

    The exit status is 128 plus the number of the signal. Half-written files are removed, and
    run.json tells what happened. Further signals do not disturb this, and it cannot hang: after
    ``SECONDS_TO_END`` the process ends as it is. After the command is done, a signal ends the
    process at once. One that is ignored (by ``nohup``, or in the background of a shell) stays so.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP.
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    process, watchdogs, done = os.getpid(), list[threading.Timer](), False

    def end(number: int, _: object) -> None:
        status = 128 + number
        if os.getpid() != process:  # a worker process that has inherited this
            os._exit(status)
        if watchdogs:
            return
        if done:  # An exception in the interpreter's end would be a traceback.
            os._exit(status)
        watchdog = threading.Timer(SECONDS_TO_END, os._exit, [status])
        watchdog.daemon = True
        watchdog.start()
        watchdogs.append(watchdog)
        raise SystemExit(status)

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        done = True
        for watchdog in watchdogs:
            watchdog.cancel()
