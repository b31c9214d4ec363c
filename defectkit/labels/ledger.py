"""The ledger: what became of every row of a label table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.vocabulary import RowOutcome

ROWS_NAMED = 10


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class LedgerRow:
    """One row of the source, by its line in the file, and what became of it.

    A row is ``merged`` where an earlier one speaks of the same image and class. ``reason`` is
    empty where there is nothing to say. ``consequent`` rows are sound in themselves but were
    refused because another row of their image was.
    """

    line: int
    image_id: str
    class_id: str
    outcome: RowOutcome
    reason: str = ""
    consequent: bool = False


def incomplete(line: int) -> str:
    """Say why a sound row is refused along with a bad one of the same image."""
    return f"line {line} of the same image was refused, so the truth would be incomplete"


def refuse_bad_rows(ledger: Sequence[LedgerRow], *, source: Path, written: Path) -> None:
    """Refuse the table ``source`` if any row was refused; ``written`` is the ledger's file.

    Raises:
        LabelError: there are bad rows; the first ones are named, each with its reason.
    """
    bad = [row for row in ledger if row.outcome == "refused" and not row.consequent]
    if bad:
        named = [f"  {source}:{row.line}: {row.image_id}: {row.reason}" for row in bad[:ROWS_NAMED]]
        more = [f"  and {len(bad) - ROWS_NAMED} more"] if len(bad) > ROWS_NAMED else []
        raise LabelError(
            "\n".join(
                [
                    f"{len(bad)} of {len(ledger)} rows of {source} cannot be used:",
                    *named,
                    *more,
                    "Mend them, or leave out their images with --skip-bad-rows. "
                    f"What became of every row is in {written}.",
                ]
            )
        )
