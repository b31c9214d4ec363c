"""A prepared dataset, read back: records of images with their canonical masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from defectkit.data.images import as_channels, decode_image, read_content
from defectkit.errors import DatasetError
from defectkit.files import read_csv, read_json, sha256_bytes, sha256_file
from defectkit.labels import rle
from defectkit.vocabulary import SPLITS, LabelKind, Split

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of a dataset; ``rles`` maps the classes it has to canonical encodings."""

    image_id: str
    path: Path
    height: int
    width: int
    channels: int
    sha256: str
    group: str
    split: Split
    rles: dict[str, str]

    @property
    def defective(self) -> bool:
        """Whether any defect is labeled."""
        return bool(self.rles)

    def read_image(self, channels: int) -> npt.NDArray[np.uint8]:
        """Read the pixels as (H, W, channels) uint8.

        Raises:
            ImageError: the file cannot be read.
            DatasetError: it is no longer the file it was prepared from.
        """
        content = read_content(self.path)
        image = as_channels(decode_image(content, name=str(self.path)), channels)
        if image.shape[:2] != (self.height, self.width):
            raise DatasetError(
                f"{self.path} is {image.shape[1]}x{image.shape[0]} but was "
                f"{self.width}x{self.height} when the dataset was prepared. "
                "Run 'defectkit prepare' again."
            )
        # A hundredth of the time that decoding takes. Records that were not prepared have no hash.
        if self.sha256 and sha256_bytes(content) != self.sha256:
            raise DatasetError(
                f"{self.path} was changed since the dataset was prepared (its SHA-256 differs): "
                "its labels may not fit any more. Run 'defectkit prepare' again."
            )
        return image

    def read_masks(self, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Decode the masks as (K, H, W) uint8 of 0 and 1, one layer per class."""
        masks = np.zeros((len(classes), self.height, self.width), np.uint8)
        for layer, class_id in zip(masks, classes, strict=True):
            if class_id in self.rles:
                layer[:] = rle.decode(self.rles[class_id], (self.height, self.width))
        return masks


@dataclass(frozen=True)
class Dataset:
    """The records of a dataset folder and what ``dataset.json`` says of it."""

    folder: Path
    info: dict[str, Any]
    records: tuple[ImageRecord, ...]

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a folder written by ``defectkit prepare``.

        Raises:
            DatasetError: a file is missing, damaged or of another format version.
        """
        folder = Path(folder)
        if not (folder / "dataset.json").is_file():
            raise DatasetError(
                f"{folder} is not a dataset (it has no dataset.json). Make one with "
                f"'defectkit prepare TRAIN_CSV --out {folder}', or name another with --data."
            )
        try:
            info = read_json(folder / "dataset.json")
            version = info["format_version"]
            if version != FORMAT_VERSION:
                raise DatasetError(
                    f"{folder} has format version {version}; this defectkit reads "
                    f"{FORMAT_VERSION}. Run 'defectkit prepare' again."
                )
            if not all(isinstance(class_id, str) for class_id in info["classes"]):
                raise TypeError("the classes are no texts")
            dataset = cls(folder, info, _read_records(folder))
            _ = dataset.fingerprint  # of the masks that were read, whatever is edited from now on
            return dataset
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{folder} is damaged ({type(error).__name__}: {error}). "
                "Run 'defectkit prepare' again."
            ) from error

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes, in the order of the layers of a mask."""
        return tuple(self.info["classes"])

    @property
    def truth(self) -> LabelKind:
        """Whether the labels outline defects, or only box them: then masks are filled boxes."""
        return "boxes" if self.info.get("truth") == "boxes" else "masks"

    @cached_property
    def channels(self) -> int:
        """1 where all images are gray, otherwise 3."""
        return max((record.channels for record in self.records), default=1)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the images, masks and splits: equal for equal data, wherever it lies."""
        images = "\n".join(
            f"{record.image_id},{record.sha256},{record.split}" for record in self.records
        )
        return sha256_bytes(f"{images}\n{sha256_file(self.folder / 'masks.csv')}".encode())

    def split(self, name: Split) -> list[ImageRecord]:
        """Return the records of one split.

        Raises:
            DatasetError: the split has no image.
        """
        records = [record for record in self.records if record.split == name]
        if not records:
            raise DatasetError(f"{self.folder} has no image in the {name} split.")
        return records


def _read_records(folder: Path) -> tuple[ImageRecord, ...]:
    rles: dict[str, dict[str, str]] = {}
    for row in read_csv(folder / "masks.csv"):
        rles.setdefault(row["image_id"], {})[row["class_id"]] = row["rle"]
    return tuple(
        ImageRecord(
            image_id=row["image_id"],
            path=folder / row["path"],
            height=int(row["height"]),
            width=int(row["width"]),
            channels=int(row["channels"]),
            sha256=row["sha256"],
            group=row["group"],
            split=_split(row["split"]),
            rles=rles.get(row["image_id"], {}),
        )
        for row in read_csv(folder / "images.csv")
    )


def _split(text: str) -> Split:
    for name in SPLITS:
        if text == name:
            return name
    raise ValueError(f"split {text!r} is not one of {', '.join(SPLITS)}")
