"""Run-length encodings of masks: text to mask and back, strictly.

The convention is Kaggle's (Airbus, Severstal): pairs of ``start length``, pixels numbered from 1,
down each column and then right. ``base`` and ``order`` cover the other forms that are met. Nothing
malformed is guessed at: a text gives exactly the mask that it says, or is refused with the reason.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.errors import LabelError
from defectkit.vocabulary import RleOrder

ALLOWED = b"0123456789 \t\r\n"
CANONICAL = re.compile(r"[1-9][0-9]*+(?: [1-9][0-9]*+)*+")
"""How canonical form spells its numbers."""
LARGEST = np.iinfo(np.int64).max
"""What ``np.fromstring`` makes of any number that is as large or larger."""


class RleError(LabelError):
    """A run-length encoding that does not say, beyond doubt, one mask of the image's size."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The runs of defect pixels of one text, sorted and disjoint; they may touch.

    ``starts`` (0-based) and ``lengths`` (at least 1) are (N,) int64 in pixels. ``was_unsorted``
    says that the text had them in another order.
    """

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    was_unsorted: bool


def decode(
    rle: str, shape: tuple[int, int], *, base: int = 1, order: RleOrder = "column"
) -> npt.NDArray[np.uint8]:
    """Return the mask that ``rle`` says: (H, W) uint8 of 0 and 1, all 0 for blank text.

    Args:
        rle: pairs of start and length, separated by white space.
        shape: (height, width) of the image in pixels.
        base: the number of the first pixel, 0 or 1.
        order: how pixels are numbered. The result lies in memory in this order.

    Raises:
        RleError: the text is malformed or does not fit the shape.
    """
    assert order in ("column", "row"), order
    height, width = shape
    stretches, _ = _stretches(rle, height * width, base)
    count = len(stretches)
    flat = np.frombuffer(b"\0\1" * count, np.uint8, count).repeat(stretches)
    return flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T


def decode_columns(rle: str, shape: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], int]:
    """Return the part of the mask from its first to its last column with defect, and the first.

    ``rle`` is in canonical form and not blank. The part is (H, W') uint8 of 0 and 1 and lies in
    memory column by column: of a small defect in a large image it is a small part.

    Raises:
        RleError: the text is malformed or does not fit the shape.
    """
    height, width = shape
    stretches, _ = _stretches(rle, height * width, 1)
    assert len(stretches) > 1, "a mask without defect has no such part"
    first, after = int(stretches[0]) // height, width - int(stretches[-1]) // height
    stretches[0] -= first * height
    stretches[-1] -= (width - after) * height
    flat = np.frombuffer(b"\0\1" * len(stretches), np.uint8, len(stretches)).repeat(stretches)
    return flat.reshape(after - first, height).T, first


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
    if order == "row":
        flat = defect.ravel()
    elif defect.flags.f_contiguous:
        flat = defect.T.ravel()
    else:
        turned = cv2.transpose(defect.view(np.uint8))  # 15 times as fast as numpy's copy.
        flat = turned.view(np.bool_).ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False))
    edges[1::2] -= edges[::2]
    edges[::2] += base
    return " ".join(map(str, edges.tolist()))


def canonical(
    rle: str, shape: tuple[int, int], *, base: int = 1, order: RleOrder = "column"
) -> str:
    """Return ``rle`` in canonical form: 1-based, column-major, sorted, touching runs joined.

    ``shape``, ``base`` and ``order`` are those of ``rle``, as in ``decode``.

    Raises:
        RleError: the text is malformed or does not fit the shape.
    """
    if order == "row":
        return encode(decode(rle, shape, base=base, order=order))
    # Without the mask: a fifth of the time.
    stretches, was_unsorted = _stretches(rle, shape[0] * shape[1], base)
    apart = stretches[2:-1:2] > 0
    if base == 1 and not was_unsorted and apart.all() and CANONICAL.fullmatch(rle):
        return rle  # The usual case, in a third of the time.
    if len(stretches) == 1:
        return ""
    edges = np.cumsum(stretches[:-1])
    starts, ends = edges[::2][np.append(True, apart)], edges[1::2][np.append(apart, True)]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], axis=1).ravel().tolist()))


def parse_runs(rle: str, size: int, *, base: int = 1) -> Runs:
    """Return the runs of ``rle`` in an image of ``size`` pixels, without making the mask.

    Raises:
        RleError: the text is malformed or does not fit the size.
    """
    stretches, was_unsorted = _stretches(rle, size, base)
    starts = np.cumsum(stretches)[:-1:2]
    return Runs(starts, stretches[1::2], was_unsorted)


def _stretches(rle: str, size: int, base: int) -> tuple[npt.NDArray[np.int64], bool]:
    """Return the lengths of the alternating stretches of 0s and 1s, and if ``rle`` was unsorted.

    A text of N runs has 2N + 1 stretches, the first and last of 0s; they sum to ``size``.
    """
    assert base in (0, 1), base
    # Digits of other scripts become "?", and are refused like all else that is no plain digit.
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
        return numbers, False
    return _sorted_stretches(rle, size, base), True


def _sorted_stretches(rle: str, size: int, base: int) -> npt.NDArray[np.int64]:
    """Do the work of ``_stretches`` for unsorted runs, or find out what is wrong with them."""
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


def _refuse_values(pairs: npt.NDArray[np.int64], size: int, base: int) -> None:
    """Raise for the first pair of ``pairs``, (N, 2), that no image of ``size`` pixels can hold."""
    starts, lengths = pairs[:, 0], pairs[:, 1]
    too_large = (pairs == LARGEST).any(axis=1)
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
        raise RleError(f"{where} has length 0: a run holds at least one pixel")
    if early[i]:
        raise RleError(f"{where} starts before the first pixel, 1: is it 0-based (--rle-base 0)?")
    other_base = base == 0 and start + length - 1 == size
    doubt = "is it 1-based (--rle-base 1)?" if other_base else "is the image of another size?"
    raise RleError(f"{where} ends at pixel {start + length - 1}, past the last, {last}: {doubt}")
