"""Pairs of keypoints of different images with nearly the same descriptor, in bounded memory.

There may be thousands of such pairs for an image. They are gathered in sorted runs, and as soon as
these are more than ``MAX_HELD`` pairs, they go to a file; the runs are then merged, a range of
images at a time.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from defectkit.arrays import Int32Array, Int64Array, UInt64Array
from defectkit.files import output_error
from defectkit.preparation.leaks.keypoints import COORDINATE_BITS, DESCRIPTOR_BITS

SORTS = 12
"""Number of times that the keypoints are sorted by descriptor, each time with other bits first."""
NUMBER_BITS = 64 - DESCRIPTOR_BITS
"""Bits that are left for the number of a keypoint: enough for 11 million images."""
NEIGHBORS = 4
"""Number of keypoints after it in the sorted order with which each is compared."""
MAX_DIFFERING_BITS = 7
"""Max. number of bits in which two descriptors of the same spot differ."""
PLACE_BITS = 2 * COORDINATE_BITS + 3
"""Bits of a packed keypoint below its descriptor."""
STEP = 2**20
"""Number of sorted keypoints that are compared at a time."""
MAX_HELD = 2**21
"""Number of pairs that are held in memory before they go to a file: 16 MiB."""
READ_AT_ONCE = 2**13
"""Number of pairs of a run that are read at a time."""


@contextmanager
def find_similar_keypoints(
    packed: UInt64Array, owner: Int32Array, folder: Path | None = None
) -> Iterator["SimilarKeypoints"]:
    """Yield the pairs of keypoints of different images with nearly the same descriptor.

    Args:
        packed: the keypoints, as ``find_keypoints`` packs them, those of an image side by side.
        owner: the number of the image of each, ascending.
        folder: where the pairs lie meanwhile, if there are many; by default the system's folder
            for temporary files. Nothing is left there.

    Raises:
        OutputError: there is no space for them, or ``folder`` cannot be written.
    """
    with ExitStack() as stack:
        pairs = SimilarKeypoints(folder, stack)
        for sort in range(SORTS):
            _compare_neighbors(_sorted(packed, sort), owner, pairs)
        yield pairs


class SimilarKeypoints:
    """Pairs of keypoints, in sorted runs.

    A pair is one integer: the smaller number of the two, which is that of the earlier image too,
    and in the ``NUMBER_BITS`` below it the larger.
    """

    def __init__(self, folder: Path | None, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._file: IO[bytes] | None = None
        self._held: list[Int64Array] = []
        self._runs: list[_Run] = []

    def add(self, pairs: Int64Array) -> None:
        """Add some pairs, in any order."""
        self._held.append(pairs)
        if sum(map(len, self._held)) >= MAX_HELD:
            run = self._take_held()
            try:
                if self._file is None:
                    file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
                    self._file = self._stack.enter_context(file)
                start = self._file.seek(0, 2)
                content = run.data.cast("B")
                while content:  # A file without a buffer may take less than it is given.
                    content = content[self._file.write(content) :]
            except OSError as error:
                place = self._folder or Path(tempfile.gettempdir())
                raise output_error(place / "pairs of keypoints", error) from error
            self._runs.append(_Run(self._file, start, len(run)))

    def split(self, ends: Sequence[int]) -> Iterator[Int64Array]:
        """Yield the pairs whose smaller number is below each of ``ends``, and not below the last.

        They are sorted, each once. ``ends`` ascend. This can be asked for once.
        """
        last = self._take_held()
        for end in ends:
            cut = int(np.searchsorted(last, end << NUMBER_BITS))
            parts = [last[:cut], *(run.take_below(end << NUMBER_BITS) for run in self._runs)]
            last = last[cut:]
            yield _sorted_once(parts)

    def _take_held(self) -> Int64Array:
        held, self._held = self._held, []
        return _sorted_once(held)


class _Run:
    """Sorted pairs in a file, which are read once, in their order."""

    def __init__(self, file: IO[bytes], start: int, count: int) -> None:
        self._file, self._start, self._left = file, start, count
        self._ahead = np.empty(0, np.int64)

    def take_below(self, bound: int) -> Int64Array:
        """Return those below ``bound`` that were not taken yet."""
        taken = []
        while True:
            cut = int(np.searchsorted(self._ahead, bound))
            taken.append(self._ahead[:cut])
            self._ahead = self._ahead[cut:]
            if len(self._ahead) or not self._left:
                return np.concatenate(taken)
            self._ahead = np.empty(min(READ_AT_ONCE, self._left), np.int64)
            self._file.seek(self._start)
            content = self._ahead.data.cast("B")
            while content:
                count = self._file.readinto(content)  # type: ignore[attr-defined]
                assert count, "the file of pairs ends too early"
                content = content[count:]
            self._start += self._ahead.nbytes
            self._left -= len(self._ahead)


def _sorted_once(parts: list[Int64Array]) -> Int64Array:
    """Return what is in ``parts``, which is emptied, sorted and each value once."""
    values = np.concatenate(parts) if parts else np.empty(0, np.int64)
    parts.clear()  # There may be very many.
    values.sort()
    is_new = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_new[1:])
    return np.asarray(values[is_new])


def _sorted(packed: UInt64Array, sort: int) -> UInt64Array:
    """Return the rotated descriptors of the keypoints with their numbers below them, sorted."""
    both = np.empty(len(packed), np.uint64)
    for start in range(0, len(packed), STEP):
        code = packed[start : start + STEP] >> np.uint64(PLACE_BITS)
        rotated = _rotate_bits(code, sort * DESCRIPTOR_BITS // SORTS)
        numbers = np.arange(start, start + len(code), dtype=np.uint64)
        both[start : start + STEP] = rotated << np.uint64(NUMBER_BITS) | numbers
    both.sort()  # Sorting both as one number is several times faster than one by the other.
    return both


def _compare_neighbors(both: UInt64Array, owner: Int32Array, pairs: SimilarKeypoints) -> None:
    """Add the pairs of neighbors in the sorted order that differ in few bits."""
    for start in range(0, len(both), STEP):
        some = both[start : start + STEP + NEIGHBORS]
        number = (some & np.uint64(2**NUMBER_BITS - 1)).astype(np.int64)
        code = some >> np.uint64(NUMBER_BITS)
        whose = owner[number]
        for step in range(1, min(NEIGHBORS, len(code) - 1) + 1):
            count = min(STEP, len(code) - step)  # What is beyond is the next start's.
            near = np.bitwise_count(code[:count] ^ code[step : step + count]) <= MAX_DIFFERING_BITS
            near &= whose[:count] != whose[step : step + count]
            at = np.flatnonzero(near)
            i, j = number[at], number[at + step]
            pairs.add(np.minimum(i, j) << NUMBER_BITS | np.maximum(i, j))


def _rotate_bits(code: UInt64Array, count: int) -> UInt64Array:
    """Bring ``count`` bits from the top of each descriptor to its end."""
    rest = np.uint64(DESCRIPTOR_BITS - count)
    return ((code & ((np.uint64(1) << rest) - np.uint64(1))) << np.uint64(count)) | (code >> rest)
