"""What the rows of an image say of its pixels."""

from dataclasses import dataclass, field

from defectkit.labels import rle
from defectkit.labels.ledger import LedgerRow


@dataclass(slots=True)
class RowsRead:
    """What the rows of an image say: runs and canonical texts by class, and the ignored pixels.

    ``runs`` has the runs of each row that gives defects, by its place in the ledger, where pixels
    of the image may not count.
    """

    runs_by_class: dict[str, rle.Runs] = field(default_factory=dict)
    rles: dict[str, str] = field(default_factory=dict)
    ignored: rle.Runs | None = None
    ledger: list[LedgerRow] = field(default_factory=list)
    runs: dict[int, rle.Runs] = field(default_factory=dict)
    cut_rows: int = 0
    lost_rows: int = 0
