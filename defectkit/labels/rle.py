"""Run-length encodings of masks: text to mask and back, strictly.

The convention is Kaggle's (Airbus, Severstal): pairs of ``start length``, pixels numbered from 1,
down each column and then right. ``base`` and ``order`` cover the other conventions in use.
Malformed text is never guessed at: a text gives exactly the mask that it describes, or is refused
with the reason.
"""

import re
from dataclasses import dataclass
from typing import NoReturn, Self

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray, ImageSize, Int64Array
from defectkit.errors import LabelError
from defectkit.vocabulary import RleOrder

ALLOWED = b"0123456789 \t\r\n"
CANONICAL = re.compile(r"[1-9][0-9]*+(?: [1-9][0-9]*+)*+")
"""How canonical form writes its numbers."""
MAX_INT64 = np.iinfo(np.int64).max
"""What ``np.fromstring`` returns for any number that is as large or larger."""


class RleError(LabelError):
    """A run-length encoding that is not valid for an image of this size, or is ambiguous."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The runs of defect pixels of one mask, sorted and disjoint; they may touch.

    This is what a run-length text is parsed to, once; texts and masks are made from it.

    Attributes:
        stretches: (2N + 1,) int64, lengths in pixels of the alternating stretches of 0s and 1s, the
            first and last of 0s. Those of 1s are at least 1; all sum to the mask's size.
        was_unsorted: whether the text had the runs in another order.
        source: the text, where it may be in canonical form.
    """

    stretches: Int64Array
    was_unsorted: bool = False
    source: str = ""

    @classmethod
    def from_mask(cls, mask: npt.NDArray[np.generic], *, order: RleOrder = "column") -> Self:
        """Return the runs of ``mask``, (H, W) of bool or any number, nonzero = defect."""
        return cls._from_pixels(_pixels(mask != 0, order))

    @classmethod
    def _from_pixels(cls, pixels: BoolArray) -> Self:
        return cls(np.diff(_edges(pixels), prepend=0, append=pixels.size))

    @property
    def starts(self) -> Int64Array:
        """The first pixel of each run, (N,) int64, counted from 0."""
        return np.cumsum(self.stretches)[:-1:2]

    @property
    def lengths(self) -> Int64Array:
        """The number of pixels of each run, (N,) int64, at least 1."""
        return self.stretches[1::2]

    def to_mask(self, shape: ImageSize, *, order: RleOrder = "column") -> npt.NDArray[np.uint8]:
        """Return the mask, (H, W) uint8 of 0 and 1; it lies in memory in ``order``."""
        height, width = shape
        flat = _repeat(self.stretches)
        return flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T

    def to_columns(self, height: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Return the mask from its first to its last column with a defect, and that first column.

        Only for runs in column order that are not empty. The returned mask, (``height``, W') uint8
        of 0 and 1, lies in memory column by column; a small defect in a large image gives a small
        one.
        """
        assert len(self.stretches) > 1, "an empty mask has no such columns"
        stretches = self.stretches.copy()
        first = int(stretches[0]) // height
        stretches[0] -= first * height
        stretches[-1] %= height
        return _repeat(stretches).reshape(-1, height).T, first

    def to_text(self) -> str:
        """Return the canonical form of runs in column order: 1-based, sorted, touching joined."""
        apart = self.stretches[2:-1:2] > 0
        if self.source and apart.all() and CANONICAL.fullmatch(self.source):
            return self.source  # The usual case, in a third of the time.
        if len(self.stretches) == 1:
            return ""
        edges = np.cumsum(self.stretches[:-1])
        starts, ends = edges[::2][np.append(True, apart)], edges[1::2][np.append(apart, True)]
        return " ".join(map(str, np.stack([starts + 1, ends - starts], axis=1).ravel().tolist()))

    def rows_to_columns(self, shape: ImageSize) -> Self:
        """Return the runs in column order of runs in row order."""
        return self.from_mask(self.to_mask(shape, order="row"))

    def union(self, *others: Self) -> Self:
        """Return the runs of all pixels of this and the others; runs that touch are joined."""
        all_runs = [runs for runs in (self, *others) if len(runs.lengths)]
        if len(all_runs) < 2:
            return all_runs[0] if all_runs else self
        starts = np.concatenate([runs.starts for runs in all_runs])
        ends = starts + np.concatenate([runs.lengths for runs in all_runs])
        order = np.argsort(starts, kind="stable")
        starts, reached = starts[order], np.maximum.accumulate(ends[order])
        apart = starts[1:] > reached[:-1]
        firsts, lasts = starts[np.append(True, apart)], reached[np.append(apart, True)]
        edges = np.stack([firsts, lasts], axis=1).ravel()
        return type(self)(np.diff(edges, prepend=0, append=self.stretches.sum()))


def decode(
    rle: str, shape: ImageSize, *, base: int = 1, order: RleOrder = "column"
) -> npt.NDArray[np.uint8]:
    """Return the mask that ``rle`` describes: (H, W) uint8 of 0 and 1, all 0 for blank text.

    Args:
        rle: pairs of start and length, separated by white space.
        shape: (height, width) of the image in pixels.
        base: the number of the first pixel, 0 or 1.
        order: how pixels are numbered. The result lies in memory in this order.

    Raises:
        RleError: the text is malformed or does not fit the shape.
    """
    assert order in ("column", "row"), order
    return parse_runs(rle, shape[0] * shape[1], base=base).to_mask(shape, order=order)


def encode(mask: npt.NDArray[np.generic], *, base: int = 1, order: RleOrder = "column") -> str:
    """Return the sorted, merged runs of ``mask``; "" where it has none.

    Args:
        mask: (H, W) of bool or any number, nonzero = defect.
        base: the number of the first pixel, 0 or 1.
        order: how pixels are numbered.
    """
    assert base in (0, 1), base
    assert order in ("column", "row"), order
    defect = mask != 0
    if not defect.any():
        return ""
    edges = _edges(_pixels(defect, order))
    edges[1::2] -= edges[::2]
    edges[::2] += base
    return " ".join(map(str, edges.tolist()))


def encode_pixels(pixels: npt.NDArray[np.integer], shape: ImageSize) -> str:
    """Return what ``encode`` returns of the mask of some pixels, without making it.

    Args:
        pixels: row times width plus column of each, (N,), none twice.
        shape: (height, width) of the mask.
    """
    if not pixels.size:
        return ""
    line = pixels % shape[1] * shape[0]  # The largest image has fewer pixels than int32 counts.
    line += pixels // shape[1]
    line.sort()
    breaks = np.flatnonzero(np.diff(line) > 1)
    starts = line[np.append(0, breaks + 1)]
    lengths = line[np.append(breaks, len(line) - 1)] - starts + 1
    return " ".join(map(str, np.stack([starts + 1, lengths], axis=1).ravel().tolist()))


def parse_runs(rle: str, size: int, *, base: int = 1) -> Runs:
    """Parse ``rle``, of an image of ``size`` pixels, without making the mask.

    Raises:
        RleError: the text is malformed or does not fit the size.
    """
    assert base in (0, 1), base
    # Digits of other scripts become "?", and are refused like all else that is not a plain digit.
    if rle.encode("ascii", "replace").translate(None, ALLOWED):
        _refuse_text(rle)
    # The number added stands for the last stretch; with it, blank text needs no case of its own.
    numbers = np.fromstring(rle + " 0", np.int64, sep=" ")
    if len(numbers) % 2 == 0:
        raise RleError(
            f"the count of numbers is odd ({len(numbers) - 1}): a start or a length is missing"
        )
    lengths, gaps = numbers[1::2], numbers[2::2]
    ends = numbers[:-1:2] + lengths
    numbers[-1] = size + base
    gaps -= ends
    numbers[0] -= base
    # Now they are stretches. Seen as unsigned, a negative one (an overlap, or a start out of order
    # or before the base) is huge. Sums wrap at 2**64, but stretches that are each within the image
    # and by construction sum to its size cannot hide a wrap.
    largest = np.maximum.reduce(numbers.view(np.uint64))
    if largest <= size and np.count_nonzero(lengths) == len(lengths):
        return Runs(numbers, source=rle if base == 1 else "")
    return Runs(_sorted_stretches(rle, size, base), was_unsorted=True)


def _pixels(defect: BoolArray, order: RleOrder) -> BoolArray:
    """Return the pixels of ``defect``, (H, W), as one line in ``order``."""
    if order == "row":
        return defect.ravel()
    if defect.flags.f_contiguous:
        return defect.T.ravel()
    turned = cv2.transpose(defect.view(np.uint8))  # 15 times as fast as numpy's copy.
    return np.asarray(turned.view(np.bool_).ravel(), np.bool_)


def _edges(pixels: BoolArray) -> Int64Array:
    """Return start and end of each run of a line of pixels in turn."""
    return np.flatnonzero(np.diff(pixels, prepend=False, append=False))


def _repeat(stretches: Int64Array) -> npt.NDArray[np.uint8]:
    """Return the pixels of alternating stretches of 0s and 1s as one line."""
    count = len(stretches)
    return np.frombuffer(b"\0\1" * count, np.uint8, count).repeat(stretches)


def _sorted_stretches(rle: str, size: int, base: int) -> Int64Array:
    """Return the stretches of unsorted runs, or raise for what is wrong with them."""
    pairs = np.fromstring(rle, np.int64, sep=" ").reshape(-1, 2)
    _refuse_values(pairs, size, base)
    edges = pairs[np.argsort(pairs[:, 0], kind="stable")]
    edges[:, 1] += edges[:, 0]
    overlaps = np.flatnonzero(edges[1:, 0] < edges[:-1, 1])
    if len(overlaps):
        (start, end), (other, other_end) = edges[overlaps[0] : overlaps[0] + 2].tolist()
        raise RleError(
            f"runs {start} {end - start} and {other} {other_end - other} overlap at pixel {other}"
        )
    return np.diff(edges.ravel(), prepend=base, append=size + base)


def _refuse_text(rle: str) -> NoReturn:
    tokens = re.split(r"[ \t\r\n]+", rle.strip(" \t\r\n"))
    index = next(i for i, token in enumerate(tokens) if not re.fullmatch(r"[0-9]+", token))
    token, pair = tokens[index], index // 2 + 1
    if re.fullmatch(r"-[0-9]+", token):
        name = "length" if index % 2 else "start"
        raise RleError(f"{name} {token[:24]} in pair {pair} is negative")
    shown = ascii(token if len(token) <= 24 else token[:24] + "...")
    raise RleError(
        f"{shown} in pair {pair} is not a whole number: an RLE is pairs of start and length"
    )


def _refuse_values(pairs: Int64Array, size: int, base: int) -> None:
    """Raise for the first pair of ``pairs``, (N, 2), that does not fit in ``size`` pixels."""
    starts, lengths = pairs[:, 0], pairs[:, 1]
    too_large = (pairs == MAX_INT64).any(axis=1)
    empty = lengths == 0
    early = starts < base
    late = starts - base > size - lengths  # Differences: the sum could pass the largest integer.
    wrong = too_large | empty | early | late
    if not wrong.any():
        return
    i = int(np.argmax(wrong))
    start, length = pairs[i].tolist()
    where = f"run {start} {length} (pair {i + 1})"
    last = size - 1 + base
    if too_large[i]:
        raise RleError(f"pair {i + 1} has a number that is too large: pixels end at {last}")
    if empty[i]:
        raise RleError(f"{where} has length 0: a run has at least one pixel")
    if early[i]:
        raise RleError(f"{where} starts before the first pixel, 1: is it 0-based (--rle-base 0)?")
    other_base = base == 0 and start + length - 1 == size
    doubt = "is it 1-based (--rle-base 1)?" if other_base else "is the image of another size?"
    raise RleError(f"{where} ends at pixel {start + length - 1}, past the last, {last}: {doubt}")
