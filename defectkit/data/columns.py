"""Columns of values by the number of their row, in a fraction of the memory of as many objects."""

from array import array
from collections.abc import Hashable
from typing import Any


class BytesColumn:
    """Many byte strings in little memory: one after the other, and where each ends."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, content: bytes) -> None:
        """Add one at the end."""
        self._bytes += content
        self._ends.append(len(self._bytes))

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return bytes(self._bytes[start : self._ends[number]])


class TextColumn:
    """Many texts in little memory."""

    def __init__(self) -> None:
        self._bytes = BytesColumn()

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._bytes.append(text.encode("utf-8", "surrogatepass"))

    def __getitem__(self, number: int) -> str:
        return self._bytes[number].decode("utf-8", "surrogatepass")


class RepeatedColumn:
    """Values of which many are equal: each is kept once, as the object that came first."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._column = array("i")

    def __len__(self) -> int:
        return len(self._column)

    def append(self, value: Hashable) -> None:
        """Add a value at the end."""
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        self._column.append(number)

    def __getitem__(self, number: int) -> Any:
        return self._values[self._column[number]]
