"""An image of a dataset, before it is read."""

from dataclasses import dataclass
from pathlib import Path

from defectkit.labels.corrections import Correction
from defectkit.labels.table import LabelRow


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class MatchedImage:
    """An image file, the rows of the label table about it, and where its ``roi`` is read from.

    ``corrections`` change what the rows say.
    """

    image_id: str
    path: Path
    rows: tuple[LabelRow, ...] = ()
    roi: str = ""
    corrections: tuple[Correction, ...] = ()
