"""The files of an image folder: listed folder by folder, and links in it judged."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Protocol

from defectkit.data.image_kinds import is_data
from defectkit.object_stores import FilePath
from defectkit.results_marker import KnownResults


class ImageFiles(Protocol):
    """The files below a folder; ``inner`` is the path of a folder in it, "" is itself."""

    @property
    def root(self) -> FilePath:
        """The folder."""
        ...

    def path(self, name: str) -> FilePath:
        """Return the file of a path below the folder."""
        ...

    def problems(self, inner: str) -> dict[str, str]:
        """Return for each file in a folder why it cannot be used, or "".

        Raises:
            OSError: the folder cannot be listed.
        """
        ...

    def subfolders(self, inner: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without hidden ones."""
        ...

    def is_searched(self, inner: str) -> bool:
        """Return whether a folder is one to search, rather than a link that is not followed."""
        ...

    def leads_outside(self, inner: str) -> bool:
        """Return whether a folder is a link out of the image folder that is not followed."""
        ...

    def real(self, inner: str) -> str:
        """Return what is the same for a folder and for a link to it."""
        ...

    def beside(self) -> list[FilePath]:
        """Return the other folders in the one that this folder lies in."""
        ...

    def forget(self) -> None:
        """Forget what was listed; it is listed again if need be."""
        ...


class LocalFiles:
    """The files of a folder on a disk.

    Links that lead out of it are followed only with ``follow_links``. Left out are the files
    ``not_images``, and the results of commands.
    """

    def __init__(self, root: Path, *, follow_links: bool, not_images: Iterable[Path]) -> None:
        self.root = Path(os.path.realpath(root))
        self._follow_links = follow_links
        real = cache(os.path.realpath)
        self._not_images: dict[str, set[str]] = {}
        for path in not_images:
            self._not_images.setdefault(real(path.parent), set()).add(path.name)
        self._results = KnownResults()

    def path(self, name: str) -> Path:
        """Return the file of a path below the folder."""
        return self.root / name

    def problems(self, inner: str) -> dict[str, str]:
        """Return for each file in a folder why its link is not followed, or "".

        Raises:
            OSError: the folder cannot be listed.
        """
        folder = self.root / inner
        if not folder.is_dir() or self._leads_outside(folder):
            return {}
        not_images = self._not_images.get(os.path.realpath(folder), set())
        with os.scandir(folder) as entries:
            return {
                entry.name: self._problem(entry)
                for entry in entries
                if entry.name not in not_images
                and _is_file(entry)
                and entry.path not in self._results
            }

    def subfolders(self, inner: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without hidden ones."""
        return subfolders(self.root / inner)

    def is_searched(self, inner: str) -> bool:
        """Return whether a folder is one to search, rather than a link that is not followed."""
        path = self.root / inner
        return not path.is_symlink() or (self._follow_links and self._is_outside(path))

    def leads_outside(self, inner: str) -> bool:
        """Return whether a folder is a link out of the image folder that is not followed."""
        return self._leads_outside(self.root / inner)

    def real(self, inner: str) -> str:
        """Return what is the same for a folder and for a link to it."""
        return os.path.realpath(self.root / inner)

    def beside(self) -> list[FilePath]:
        """Return the other folders in the one that this folder lies in."""
        parent = self.root.parent
        return [parent / name for name in subfolders(parent) if parent / name != self.root]

    def forget(self) -> None:
        """Forget nothing: folders are listed each time."""

    def _problem(self, entry: os.DirEntry[str]) -> str:
        if not entry.is_symlink():
            return ""
        if self._leads_outside(Path(entry.path)):
            return "the file is a link to outside the image folder; --follow-links reads it"
        return "" if entry.is_file() else "the file is a link to one that does not exist"

    def _leads_outside(self, path: Path) -> bool:
        return not self._follow_links and self._is_outside(path)

    def _is_outside(self, path: Path) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self.root)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a file, or a link to one that is missing."""
    return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden and the system's own."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:  # Nothing can be found in it.
        return []
    return sorted(filter(is_data, names))
