"""Rows of the ledger in columns: most say no more than that a row of a class was used."""

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from defectkit.data.columns import RepeatedColumn
from defectkit.labels.ledger import LedgerRow


class LedgerColumn:
    """Rows of the ledger, in the order in which they are added."""

    def __init__(self) -> None:
        self.lines = array("q")
        self._other_ids = RepeatedColumn()
        self._outcomes = RepeatedColumn()

    def __len__(self) -> int:
        return len(self.lines)

    def append(self, row: LedgerRow, image_id: str | None) -> None:
        """Add a row; ``image_id`` is what ``row`` is told then, and need not be kept."""
        self.lines.append(row.line)
        self._other_ids.append(None if row.image_id == image_id else row.image_id)
        self._outcomes.append((row.class_id, row.outcome, row.reason, row.refused_with_image))

    def row(self, number: int, image_id: str) -> LedgerRow:
        """Return a row; ``image_id`` as when it was added."""
        other = self._other_ids[number]
        return LedgerRow(
            self.lines[number], image_id if other is None else other, *self._outcomes[number]
        )


class SortedLedger(Sequence[LedgerRow]):
    """The ledger of all images in the order of its lines; its rows are made when asked for."""

    def __init__(self, image_ids: Sequence[str]) -> None:
        """Begin without rows.

        Args:
            image_ids: the ids of the images that rows may be about.
        """
        self._image_ids = image_ids
        self._owners = array("q")
        self._column = LedgerColumn()
        self._order = np.empty(0, np.int64)

    def add(self, row: LedgerRow, owner: int = -1) -> None:
        """Add a row, of the image that is number ``owner``."""
        self._owners.append(owner)
        self._column.append(row, self._image_ids[owner] if owner >= 0 else None)

    def sort(self) -> None:
        """Sort what was added by line, rows of one line in the order in which they came."""
        self._order = np.argsort(np.array(self._column.lines, np.int64), kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> LedgerRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[LedgerRow]: ...
    def __getitem__(self, place: int | slice) -> LedgerRow | list[LedgerRow]:
        if isinstance(place, slice):
            return [*map(self._row, self._order[place].tolist())]
        return self._row(int(self._order[place]))

    def __iter__(self) -> Iterator[LedgerRow]:
        return map(self._row, map(int, self._order))

    def _row(self, number: int) -> LedgerRow:
        owner = self._owners[number]
        return self._column.row(number, self._image_ids[owner] if owner >= 0 else "")
