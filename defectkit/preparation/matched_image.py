"""An image of a dataset, before it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from defectkit.labels.corrections import Correction
from defectkit.labels.table import LabelRow
from defectkit.object_stores import FilePath, StoredObject, locate


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class MatchedImage:
    """An image file, the rows of the label table about it, and where its ``roi`` is read from.

    ``corrections`` change what the rows say. ``file`` is the path as text, in a third of the
    memory; ``version`` is that of an object of a store, when it was listed.
    """

    image_id: str
    file: str
    rows: tuple[LabelRow, ...] = ()
    roi: str = ""
    corrections: tuple[Correction, ...] = ()
    version: str = ""

    @classmethod
    def of(cls, image_id: str, path: FilePath, rows: Sequence[LabelRow] = ()) -> Self:
        """Return the image of a file, or of an object of a store."""
        version = path.version if isinstance(path, StoredObject) else ""
        return cls(image_id, str(path), tuple(rows), version=version)

    @property
    def path(self) -> FilePath:
        """The image file."""
        return locate(self.file)
