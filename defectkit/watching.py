"""How far the work on one large image has come.

It is told where the work is done, and shown where it is watched; what lies between knows nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watch = Callable[[float], None]
"""Is told which share, in [0, 1], is done."""


def watch_nothing(_: float) -> None:
    """Do nothing, where nobody watches."""


_watch: ContextVar[Watch] = ContextVar("_watch", default=watch_nothing)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let ``watch`` be told of the work that this thread does in the block."""
    before = _watch.get()
    _watch.set(watch)
    try:
        yield
    finally:
        _watch.set(before)


@contextmanager
def as_part(start: float, end: float) -> Iterator[None]:
    """Tell of the work in the block as of the part from ``start`` to ``end`` of a larger one."""
    watch = _watch.get()
    with watching(lambda share: watch(start + (end - start) * share)):
        yield


def tell(share: float) -> None:
    """Tell whoever watches which share of the work is done."""
    _watch.get()(share)
