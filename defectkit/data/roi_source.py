"""The region to inspect as the user gives it: a box, a mask for all images, or one for each."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.data.folder_walk import walk_folder
from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.data.mask_images import read_mask
from defectkit.errors import DatasetError, ImageError, LabelError
from defectkit.labels.scope import decode_roi, encode_roi, format_box, parse_box
from defectkit.object_stores import FilePath, StoredObject

ENDINGS = ("_roi", "_mask")
"""What the name of a mask may have more than that of its image."""
NUMBERS = re.compile(r"\s*-?[\d.]+\s*(,\s*-?[\d.]+\s*){3}", re.ASCII)
"""Four numbers, whole or not."""


@dataclass(frozen=True, slots=True)
class RoiSource:
    """What ``--roi`` names.

    Attributes:
        given: as the user wrote it.
        masks: in a folder of masks, the file of each, by its path below the folder without suffix
            and ending. None where one region is given for all images.
        files: all mask files, resolved.
        shared: the ends of paths, without suffix, that several images have.
    """

    given: str
    masks: Mapping[str, Path] | None = None
    files: frozenset[Path] = field(default=frozenset())
    shared: frozenset[str] = field(default=frozenset())

    def among(self, images: Iterable[Path]) -> "RoiSource":
        """Return the source for ``images``, whose paths are as for ``choose``."""
        counts = Counter(end for image in images for end in _ends(image)) if self.masks else {}
        return replace(self, shared=frozenset(end for end, count in counts.items() if count > 1))

    def has_mask(self, path: FilePath) -> bool:
        """Return whether ``path`` is one of the masks, and so no image to inspect."""
        if not self.files or not isinstance(path, Path):
            return False
        # Unlike Path.resolve, realpath raises nothing for a link that leads in a circle.
        return Path(os.path.realpath(path)) in self.files

    def choose(self, path: Path) -> str:
        """Return what the region of an image is read from, for ``read_roi``: a box or a file.

        A mask in a folder has the name of its image, in folders of the same names. Folders above
        these, up to all of them, may be those of the image alone, unless another image's path ends
        so too.

        Raises:
            ImageError: the folder has no mask for it, or one that may be another image's.
        """
        if self.masks is None:
            return self.given
        whole, *_ = ends = _ends(path)
        end = next((end for end in ends if end in self.masks), None)
        if end is None:
            raise ImageError(
                f"{self.given} has no mask for image {path.as_posix()}. Add "
                f"{self.given}/{whole}.png, or give one mask or box for all images."
            )
        if end != whole and end in self.shared:
            raise ImageError(
                f"{self.given} has no mask for image {path.as_posix()} alone: several images have "
                f"the name {end}. Add {self.given}/{whole}.png."
            )
        return str(self.masks[end])


def open_roi(given: str) -> RoiSource:
    """Return what ``--roi`` names: ``X,Y,W,H``, a mask file, or a folder of masks.

    Raises:
        DatasetError: it is none of them.
    """
    if parse_box(given) is not None:
        return RoiSource(given)
    if stored := StoredObject.named(given):
        raise DatasetError(
            f"--roi {stored} is on an object store, where no masks of regions are read. Copy them "
            "to a folder, and name that."
        )
    path, is_folder, is_file = Path(given), False, False
    with suppress(OSError):  # a name that no file can have
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        files = list(_masks_below(path))
        if not files:
            raise DatasetError(f"--roi {given} has no mask image.")
        return RoiSource(given, _by_name(path, files), frozenset(file.resolve() for file in files))
    if is_file:
        return RoiSource(given, files=frozenset([path.resolve()]))
    if NUMBERS.fullmatch(given):
        raise DatasetError(f"--roi {given}: X, Y, W and H must be whole numbers from 0.")
    raise DatasetError(
        f"--roi {given[:80]!r} is no file, no folder and no box. Give X,Y,W,H in pixels, such as "
        "0,120,1600,200, a mask image whose 0 is outside, or a folder with one for each image."
    )


def read_roi(chosen: str, size: ImageSize) -> str:
    """Return the region to inspect of an image of ``size``, as the text of its scope.

    ``chosen`` is a box or the path of a mask file: 0 is outside, one other value inside.

    Raises:
        ImageError: the mask cannot be read.
        LabelError: it is of another size, has more than two values or no pixel inside, or the box
            leaves the image.
    """
    box = parse_box(chosen)
    if box is not None:
        text = format_box(box)
        return "" if decode_roi(text, size).all() else text
    path = Path(chosen)
    text, (height, width) = _read_mask(path, path.stat().st_mtime_ns if path.exists() else 0)
    if (height, width) != size:
        raise LabelError(
            f"{path}, the region to inspect, has {width}x{height} pixels, but the image "
            f"{size[1]}x{size[0]}"
        )
    return text


@lru_cache(maxsize=4)  # Often one mask for all images.
def _read_mask(path: Path, _: int) -> tuple[str, ImageSize]:
    mask = read_mask(path)
    if any(color.color == 0 for color in mask.palette):  # What is black is outside.
        mask = read_mask(path, palette_colors=True)
    values = mask.values
    present = np.unique(values)
    if len(present) > 2 or (len(present) == 2 and present[0] != 0):
        raise LabelError(
            f"{path} has the values {', '.join(map(str, present[:4]))} …: the mask of a region to "
            "inspect has 0 outside and one other value inside"
        )
    height, width = values.shape
    try:
        return encode_roi(values != 0), (height, width)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def _masks_below(folder: Path) -> Iterator[Path]:
    for entry in sorted(walk_folder(folder, follow_links=True), key=lambda entry: entry.path):
        if entry.kind == "not listed":
            raise DatasetError(f"--roi {entry.path}: {entry.problem} Make it readable.")
        if entry.kind == "file" and entry.path.suffix.lower() in IMAGE_SUFFIXES:
            yield entry.path


def _by_name(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Return masks by their paths below ``folder``, without suffix and ending.

    Raises:
        DatasetError: two have the name of one image.
    """
    masks: dict[str, Path] = {}
    for file in files:
        name = _without_ending(file.relative_to(folder).with_suffix("")).as_posix()
        if name in masks:
            raise DatasetError(
                f"--roi {folder} has two masks for one image, {masks[name].name} and {file.name}. "
                "Keep one of them, and no images in a folder of masks."
            )
        masks[name] = file
    return masks


def _ends(image: Path) -> list[str]:
    """Return the ends of an image's path without suffix, the longest first."""
    parts = image.relative_to(image.anchor).with_suffix("").parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _without_ending(name: Path) -> Path:
    for ending in ENDINGS:
        if name.name.endswith(ending) and name.name != ending:
            return name.with_name(name.name.removesuffix(ending))
    return name
