"""How the run-length encodings of a label table number the pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.table import LabelRow

AskedBase = Literal["auto", "0", "1"]
AskedOrder = Literal["auto", "column", "row"]


@dataclass(frozen=True, slots=True)
class Convention:
    """The number of the first pixel, the order of pixels, and how each was decided."""

    base: int
    order: rle.Order
    how_decided: str


def decide_convention(
    rows: Iterable[LabelRow], *, base: AskedBase = "auto", order: AskedOrder = "auto"
) -> Convention:
    """Settle base and order, from what was asked and from what the rows say.

    Without being told, pixels are taken to count from 1, down and then right, as Kaggle's do; a
    run that starts at 0 shows that they count from 0.
    """
    if base == "auto":
        zero = next((row for row in rows if _starts_at_0(row.rle)), None)
        first = 1 if zero is None else 0
        how = "assumed, Kaggle's" if zero is None else f"a run in line {zero.line} starts at 0"
    else:
        first, how = int(base), "given"
    turn: rle.Order = "column" if order == "auto" else order
    how_order = "assumed, Kaggle's" if order == "auto" else "given"
    return Convention(first, turn, f"base {first}: {how}; order {turn}: {how_order}")


def refuse_contradiction(
    rows: Iterable[tuple[LabelRow, int]], convention: Convention, *, asked: AskedBase
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
        raise LabelError(
            f"the pixels cannot be numbered both from 0 and from 1: {convention.how_decided}, but "
            f"line {row.line} ends at {size}, which fits only if they count from 1. Say which "
            "with --rle-base 0 or --rle-base 1; --skip-bad-rows leaves out rows that do not fit."
        )


def _starts_at_0(text: str) -> bool:
    # Most texts hold no lone 0 at all, which is quick to see; only the others are taken apart.
    padded = f" {text} "
    return " 0 " in padded and "0" in text.split()[::2]
