"""The connection of this process to a Ray cluster."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from defectkit.errors import ConfigError, first_line, shown
from defectkit.files import read_limited
from defectkit.optional_packages import needed_package

SECONDS_TO_ANSWER = 10.0
"""Time that the machine of an address has to take a connection."""
LAST_CLUSTER = ("ray", "ray_current_cluster")
"""The file of temporary ones in which Ray keeps the address of this machine's last cluster."""
CLIENT_PORT = 10001
"""The port of ``ray://``, where an address names none."""
WAYS = (
    "Give --address as 'auto' for the cluster that this machine is in, HOST:PORT of the head of "
    "one, or ray://HOST:10001; without --address Ray is started on this machine."
)


@contextmanager
def connected_to_ray(address: str | None) -> Iterator[Any]:
    """Connect this process to a Ray cluster meanwhile, and yield the module ``ray``.

    Without an address it is the cluster that ``RAY_ADDRESS`` names, or that runs on this machine,
    or else one that is started here for as long as it is needed. A program that is connected
    already stays so.

    Raises:
        MissingPackageError: Ray is not installed.
        ConfigError: there is no cluster at the address.
    """
    with needed_package("ray", extra="ray", what="--engine ray"):
        import ray
    if ray.is_initialized():
        if address is not None:
            raise ConfigError(
                f"this program is connected to Ray already, so that --address {shown(address)} "
                "cannot be used. Leave it out."
            )
        yield ray
        return
    address = _answering(address)
    try:
        with _kept_handlers():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of many kinds, by what is wrong
        told = f" at {shown(address)}" if address is not None else ""
        raise ConfigError(f"no connection to Ray{told}: {first_line(error)}. {WAYS}") from error
    try:
        yield ray
    finally:
        with _kept_handlers():
            ray.shutdown()


def _answering(address: str | None) -> str | None:
    """Return the address to give to Ray, which asks for minutes where nobody answers.

    Without an address Ray takes the last cluster of this machine, which may have ended without
    saying so: then a new one is started.

    Raises:
        ConfigError: nobody answers there.
    """
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    if address == "local":
        return address
    if address not in (None, "auto"):
        _check_answer(address)
        return address
    last = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), *LAST_CLUSTER)
    try:
        _check_answer(read_limited(last).decode().strip())
    except ConfigError:
        if address == "auto":
            raise
        return "local"
    except (OSError, ValueError):
        pass  # There was none.
    return address


def _check_answer(address: str) -> None:
    """Check that somebody listens where an address says.

    Raises:
        ConfigError: nobody does, or the address has another form.
    """
    scheme, _, place = address.rpartition("://")
    try:
        if scheme not in ("", "ray"):
            raise ValueError(f"{scheme}:// is no form of an address")
        parts = urlsplit(f"//{place}")
        port = parts.port or (CLIENT_PORT if scheme else None)
        if not parts.hostname or port is None:
            raise ValueError("it has no host or no port")
        socket.create_connection((parts.hostname, port), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"no Ray cluster answers at {shown(address)}: {reason}. {WAYS}"
        ) from error


@contextmanager
def _kept_handlers() -> Iterator[None]:
    """Keep what is done at signals: Ray, which starts and ends, puts its own in place."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread has handlers
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP.
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
