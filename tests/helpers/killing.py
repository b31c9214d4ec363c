"""A process that is killed at a given point."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable

CHANGES = ("replace", "unlink", "rmdir", "mkdir")
"""Functions of ``os`` that change what lies on disk; ``pathlib`` and ``shutil`` call them too."""


def is_killed(call: Callable[[], object], *, at: int) -> bool:
    """Run ``call`` in a process of its own, which kill -9 ends before its change number ``at``.

    Return whether it came so far; without, it has run to its end.
    """
    child = multiprocessing.get_context("fork").Process(target=_run, args=(call, at))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def _run(call: Callable[[], object], at: int) -> None:
    changes = itertools.count(1)

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            if next(changes) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return run

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    call()
