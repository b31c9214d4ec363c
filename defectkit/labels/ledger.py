"""The ledger: the outcome of every row of a label table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.vocabulary import RowOutcome

MAX_ROWS_SHOWN = 10


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class LedgerRow:
    """The outcome of one row of the source, which is named by its line in the file.

    A row is ``merged`` where an earlier one is about the same image and class. ``reason`` is empty
    where there is nothing to say. A valid row is ``refused_with_image`` where another row of its
    image was refused.
    """

    line: int
    image_id: str
    class_id: str
    outcome: RowOutcome
    reason: str = ""
    refused_with_image: bool = False


def why_refused_with_image(line: int) -> str:
    """Return the reason of a valid row that is refused since ``line`` of its image was."""
    return f"line {line} of the same image was refused, so the truth would be incomplete"


def refuse_bad_rows(
    ledger: Sequence[LedgerRow], *, source: Path, written: Path, remarks: Sequence[str] = ()
) -> None:
    """Refuse the table ``source`` if any row was refused; ``written`` is the ledger's file.

    ``remarks`` are said below the rows.

    Raises:
        LabelError: there are bad rows; the first ones are named, each with its reason.
    """
    bad = [row for row in ledger if row.outcome == "refused" and not row.refused_with_image]
    if bad:
        named = [
            f"  {source}:{row.line}: {row.image_id}: {row.reason}" for row in bad[:MAX_ROWS_SHOWN]
        ]
        more = [f"  and {len(bad) - MAX_ROWS_SHOWN} more"] if len(bad) > MAX_ROWS_SHOWN else []
        raise LabelError(
            "\n".join(
                [
                    f"{len(bad)} of {len(ledger)} rows of {source} cannot be used:",
                    *named,
                    *more,
                    *remarks,
                    "Fix them, or leave out their images with --skip-bad-rows. "
                    f"The outcome of every row is in {written}.",
                ]
            )
        )
