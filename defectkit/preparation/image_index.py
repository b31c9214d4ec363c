"""Which image a label file or mask is about, by their names and the folders they lie in."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath

from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.file_tree import own_parts

IMAGE_ENDINGS = ("_image", "_img", "_rgb", "_sat", "_orig", "_original", "_leftimg8bit")
IMAGE_BEGINNINGS = ("image_", "img_")
"""What the names of images may have that those of masks do not."""

NAMES_AT_ONCE = 1024
"""Number of names whose images stay sorted by their folders: there may be as many as folders."""


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An image: its path below the root of the index, and the folders it lies in."""

    name: str
    parts: tuple[str, ...]


class ImageIndex:
    """Images by name, below one folder; ``root`` is the deepest folder that has all of them."""

    def __init__(self, base: FilePath, files: Iterable[Path]) -> None:
        """Index files below a folder, or the keys of objects below a prefix of a store."""
        stored = isinstance(base, StoredObject)
        names = [(file if stored else file.relative_to(str(base))).as_posix() for file in files]
        inner = _common_folder(names)
        self.root: FilePath = base / inner
        self.images = [
            IndexedImage(name.removeprefix(f"{inner}/"), PurePosixPath(name).parts[:-1])
            for name in names
        ]
        self._by_stem: dict[str, list[IndexedImage]] = {}
        for image in self.images:
            stem = _key(PurePosixPath(image.name).stem)
            for key in {stem, *names_without_image(stem)}:
                self._by_stem.setdefault(key, []).append(image)
        self._own = cache(own_parts)
        self._places = lru_cache(NAMES_AT_ONCE)(self._sort_by_place)

    def find(self, parts: Sequence[str], name: str) -> tuple[IndexedImage | None, str]:
        """Return the image that a file in the folders ``parts`` is about, if there is just one.

        The name comes with or without the suffix of the image. Beside the image, the folder that
        is its class is returned: where masks lie in folders that images do not have.
        """
        stem, dot, suffix = name.rpartition(".")
        known = dot and f".{suffix}".casefold() in IMAGE_SUFFIXES
        stem, parts = _key(stem if known else name), tuple(parts)
        places = self._places(stem, _key(name))
        for with_split in (True, False):
            own = self._own(parts, with_split=with_split)
            if fitting := places.same.get((with_split, own)):
                return _one(fitting), ""
        above = _one(places.same.get((False, own[:-1]), [])) if own else None
        if above and not self._is_image(own):
            return above, next(part for part in parts if part.casefold() == own[-1])
        return _one(places.deeper.get(own, [])), ""

    def _is_image(self, own: tuple[str, ...]) -> bool:
        """Return whether a folder is named as an image beside it: it has what belongs to that."""
        return (False, own[:-1]) in self._places(own[-1]).same

    def _sort_by_place(self, stem: str, name: str = "") -> "_Places":
        """Sort the images of a stem; with ``name``, rather those called so than with an ending."""
        fitting = self._by_stem.get(stem, [])
        if name:
            files = [(image, _key(image.name.rpartition("/")[2])) for image in fitting]
            fitting = (
                [image for image, file in files if file == name]
                or [image for image, file in files if file.startswith(f"{stem}.")]
                or fitting
            )
        places = _Places()
        for image in fitting:
            for with_split in (True, False):
                own = self._own(image.parts, with_split=with_split)
                places.same.setdefault((with_split, own), []).append(image)
            for depth in range(len(own) + 1):
                places.deeper.setdefault(own[:depth], []).append(image)
        return places


@dataclass(frozen=True, slots=True)
class _Places:
    """Images of one name by their folders' own parts.

    Attributes:
        same: by whether the parts have splits, and all of them.
        deeper: by the first of the parts without splits.
    """

    same: dict[tuple[bool, tuple[str, ...]], list[IndexedImage]] = field(default_factory=dict)
    deeper: dict[tuple[str, ...], list[IndexedImage]] = field(default_factory=dict)


def names_without_image(stem: str) -> list[str]:
    """Return a name in lower case without the words for images that it begins or ends with."""
    return [
        *(stem.removesuffix(ending) for ending in IMAGE_ENDINGS),
        *(stem.removeprefix(beginning) for beginning in IMAGE_BEGINNINGS),
    ]


def _key(name: str) -> str:
    """Return a name in lower case, its accents written in one way."""
    return unicodedata.normalize("NFC", name).casefold()


def _one(images: Sequence[IndexedImage]) -> IndexedImage | None:
    return images[0] if len(images) == 1 else None


def _common_folder(names: Sequence[str]) -> str:
    """Return the deepest folder of images, by its name, that has all files; "" for none."""
    folders = {name.rpartition("/")[0] for name in names}
    common: list[str] = []
    for level in zip(*(folder.split("/") for folder in folders), strict=False):
        if len(set(level)) > 1 or not level[0] or own_parts(level[:1], with_split=False):
            break
        common.append(level[0])
    return "/".join(common)
