"""A prepared dataset: the records of its images, with their masks and regions, and its tables."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from defectkit.arrays import Image, IndexArray, Masks
from defectkit.data.images import convert_channels, decode_image, read_image_bytes
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.data.record_table import RecordTable
from defectkit.data.table_checks import empty_split
from defectkit.errors import DatasetError, refusal
from defectkit.files import sha256_bytes
from defectkit.labels import rle
from defectkit.labels.scope import Scope, read_scope
from defectkit.object_stores import FilePath, locate
from defectkit.regions import Region
from defectkit.seals import SealError, check_tables, hash_table, read_sealed, warn_if_not_sealed
from defectkit.tables import read_table
from defectkit.vocabulary import ANY_DEFECT, LabelKind, Split

if TYPE_CHECKING:
    import pandas as pd

IF_GONE = "Bring it back, or run 'defectkit prepare' again."
SCOPE_TABLE = "scope.csv"
"""The regions to inspect and the ignored pixels: ``image_id,kind,shape``, kind roi or ignored. A
row of the kind roi without an image id is about all images. Only where there are any."""
TABLES = ("images.csv", "masks.csv", "defects.csv", "ledger.csv", "leaks.csv", SCOPE_TABLE)
"""The tables of a dataset, whose hashes ``dataset.json`` has under ``tables``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of a dataset.

    ``rles`` maps the classes that the image has to their masks in canonical encoding, ``regions``
    are the connected regions of these masks, as ``measure_regions`` gives them for each class.
    ``roi`` and ``ignored`` are the texts of its scope (``labels.scope``); no mask leaves it.
    """

    image_id: str
    path: FilePath
    height: int
    width: int
    channels: int
    sha256: str
    group: str
    split: Split
    rles: dict[str, str]
    regions: tuple[Region, ...]
    roi: str = ""
    ignored: str = ""
    pixels: PixelFormat = EIGHT_BITS

    @property
    def defective(self) -> bool:
        """Whether any defect is labeled."""
        return bool(self.rles)

    def read_image(self, channels: int) -> Image:
        """Read the pixels as (H, W, channels) uint8; 1, 3 or the image's own number of channels.

        Raises:
            ImageError: the file cannot be read, or is gone.
            StoreError: its store does not give it.
            DatasetError: it is no longer the file it was prepared from.
        """
        content = read_image_bytes(self.path, if_gone=IF_GONE)
        image = decode_image(content, name=str(self.path), pixels=self.pixels)
        image = convert_channels(image, channels)
        if image.shape[:2] != (self.height, self.width):
            raise DatasetError(
                f"{self.path} is {image.shape[1]}x{image.shape[0]} but was "
                f"{self.width}x{self.height} when the dataset was prepared. "
                "Run 'defectkit prepare' again."
            )
        # A hundredth of the time that decoding takes. Records made without a file have no hash.
        if self.sha256 and sha256_bytes(content) != self.sha256:
            raise DatasetError(
                f"{self.path} was changed since the dataset was prepared (its SHA-256 differs): "
                "its labels may not fit any longer. Run 'defectkit prepare' again."
            )
        return image

    def read_masks(self, classes: Sequence[str]) -> Masks:
        """Decode the masks as (K, H, W) uint8 of 0 and 1, one layer per class.

        Raises:
            DatasetError: a mask has more or fewer pixels than its regions.
        """
        masks = np.zeros((len(classes), self.height, self.width), np.uint8)
        for layer, class_id in zip(masks, classes, strict=True):
            if class_id in self.rles:
                layer[:] = rle.decode(self.rles[class_id], (self.height, self.width))
                self._check_area(class_id, int(np.count_nonzero(layer.view(np.bool_))))
        return masks

    def read_scope(self) -> Scope:
        """Decode which pixels count."""
        return read_scope(self.roi, self.ignored, (self.height, self.width))

    def _check_area(self, class_id: str, area: int) -> None:
        listed = sum(region.area for region in self.regions if region.class_id == class_id)
        if area != listed:
            raise DatasetError(
                f"masks.csv and defects.csv contradict each other: class {class_id} of "
                f"{self.image_id} has {area} pixels in the one and {listed} in the other. "
                "Run 'defectkit prepare' again."
            )


@dataclass(frozen=True, eq=False)
class StoredRecords(Sequence[ImageRecord]):
    """Records that are made when they are asked for; ``numbers`` are those of their rows."""

    table: RecordTable
    folder: Path
    pixels: PixelFormat
    numbers: IndexArray

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> ImageRecord | Self:
        if isinstance(place, slice):
            return replace(self, numbers=self.numbers[place])
        fields = self.table.fields(int(self.numbers[place]))
        path = locate(fields.pop("path"), self.folder)
        return ImageRecord(path=path, pixels=self.pixels, **fields)

    def __eq__(self, other: object) -> bool:
        """Return whether other records, also those of a list, are the same."""
        return isinstance(other, Sequence) and [*self] == [*other]

    def column(self, name: str) -> Iterator[Any]:
        """Yield one field of each record, which is faster than to make the records."""
        return self.table.column(name, self.numbers)

    def in_split(self, split: Split) -> Self:
        """Return those of a split."""
        is_in = np.isin(self.numbers, self.table.in_split(split))
        return replace(self, numbers=self.numbers[is_in])


@dataclass(frozen=True, slots=True)
class CommonRoi:
    """A region to inspect, as the text of a scope, in all images of one size in pixels."""

    shape: str
    height: int
    width: int


@dataclass(frozen=True)
class Dataset:
    """A dataset folder: the content of its ``dataset.json`` and a record for each image.

    The records of a folder are made when they are asked for, each time.
    """

    folder: Path
    info: dict[str, Any]
    records: Sequence[ImageRecord]

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a folder written by ``defectkit prepare``.

        Raises:
            DatasetError: a file is missing, damaged, changed or of another format version.
        """
        folder = Path(folder)
        if not (folder / "dataset.json").is_file():
            no_dataset = "is not a dataset (it has no dataset.json)"
            why = no_dataset if folder.exists() else "does not exist"
            way_out = "Check the path, or make a dataset with 'defectkit prepare TRAIN_CSV'."
            raise DatasetError(f"{folder} {why}. {way_out}")
        try:
            info = _read_info(folder)
            if not all(isinstance(class_id, str) for class_id in info["classes"]):
                raise TypeError("the classes are not text")
            pixels = PixelFormat.from_dict(info.get("pixels"))
            table = RecordTable(folder, SCOPE_TABLE)
            dataset = cls(folder, info, StoredRecords(table, folder, pixels, np.arange(len(table))))
            _ = dataset.fingerprint  # Of the masks that were read, whatever is edited later.
            return dataset
        except SealError as error:
            raise DatasetError(
                f"{folder} is damaged: {error}. Run 'defectkit prepare' again; groups "
                "and splits of your own go into a table for --meta."
            ) from error
        except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                refusal(error)
                or f"{folder} is damaged ({type(error).__name__}: {error}). "
                "Run 'defectkit prepare' again."
            ) from error

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes, in the order of the layers of a mask; at least one."""
        return tuple(self.info["classes"]) or (ANY_DEFECT,)

    @property
    def pixels(self) -> PixelFormat:
        """How its images are read."""
        return PixelFormat.from_dict(self.info.get("pixels"))

    @property
    def label_kind(self) -> LabelKind:
        """Whether the labels outline defects or only box them; then masks are filled boxes."""
        return "boxes" if self.info.get("truth") == "boxes" else "masks"

    @cached_property
    def images(self) -> "pd.DataFrame":
        """The table of the images, a row each, with the columns of ``images.csv``.

        Ids, groups and splits are text, ``defective`` is bool.
        """
        text = ("image_id", "path", "sha256", "group", "split")
        return read_table(self.folder / "images.csv", text=text).astype({"defective": bool})

    @cached_property
    def defects(self) -> "pd.DataFrame":
        """The table of the defects, a row for each region, with the columns of ``defects.csv``.

        Ids and classes are text; boxes and areas are in pixels.
        """
        return read_table(self.folder / "defects.csv", text=("image_id", "class_id"))

    @cached_property
    def channels(self) -> int:
        """1 where all images are gray, 3 where some are RGB, otherwise that of each image."""
        return max(self._column("channels"), default=1)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of images and how they are read, masks, scopes and splits: equal in any folder."""
        columns = (self._column(name) for name in ("image_id", "sha256", "split"))
        digest = hashlib.sha256()
        for place, values in enumerate(zip(*columns, strict=True)):
            digest.update(("\n" * (place > 0) + ",".join(values)).encode())
        pixels = self.pixels
        if pixels.pages != "first" or pixels.window not in (None, (0, 65535)):
            digest.update(f"\n{pixels.window} {pixels.pages}".encode())
        tables = [self.folder / "masks.csv"]
        if (self.folder / SCOPE_TABLE).exists():
            tables.append(self.folder / SCOPE_TABLE)
        for table in tables:
            digest.update(f"\n{hash_table(table)}".encode())
        return digest.hexdigest()

    @cached_property
    def common_roi(self) -> CommonRoi | None:
        """The region to inspect where all images have the same one and one size, else None."""
        if not self.records or not self.records[0].roi:
            return None
        regions = {(record.roi, record.height, record.width) for record in self.records}
        roi, height, width = next(iter(regions), ("", 0, 0))
        return CommonRoi(roi, height, width) if len(regions) == 1 and roi else None

    def split(self, name: Split) -> Sequence[ImageRecord]:
        """Return the records of one split.

        Raises:
            DatasetError: the split has no image.
        """
        records: Sequence[ImageRecord]
        if isinstance(self.records, StoredRecords):
            records = self.records.in_split(name)
        else:
            records = [record for record in self.records if record.split == name]
        if not records:
            raise empty_split(self.folder, name, [*self._column("split")])
        return records

    def _column(self, name: str) -> Iterable[Any]:
        """Return one field of each record."""
        if isinstance(self.records, StoredRecords):
            return self.records.column(name)
        return (getattr(record, name) for record in self.records)


def _read_info(folder: Path) -> dict[str, Any]:
    """Read ``dataset.json`` and check that the tables are those that were written with it."""
    info = read_sealed(folder / "dataset.json")
    warn_if_not_sealed(info, what=str(folder), way_out="Run 'defectkit prepare' again")
    if "tables" in info:  # Not in version 1.
        check_tables(folder, TABLES, info["tables"])
    return info
