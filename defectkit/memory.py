"""Free, taken and freed memory, and the refusal of an image that needs more than is free.

Linux ends a process that takes too much without a word, so that no error could be caught.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from defectkit.errors import ImageMemoryError

GIB = 2**30
UNCHECKED = 2**24
"""A need that is not checked, in bytes: asking for what is free takes longer than a small image."""
SYSTEM = Path("/")
"""Where the files of Linux are that tell what is free."""
CGROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit and use of a container, and its part that is a cache of files, in versions 2 and 1."""


def check_memory(need: float, *, what: str) -> None:
    """Check that ``need`` bytes are free, if they are many; ``what`` begins the message.

    Raises:
        ImageMemoryError: they are not.
    """
    if need < UNCHECKED:
        return
    free = free_memory()
    if free is not None and need > free:
        raise ImageMemoryError(
            f"{what} takes about {need / GIB:.2f} GiB of memory, but {free / GIB:.2f} GiB are "
            "free. Cut the image into parts, or use a machine with more memory."
        )


def free_memory() -> int | None:
    """Return the bytes that this process may still take, None where the system does not tell."""
    return min((max(free, 0) for free in _free()), default=None)


def peak_memory() -> int | None:
    """Return the most bytes that this process has taken so far, None on Windows."""
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


def return_freed() -> None:
    """Give the system back what was freed; glibc keeps much of it for later, in pieces.

    For the work on one large image, between its parts. Other systems do so themselves.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # Another C library has no such function.
            ctypes.CDLL(None).malloc_trim(0)


def _free() -> Iterator[int]:
    """Yield what is free on the machine, in the container, and under the limit of the process."""
    with suppress(OSError, ValueError, KeyError):
        yield _read_table("proc/meminfo")["MemAvailable:"] * 1024
    root = SYSTEM / "sys/fs/cgroup"
    for limit, used, cache in CGROUPS:
        with suppress(OSError, ValueError):  # Without a limit its text is "max".
            bound, taken = (int((root / name).read_text()) for name in (limit, used))
            statistics = _read_table((root / limit).with_name("memory.stat"))
            yield bound - taken + statistics.get(cache, 0)
    with suppress(ImportError, OSError, ValueError, KeyError):
        import resource

        bound, _ = resource.getrlimit(resource.RLIMIT_AS)
        if bound != resource.RLIM_INFINITY:
            yield bound - _read_table("proc/self/status")["VmSize:"] * 1024
    with suppress(AttributeError, OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_table(path: Path | str) -> dict[str, int]:
    """Return the numbers of a file of the system, by the first word of their line."""
    rows = (line.split() for line in (SYSTEM / path).read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
