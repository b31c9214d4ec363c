"""The protections that the scorecard takes out, one at a time, to see its checks fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In ``file``, ``old`` (which stands there once) becomes ``new``.

    ``removes`` says what that takes away; ``test``, if given, which of the check's tests must fail
    (as for pytest's ``-k``).
    """

    check: int
    removes: str
    file: str
    old: str
    new: str
    test: str = ""


RLE = "defectkit/labels/rle.py"

MUTATIONS = (
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
)
