"""COCO's run-length encoding: lengths of alternating stretches down the columns, 0s first.

Its compressed text has five bits of a number in each character (from "0" on, the sixth bit says
that more follow, the lowest bits first, the last one's fifth bit is the sign); from the fourth
number on, each is the difference to the one two before.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from defectkit.arrays import ImageSize, Int64Array
from defectkit.labels.rle import RleError, Runs

MAX_CHARACTERS = 8
"""Max. characters of one number: 40 bits, more than any image has pixels."""


def runs_from_counts(counts: str | Sequence[int], shape: ImageSize) -> Runs:
    """Return the runs of a mask of ``shape`` that COCO writes as ``counts``, compressed or not.

    Raises:
        RleError: the counts are malformed, or do not fill the mask exactly.
    """
    lengths = parse_counts(counts) if isinstance(counts, str) else _from_list(counts)
    size = shape[0] * shape[1]
    if (lengths < 0).any() or (lengths > size).any() or lengths.sum() != size:
        filled = sum(lengths.tolist())
        raise RleError(
            f"the counts are not those of a mask of {size} pixels: one is negative or they sum "
            f"to {filled}"
        )
    # COCO allows empty stretches within.
    ends = np.cumsum(lengths)
    edges = np.stack([ends[:-1:2], ends[1::2]], axis=1)[lengths[1::2] > 0]
    return Runs(np.diff(edges.ravel(), prepend=0, append=size))


def runs_to_counts(runs: Runs) -> list[int]:
    """Return COCO's counts of the mask with these ``runs``, which do not touch."""
    stretches: list[int] = runs.stretches.tolist()
    return stretches if stretches[-1] or len(stretches) == 1 else stretches[:-1]


def compress(counts: Iterable[int]) -> str:
    """Return the compressed text of counts."""
    numbers = list(counts)
    characters = bytearray()
    for index, number in enumerate(numbers):
        rest = number - (numbers[index - 2] if index > 2 else 0)
        while True:
            bits, rest = rest & 0x1F, rest >> 5
            done = rest == (-1 if bits & 0x10 else 0)
            characters.append(48 + (bits if done else bits | 0x20))
            if done:
                break
    return characters.decode("ascii")


def parse_counts(text: str) -> Int64Array:
    """Return the counts of a compressed text, (N,) int64.

    Raises:
        RleError: it has other characters, ends within a number, or has one that is too large.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes > 0x3F)).any() or not text.isascii():
        raise RleError("the compressed counts have a character that COCO does not write")
    if not len(codes):
        return codes
    lasts = np.flatnonzero(codes & 0x20 == 0)
    if not len(lasts) or lasts[-1] != len(codes) - 1:
        raise RleError("the compressed counts end within a number: they are cut off")
    firsts = np.append(0, lasts[:-1] + 1)
    if (lasts - firsts >= MAX_CHARACTERS).any():
        raise RleError("the compressed counts have a number that is too large")
    places = np.arange(len(codes)) - np.repeat(firsts, lasts - firsts + 1)
    numbers = np.add.reduceat((codes & 0x1F) << 5 * places, firsts)
    negative = codes[lasts] & 0x10 != 0
    numbers -= np.where(negative, 1 << 5 * (lasts - firsts + 1), 0)
    for first in (1, 2):  # The first number of all stands alone.
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def _from_list(counts: Sequence[int]) -> Int64Array:
    if not all(type(count) is int and 0 <= count < 2**40 for count in counts):
        raise RleError("the counts are not all whole numbers from 0")
    return np.array(counts, np.int64)
