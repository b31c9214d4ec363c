"""Detect how the run-length encodings of a label table number the pixels.

Read in the right order, the runs of a defect lie beside each other: most of its pixels have a
neighbor in the next column (or row). In the wrong order they are scattered over the image.
Square images show nothing, since the mask is then only transposed.

Where a defect touches the border, its runs begin or end with a column. Counted from the wrong
number, each of them wraps by a single pixel into the column before or after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from defectkit.arrays import BoolArray, ImageSize, Int64Array
from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.table import LabelRow
from defectkit.vocabulary import RleBaseOption, RleOrder, RleOrderOption

Sample = tuple[LabelRow, ImageSize]
"""A row with defects, and (height, width) of its image."""

MIN_RATIO = 2.0
"""A mask shows the order where the other one isolates this many times as many pixels ..."""
MIN_ISOLATED = 16
"""... and at least this many more: a handful is chance."""
MIN_VOTES = 3
"""Fewer masks, or wrapping runs, do not overrule what was given."""
MAX_DISSENT = 0.1
"""Max. fraction of the masks, or wrapping runs, that may show the contrary."""


@dataclass(frozen=True, slots=True)
class RleConvention:
    """The number of the first pixel, the order of pixels, and how each was decided."""

    base: int
    order: RleOrder
    how_decided: str


@dataclass(frozen=True, slots=True)
class _SampledRuns:
    """The runs of a sampled row; ``starts`` and ``ends`` (exclusive) are counted as in the text."""

    row: LabelRow
    shape: ImageSize
    starts: Int64Array
    ends: Int64Array


def decide_convention(
    rows: Iterable[LabelRow],
    samples: Iterable[Sample] = (),
    *,
    base: RleBaseOption = "auto",
    order: RleOrderOption = "auto",
) -> RleConvention:
    """Decide base and order, from what was asked and from what the data show.

    Where nothing shows it, pixels are numbered from 1, down and then right, as Kaggle's.

    Args:
        rows: the whole table, searched for runs that start at 0.
        samples: some rows of it with the sizes of their images.
        base: the number of the first pixel, if known.
        order: the order of pixels, if known.

    Raises:
        LabelError: the data contradict what was given, or themselves.
    """
    encoded = [found for sample in samples if (found := _parse(*sample))]
    found_order, why_order = _decide_order(encoded, order)
    found_base, why_base = _decide_base(rows, encoded, found_order, base)
    how = f"base {found_base}: {why_base}; order {found_order}: {why_order}"
    return RleConvention(found_base, found_order, how)


def refuse_base_contradiction(
    rows: Iterable[tuple[LabelRow, int]], convention: RleConvention, *, asked: RleBaseOption
) -> None:
    """Refuse a guess of base 0 that a row contradicts: it ends one pixel past its image.

    ``rows`` are those that could not be decoded, each with its image's number of pixels.

    Raises:
        LabelError: some runs count from 0 and some from 1.
    """
    if asked != "auto" or convention.base == 1:
        return
    for row, size in rows:
        try:
            rle.parse_runs(row.rle, size, base=1)
        except rle.RleError:
            continue
        raise _base_contradiction(
            convention.how_decided, f"line {row.line} ends at {size}, which fits only base 1"
        )


def _parse(row: LabelRow, shape: ImageSize) -> _SampledRuns | None:
    """Return the runs of a row under either base, or None where it is malformed."""
    try:
        runs = rle.parse_runs(row.rle, shape[0] * shape[1] + 1, base=0)
    except rle.RleError:
        return None
    return _SampledRuns(row, shape, runs.starts, runs.starts + runs.lengths)


def _decide_order(encoded: Sequence[_SampledRuns], asked: RleOrderOption) -> tuple[RleOrder, str]:
    votes: dict[RleOrder, list[LabelRow]] = {"column": [], "row": []}
    for one in encoded:
        if order := _more_compact_order(one):
            votes[order].append(one.row)
    column, row = len(votes["column"]), len(votes["row"])
    count = f"of {column + row} masks that show the order"
    likely: RleOrder = "row" if row > column else "column"
    dissenting = votes["column" if likely == "row" else "row"]
    united = len(dissenting) <= MAX_DISSENT * (column + row)
    if asked != "auto":
        if asked != likely and united and len(votes[likely]) >= MIN_VOTES:
            raise LabelError(
                f"--rle-order {asked} contradicts the data: {len(votes[likely])} {count} are "
                f"compact in {likely} order and scattered in {asked} order, the first "
                f"in line {votes[likely][0].line}. Give --rle-order {likely}, or rotate the images "
                "if their height and width were swapped after labeling."
            )
        return asked, "given"
    if not column + row:
        return "column", "assumed (Kaggle's convention), since no mask shows it"
    if not united:
        raise LabelError(
            f"the pixels cannot be numbered in one order: {column} {count} are compact in column "
            f"order, {row} in row order; see lines {votes['column'][0].line} and "
            f"{votes['row'][0].line}. Height and width of some images seem to be swapped: they "
            f"may have been rotated after labeling. Rotate them back, or if the masks are right, "
            f"say so with --rle-order {likely}."
        )
    return likely, f"{len(votes[likely])} {count} are more compact in this order"


def _more_compact_order(one: _SampledRuns) -> RleOrder | None:
    """Return the order in which clearly fewer pixels lack a neighbor in the line before.

    In column order that neighbor is one height back, in row order one width.
    """
    height, width = one.shape
    lengths = one.ends - one.starts
    partial = (lengths % height != 0) & (
        lengths % width != 0
    )  # Whole lines are compact either way.
    if height == width or np.count_nonzero(partial) < 2:
        return None
    starts, lengths = one.starts[partial], lengths[partial]
    edges = np.stack([starts, one.ends[partial]], axis=1).ravel() - starts[0]
    stretches = np.diff(edges, prepend=0)
    flat = np.frombuffer(b"\0\1" * len(starts), np.bool_, len(edges)).repeat(stretches)
    column, row = (_isolated_fraction(flat, lengths, side) for side in (height, width))
    margin = MIN_ISOLATED / lengths.sum()
    if row >= max(MIN_RATIO * column, column + margin):
        return "column"
    if column >= max(MIN_RATIO * row, row + margin):
        return "row"
    return None


def _isolated_fraction(flat: BoolArray, lengths: Int64Array, side: int) -> float:
    """Return the fraction of defect pixels without a neighbor ``side`` back.

    Those whose neighbor is in their own run do not count: they have it in either order.
    """
    area = int(lengths.sum())
    own = int(np.maximum(lengths - side, 0).sum())
    return (area - np.count_nonzero(flat[side:] & flat[:-side])) / (area - own)


def _decide_base(
    rows: Iterable[LabelRow], encoded: Sequence[_SampledRuns], order: RleOrder, asked: RleBaseOption
) -> tuple[int, str]:
    wrapping = [sum(_count_wrapping(one, order, base) for one in encoded) for base in (0, 1)]
    right = int(wrapping[0] > wrapping[1])
    wrong = 1 - right
    shown_by_wrapping = (
        wrapping[wrong] >= MIN_VOTES and wrapping[right] <= MAX_DISSENT * wrapping[wrong]
    )
    line_kind = "column" if order == "column" else "row"
    wraps = f"{wrapping[wrong]} runs would wrap over the end of a {line_kind} by one pixel if they"
    reason = f"{wraps} counted from {wrong}"
    if asked != "auto":
        if shown_by_wrapping and int(asked) == wrong:
            raise LabelError(
                f"--rle-base {asked} contradicts the data: {reason}, {wrapping[right]} if they "
                f"counted from {right}. Give --rle-base {right}."
            )
        return int(asked), "given"
    shown = _shown_bases(rows, encoded)
    if shown_by_wrapping:
        shown.setdefault(right, reason)
    if len(shown) == 2:
        raise _base_contradiction(f"base 0: {shown[0]}", f"base 1: {shown[1]}")
    for base, why in shown.items():
        return base, why
    return 1, "assumed (Kaggle's convention), since no run shows it"


def _shown_bases(rows: Iterable[LabelRow], encoded: Sequence[_SampledRuns]) -> dict[int, str]:
    """Return the bases that some run needs to fit its image, and why."""
    shown = {}
    zero = next((row for row in rows if _starts_at_0(row.rle)), None)
    if zero:
        shown[0] = f"a run in line {zero.line} starts at 0"
    for one in encoded:
        size = one.shape[0] * one.shape[1]
        if len(one.ends) and one.ends[-1] == size + 1:
            shown[1] = f"line {one.row.line} ends at {size}, the number of pixels"
            break
    return shown


def _count_wrapping(one: _SampledRuns, order: RleOrder, base: int) -> int:
    """Count the runs that reach into another column (or row) with a single pixel."""
    side = one.shape[0] if order == "column" else one.shape[1]
    longer = one.ends - one.starts > 1
    before = (one.starts - base) % side == side - 1
    after = (one.ends - base) % side == 1
    return int(np.count_nonzero(longer & (before | after)))


def _base_contradiction(one: str, other: str) -> LabelError:
    return LabelError(
        f"the pixels cannot be numbered both from 0 and from 1: {one}, but {other}. Say which "
        "with --rle-base 0 or --rle-base 1; --skip-bad-rows leaves out rows that do not fit."
    )


def _starts_at_0(text: str) -> bool:
    # Most texts have no lone 0 at all, which is quick to see; only the others are split.
    padded = f" {text} "
    return " 0 " in padded and "0" in text.split()[::2]
