"""The memory that a function takes, as Linux counts it."""

import gc
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def can_measure() -> bool:
    """Whether the system counts it."""
    return RESET.exists()


def peak_bytes(function: Callable[[], object]) -> int:
    """The most bytes that a function takes at a time, its result included."""
    gc.collect()
    RESET.write_text("5")  # The peak is that of now.
    before = _status("VmRSS:")
    result = function()
    taken = _status("VmHWM:") - before
    del result
    return taken


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def taken_bytes() -> int:
    """The bytes that the process has taken by now."""
    return _status("VmRSS:")
