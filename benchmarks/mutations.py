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


DUPLICATES = "defectkit/data/duplicates.py"
NEAR_DUPLICATES = "defectkit/data/near_duplicates.py"
PREPARE = "pipelines/prepare.py"
RLE = "defectkit/labels/rle.py"

MUTATIONS = (
    Mutation(
        4,
        "the refusal of a given split that leaks",
        PREPARE,
        "refuse_divided(leaks, given, written=out)",
        "pass",
    ),
    Mutation(
        4,
        "the given splits of groups that are joined already",
        DUPLICATES,
        "splits[first] = known.pop()",
        "pass",
    ),
    Mutation(
        4,
        "the joining of groups",
        DUPLICATES,
        "parent[second] = first",
        "parent[second] = second",
    ),
    Mutation(
        4,
        "the flips and rotations",
        NEAR_DUPLICATES,
        "down, right = _shift((y[i], x[i]), (y[j], x[j]), sizes[owner[j]], relative)",
        "down, right = _shift((y[i], x[i]), (y[j], x[j]), sizes[owner[j]], 0 * relative)",
    ),
    Mutation(
        4,
        "the confirmation on the images",
        NEAR_DUPLICATES,
        "similarity < LEAST_SIMILARITY or _by_block(template, aligned) < LEAST_BY_BLOCK",
        "similarity < -1",
    ),
    Mutation(
        4,
        "the confirmation block by block",
        NEAR_DUPLICATES,
        "similarity < LEAST_SIMILARITY or _by_block(template, aligned) < LEAST_BY_BLOCK",
        "similarity < LEAST_SIMILARITY",
    ),
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
)
