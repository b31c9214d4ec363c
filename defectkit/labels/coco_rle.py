"""COCO's run-length encoding: lengths of alternating stretches down the columns, 0s first.

Its compressed text holds five bits of a number in each character (from "0" on, the sixth bit says
that more follow, the lowest bits first, the last one's fifth bit is the sign); from the fourth
number on, each is the difference to the one two before.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from defectkit.labels import rle

MOST_CHARACTERS = 8
"""Of one number: 40 bits, more than any image has pixels."""


def to_canonical(counts: str | Sequence[int], shape: tuple[int, int]) -> str:
    """Return the canonical encoding of a mask of ``shape`` (height, width) that COCO writes so.

    Raises:
        RleError: the counts are malformed, or do not fill the mask exactly.
    """
    lengths = parse_counts(counts) if isinstance(counts, str) else _from_list(counts)
    size = shape[0] * shape[1]
    if (lengths < 0).any() or (lengths > size).any() or lengths.sum() != size:
        filled = sum(lengths.tolist())
        raise rle.RleError(
            f"the counts are not those of a mask of {size} pixels: one is negative or they sum "
            f"to {filled}"
        )
    ends = np.cumsum(lengths)
    starts, runs = ends[:-1:2] + 1, lengths[1::2]
    pairs = np.stack([starts[: len(runs)], runs], axis=1)[runs > 0]
    return rle.canonical(" ".join(map(str, pairs.ravel().tolist())), shape)


def to_counts(text: str, shape: tuple[int, int]) -> list[int]:
    """Return COCO's counts of the mask that ``text`` (canonical, 1-based) says."""
    runs = rle.parse_runs(text, shape[0] * shape[1])
    edges = np.stack([runs.starts, runs.starts + runs.lengths], axis=1).ravel()
    stretches: list[int] = np.diff(edges, prepend=0, append=shape[0] * shape[1]).tolist()
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


def parse_counts(text: str) -> npt.NDArray[np.int64]:
    """Return the counts that a compressed text holds, (N,) int64.

    Raises:
        RleError: it holds other characters, ends within a number, or has one that is too large.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes > 0x3F)).any() or not text.isascii():
        raise rle.RleError("the compressed counts hold a character that COCO does not write")
    if not len(codes):
        return codes
    lasts = np.flatnonzero(codes & 0x20 == 0)
    if not len(lasts) or lasts[-1] != len(codes) - 1:
        raise rle.RleError("the compressed counts end within a number: they are cut off")
    firsts = np.append(0, lasts[:-1] + 1)
    if (lasts - firsts >= MOST_CHARACTERS).any():
        raise rle.RleError("the compressed counts hold a number that is too large")
    places = np.arange(len(codes)) - np.repeat(firsts, lasts - firsts + 1)
    numbers = np.add.reduceat((codes & 0x1F) << 5 * places, firsts)
    negative = codes[lasts] & 0x10 != 0
    numbers -= np.where(negative, 1 << 5 * (lasts - firsts + 1), 0)
    for first in (1, 2):  # The first number of all stands alone.
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def _from_list(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    if not all(type(count) is int and 0 <= count < 2**40 for count in counts):
        raise rle.RleError("the counts hold something else than whole numbers from 0")
    return np.array(counts, np.int64)
