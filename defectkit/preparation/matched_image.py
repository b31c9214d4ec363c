"""An image of a dataset, before it is read."""

from dataclasses import dataclass
from pathlib import Path

from defectkit.labels.corrections import Correction
from defectkit.labels.table import LabelRow


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class MatchedImage:
    """An image file, the rows of the label table about it, and where its ``roi`` is read from.

    ``corrections`` change what the rows say. ``file`` is the path as text, in a third of the
    memory.
    """

    image_id: str
    file: str
    rows: tuple[LabelRow, ...] = ()
    roi: str = ""
    corrections: tuple[Correction, ...] = ()

    @property
    def path(self) -> Path:
        """The image file."""
        return Path(self.file)
