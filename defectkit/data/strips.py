"""Strips of an image, to work on one after another."""

from collections.abc import Iterator

STRIP = 256
"""Rows of an image that are worked on at a time, where the numbers between take much memory."""


def row_slices(height: int) -> Iterator[slice]:
    """Yield the strips of an image of ``height`` rows, from the top down."""
    for top in range(0, height, STRIP):
        yield slice(top, min(top + STRIP, height))
