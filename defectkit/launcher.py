"""What ``torchrun`` tells the processes that it starts: it needs no torch to be read."""

import os
import signal
import socket
import sys
import threading
import time

from defectkit.errors import ConfigError

LAUNCHED_BY = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""The variables by which ``torchrun`` tells a process its place."""
LAUNCHER_SECONDS = 0.5
"""How often it is checked that the launcher lives."""


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


def restarts() -> int:
    """Return how often ``torchrun`` has started these processes again after the end of one."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count) if launched()[1] > 1 and count.isdecimal() else 0


def on_this_machine() -> int:
    """Return the number of processes on this machine, which share its processors."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched()[1] > 1 else 1


def end_with_launcher() -> None:
    """End this process as SIGTERM does when its launcher has died: nobody else would."""
    launcher = os.getppid()
    if sys.platform == "win32":  # there a process keeps the number of a parent that has ended
        return

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LAUNCHER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
