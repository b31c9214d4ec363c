"""The facts of many images in columns: those of a million as objects would take gigabytes."""

import json
from array import array
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from defectkit.arrays import Image
from defectkit.data.columns import BytesColumn, RepeatedColumn
from defectkit.data.image_measures import ImageMeasures
from defectkit.data.images import read_image
from defectkit.data.pixel_format import PixelFormat
from defectkit.labels.ledger import LedgerRow
from defectkit.object_stores import FilePath
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.ledger_column import LedgerColumn
from defectkit.preparation.matched_image import MatchedImage
from defectkit.regions import Region
from defectkit.vocabulary import PixelNote

Value = TypeVar("Value")


class _Cells(Protocol):
    """A column: what is appended comes back by the number of its row."""

    def append(self, value: Any) -> None: ...
    def __getitem__(self, row: int) -> Any: ...


REPEATED = (
    *("height", "width", "channels", "deep", "highest", "notes", "roi", "ignored"),
    *("cut_rows", "lost_rows", "unfit", "left_out", "problem"),
)
"""Facts whose values many images have in common: each value is kept once."""


class _PackedColumn(Generic[Value]):
    """Values that are packed as bytes and unpacked when they are asked for."""

    def __init__(self, pack: Callable[[Value], bytes], unpack: Callable[[bytes], Value]) -> None:
        self._packed = BytesColumn()
        self._pack, self._unpack = pack, unpack

    def append(self, value: Value) -> None:
        self._packed.append(self._pack(value))

    def __getitem__(self, row: int) -> Value:
        return self._unpack(self._packed[row])


class FactsTable:
    """The facts of ``images`` by their numbers, as ``put`` gets them, in any order."""

    def __init__(self, images: Sequence[MatchedImage], pixels: PixelFormat) -> None:
        """Begin a table without facts.

        Args:
            images: the images.
            pixels: how they are read; it may be set again.
        """
        self.images = images
        self.pixels = pixels
        self.ledger = LedgerColumn()
        self._ledger_ends = array("q")
        self._rows = array("q", [-1]) * len(images)
        self._class_ids: dict[str, str] = {}
        self._columns: dict[str, _Cells] = {
            **{name: RepeatedColumn() for name in REPEATED},
            "clipped": array("d"),
            "keypoints": BytesColumn(),
            "sha256": _PackedColumn(bytes.fromhex, bytes.hex),
            "rles": _PackedColumn(_pack, self._unpack_rles),
            "regions": _PackedColumn(_pack_regions, self._unpack_regions),
            "layout": BytesColumn(),
            "contrasts": _PackedColumn(_pack, self._unpack_contrasts),
        }
        self._get = {
            name: attrgetter(f"measures.{name}" if name in ("layout", "contrasts") else name)
            for name in self._columns
        }

    def put(self, number: int, facts: ImageFacts) -> None:
        """Take over the facts of an image; those of a second time replace the first."""
        self._rows[number] = len(self._ledger_ends)
        for name, column in self._columns.items():
            column.append(self._get[name](facts))
        for row in facts.ledger:
            self.ledger.append(row, facts.image_id)
        self._ledger_ends.append(len(self.ledger))

    def facts(self) -> "list[StoredFacts]":
        """Return the facts of all images, in their order, once there are those of each."""
        assert -1 not in self._rows
        return [
            StoredFacts(self, image, row)
            for image, row in zip(self.images, self._rows, strict=True)
        ]

    def cell(self, name: str, row: int) -> Any:
        """Return one fact."""
        return self._columns[name][row]

    def ledger_rows(self, row: int) -> range:
        """Return the numbers of an image's rows in ``ledger``."""
        return range(self._ledger_ends[row - 1] if row else 0, self._ledger_ends[row])

    def _class_id(self, name: str) -> str:
        return self._class_ids.setdefault(name, name)

    def _unpack_rles(self, packed: bytes) -> dict[str, str]:
        return {self._class_id(name): text for name, text in _unpack(packed, {}).items()}

    def _unpack_regions(self, packed: bytes) -> tuple[Region, ...]:
        return tuple(
            Region(box_xywh=(x, y, width, height), area=area, class_id=self._class_id(name))
            for x, y, width, height, area, name in _unpack(packed, ())
        )

    def _unpack_contrasts(self, packed: bytes) -> dict[str, tuple[float, ...]]:
        content = _unpack(packed, {})
        return {self._class_id(name): tuple(values) for name, values in content.items()}


class _Stored(Generic[Value]):
    """An attribute that is read from the column of its name."""

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, facts: "StoredFacts", _: type) -> Value:
        value: Value = facts.table.cell(self._name, facts.row)
        return value


class StoredFacts:
    """The facts of one image of a table, each made when it is asked for; as in ``ImageFacts``."""

    __slots__ = ("image", "row", "table")

    height = _Stored[int]()
    width = _Stored[int]()
    channels = _Stored[int]()
    sha256 = _Stored[str]()
    deep = _Stored[bool]()
    highest = _Stored[int]()
    clipped = _Stored[float]()
    notes = _Stored[tuple[PixelNote, ...]]()
    keypoints = _Stored[bytes]()
    rles = _Stored[dict[str, str]]()
    regions = _Stored[tuple[Region, ...]]()
    roi = _Stored[str]()
    ignored = _Stored[str]()
    cut_rows = _Stored[int]()
    lost_rows = _Stored[int]()
    unfit = _Stored[tuple[tuple[int, str], ...]]()
    left_out = _Stored[bool]()
    problem = _Stored[str]()

    def __init__(self, table: FactsTable, image: MatchedImage, row: int) -> None:
        self.table, self.image, self.row = table, image, row

    @property
    def image_id(self) -> str:
        """The id of the image."""
        return self.image.image_id

    @property
    def path(self) -> FilePath:
        """The image file."""
        return self.image.path

    @property
    def pixels(self) -> PixelFormat:
        """How it is read."""
        return self.table.pixels

    @property
    def measures(self) -> ImageMeasures:
        """What is measured of its pixels."""
        cell = self.table.cell
        return ImageMeasures(layout=cell("layout", self.row), contrasts=cell("contrasts", self.row))

    @property
    def ledger(self) -> tuple[LedgerRow, ...]:
        """The outcome of each of its rows."""
        table = self.table
        return tuple(table.ledger.row(one, self.image_id) for one in table.ledger_rows(self.row))

    def whole(self) -> ImageFacts:
        """Return all of them as an object of their own."""
        names = ("image_id", "path", "pixels", "measures", "ledger", *STORED)
        return ImageFacts(**{name: getattr(self, name) for name in names})

    def read_image(self) -> Image:
        """Read the pixels again, as ``ImageFacts.read_image`` does."""
        return read_image(self.path, self.pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without the table."""
        return _same, (self.whole(),)


STORED = tuple(name for name, one in vars(StoredFacts).items() if isinstance(one, _Stored))

Facts: TypeAlias = ImageFacts | StoredFacts


def _same(facts: ImageFacts) -> ImageFacts:
    return facts


def _pack(content: Any) -> bytes:
    """Return content as JSON; nothing where it is empty, as that of good images is."""
    return json.dumps(content, default=np.generic.item).encode() if content else b""


def _unpack(packed: bytes, nothing: Any) -> Any:
    return json.loads(packed) if packed else nothing


def _pack_regions(regions: Sequence[Region]) -> bytes:
    return _pack([(*one.box_xywh, one.area, one.class_id) for one in regions])
