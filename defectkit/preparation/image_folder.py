"""Find the image files of a label table, and never one outside the image folder."""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from defectkit.data.images import IMAGE_SUFFIXES
from defectkit.errors import DatasetError, ImageError
from defectkit.labels.table import OUTSIDE

FOLDER_NAMES = ("Train", "train", "train_images", "images", "JPEGImages")
IDS_TO_TRY = 100
"""Number of image ids that are looked for in each folder."""


class ImageFolder:
    """A folder of images that are found by image id; each folder in it is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._listing = cache(self._list)

    def find(self, image_id: str) -> Path:
        """Return the file of ``image_id``, which may come without the file's extension.

        An id may lead into a subfolder (``line2/0.png``) but not out of the image folder, whether
        by ``..``, as an absolute path or through a link.

        Raises:
            ImageError: there is no such file, there are several, or it lies outside.
        """
        if OUTSIDE.search(image_id):
            raise ImageError("the image id leads outside the image folder")
        inner, _, wanted = image_id.rpartition("/")
        folder, links, names_by_stem = self._listing(inner)
        names = [wanted] if wanted in links else names_by_stem.get(wanted, [])
        if not names:
            raise ImageError(f"no such image in {self.root}")
        if len(names) > 1:
            raise ImageError(
                f"the image id fits several files ({', '.join(names)}): write which one"
            )
        path = folder / names[0]
        if links[names[0]] and not self._contains(path):
            raise ImageError("the file is a link to outside the image folder")
        return path

    def unused_images(self, used: Iterable[Path]) -> list[Path]:
        """Return the images, sorted, that lie beside the ``used`` ones but are not among them."""
        used_names: dict[Path, set[str]] = {}
        for path in used:
            used_names.setdefault(path.parent, set()).add(path.name)
        unused = []
        for folder in sorted(used_names or {self.root}):
            inner = folder.relative_to(self.root).as_posix()
            _, links, _ = self._listing("" if inner == "." else inner)
            for name in sorted(links.keys() - used_names.get(folder, set())):
                outside = links[name] and not self._contains(folder / name)
                if name.lower().endswith(IMAGE_SUFFIXES) and not outside:
                    unused.append(folder / name)
        return unused

    def _list(self, inner: str) -> tuple[Path, dict[str, bool], dict[str, list[str]]]:
        """List a folder: itself, its files with whether each is a link, its images by stem."""
        folder = self.root / inner
        links: dict[str, bool] = {}
        names_by_stem: dict[str, list[str]] = {}
        if folder.is_dir() and self._contains(folder):
            with os.scandir(folder) as entries:
                links = {entry.name: entry.is_symlink() for entry in entries if entry.is_file()}
            for name in sorted(links):
                stem, dot, suffix = name.rpartition(".")
                if (dot + suffix).lower() in IMAGE_SUFFIXES:
                    names_by_stem.setdefault(stem, []).append(name)
        return folder, links, names_by_stem

    def _contains(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.root)


def open_image_folder(
    labels: Path,
    images: Path | None,
    image_ids: Sequence[str],
    parents: Sequence[Path] | None = None,
) -> ImageFolder:
    """Open ``images``, or the folder near ``labels`` that has most of the first images.

    Without ``images``, ``FOLDER_NAMES`` in ``parents`` and these themselves are tried; by default
    that is where the file ``labels`` lies.

    Raises:
        DatasetError: ``images`` is not a folder, or no image of the table is in the folder.
    """
    if images is not None and not images.is_dir():
        raise DatasetError(f"--images {images} is not a folder.")
    parents = parents or [labels.parent]
    beside = [parent / name for parent in parents for name in FOLDER_NAMES]
    places = [images] if images else [*filter(Path.is_dir, beside), *parents]
    some = image_ids[:IDS_TO_TRY]
    folders = [ImageFolder(place) for place in places]
    found = [_count_found(folder, some) for folder in folders]
    best = max(range(len(folders)), key=found.__getitem__)  # the first of equals
    if some and not found[best] and not _count_found(folders[best], image_ids):
        raise DatasetError(
            f"none of the {len(image_ids)} images that {labels} names is in "
            f"{' or '.join(str(place) for place in places)}; the first is {some[0]!r}. "
            "Name their folder with --images."
        )
    return folders[best]


def _count_found(folder: ImageFolder, image_ids: Sequence[str]) -> int:
    count = 0
    for image_id in image_ids:
        try:
            folder.find(image_id)
        except ImageError:
            continue
        count += 1
    return count
