"""Find the image files of a label table, and never one outside the image folder."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from defectkit.errors import DefectkitWarning, ImageError
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.file_tree import DRAWN_WORDS, MASK_WORDS, is_named
from defectkit.preparation.folder_files import ImageFiles, LocalFiles
from defectkit.preparation.image_names import (
    MOVED,
    NameIndex,
    NoSuchImageError,
    describe_difference,
    parse_name,
    refuse_several,
    split_suffix,
)
from defectkit.preparation.stored_files import StoredFiles

NO_IMAGE_WORDS = MASK_WORDS | DRAWN_WORDS
"""The names of folders whose pictures are no images, unless one is named."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """The file that an image id means.

    Attributes:
        path: the file.
        name: its path below the image folder.
        how: in what the id differs from ``name``; "" if in no more than a missing extension.
    """

    path: FilePath
    name: str
    how: str = ""

    @property
    def is_moved(self) -> bool:
        """Whether the folders of ``name`` are not those of the id."""
        return MOVED in self.how


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder.

    Attributes:
        problems: for each file, why its link is not followed, or "".
        names_by_stem: the names of the images by their stems; hidden files are none.
    """

    problems: dict[str, str]
    names_by_stem: dict[str, list[str]]


class ImageFolder:
    """A folder of images that are found by image id; each folder in it is listed once.

    Links that lead out of it are followed only with ``follow_links``. Never found are the files
    ``not_images``, those of the labels, and the results of commands.
    """

    def __init__(
        self, root: FilePath, *, follow_links: bool = False, not_images: Iterable[Path] = ()
    ) -> None:
        """Open a folder, or what lies below a prefix of a store.

        Raises:
            DatasetError: the store does not list it, or there is nothing.
            MissingPackageError: the package that reads the store is not installed.
        """
        self._files: ImageFiles = (
            StoredFiles(root)
            if isinstance(root, StoredObject)
            else LocalFiles(root, follow_links=follow_links, not_images=not_images)
        )
        self.root = self._files.root
        self._listing = cache(self._list)
        self._find = cache(self._find_uncached)

    def find(self, image_id: str) -> FoundImage:
        """Return the file of ``image_id``, which may come without the file's extension.

        It is looked for as written, then in the steps of ``NameIndex``. An id may lead into a
        subfolder (``line2/0.png``) but not out of the image folder, neither by ``..`` nor through a
        link; of an absolute path the end counts alone.

        Raises:
            ImageError: there are several such files, or it leads outside.
            NoSuchImageError: there is none.
        """
        found = self._find(image_id)
        if isinstance(found, ImageError):
            raise found
        return found

    def find_as_written(self, image_id: str) -> FoundImage | None:
        """Return the file that ``image_id`` names to the letter; None where there is none.

        Raises:
            ImageError: there are several, or the id or its file leads outside.
        """
        name = parse_name(image_id)
        if name.elsewhere:
            return None
        *inner, wanted = name.parts
        listing = self.listing("/".join(inner))
        names = [wanted] if wanted in listing.problems else listing.names_by_stem.get(wanted, [])
        if len(names) > 1:
            raise refuse_several(["/".join([*inner, one]) for one in names])
        return self._found(image_id, "/".join([*inner, names[0]])) if names else None

    def hint_at_nearest(self, image_id: str) -> str:
        """Say which name is nearest to that of a missing image, if no more is known; slow."""
        try:
            self.find(image_id)
        except NoSuchImageError as error:
            nearest = None if error.hint else self._index.nearest(parse_name(image_id))
            return f"; the nearest name is {nearest}" if nearest else ""
        except ImageError:  # It says why by itself.
            pass
        return ""

    def forget(self) -> None:
        """Forget what was listed and found, which of a million images takes half a gigabyte."""
        self._listing.cache_clear()
        self._find.cache_clear()
        self._files.forget()
        for name in ("_index", "_links_outside"):
            self.__dict__.pop(name, None)

    def path(self, name: str) -> FilePath:
        """Return the file of a path below the image folder."""
        return self._files.path(name)

    def beside(self) -> list[FilePath]:
        """Return the other folders in the one that the image folder lies in."""
        return self._files.beside()

    def listing(self, inner: str) -> Listing:
        """List a folder below the image folder ("" is itself); one outside is empty.

        Raises:
            ImageError: it cannot be listed.
        """
        return self._listing(inner)

    def subfolders(self, inner: str) -> list[str]:
        """Return the names of the folders in a folder below the image folder, sorted."""
        return self._files.subfolders(inner)

    def folders(self, top: str = "") -> Iterator[str]:
        """Yield ``top`` and the folders below it that may have images, each once.

        Folders of masks and of pictures that were made of images have none. One that cannot be
        listed is warned of.
        """
        waiting, seen = [top], set()
        while waiting:
            inner = waiting.pop()
            real = self._files.real(inner)
            if real in seen:
                continue
            seen.add(real)
            try:
                self.listing(inner)
            except ImageError as error:
                warnings.warn(f"{error}; no image in it is found", DefectkitWarning, stacklevel=2)
                continue
            yield inner
            for name in reversed(self.subfolders(inner)):
                below = f"{inner}/{name}" if inner else name
                if not is_named(name, NO_IMAGE_WORDS) and self._files.is_searched(below):
                    waiting.append(below)

    def _find_uncached(self, image_id: str) -> FoundImage | ImageError:
        try:
            if found := self.find_as_written(image_id):
                return found
            name = parse_name(image_id)
            if path := self._index.find(name):
                return self._found(image_id, path)
            return NoSuchImageError(f"no such image in {self.root}", self._hint_at_links())
        except NoSuchImageError as error:
            return NoSuchImageError(f"no such image in {self.root}", error.hint)
        except ImageError as error:
            return error

    def _found(self, image_id: str, name: str) -> FoundImage:
        inner, _, own = name.rpartition("/")
        if problem := self.listing(inner).problems[own]:
            raise ImageError(problem)
        return FoundImage(self.path(name), name, describe_difference(image_id, name))

    def _hint_at_links(self) -> str:
        if not self._links_outside:
            return ""
        return f"; the folder {self._links_outside[0]} is a link: --follow-links reads it"

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(
            f"{inner}/{name}" if inner else name
            for inner in self.folders()
            for names in self.listing(inner).names_by_stem.values()
            for name in names
        )

    @cached_property
    def _links_outside(self) -> list[str]:
        return [
            below
            for inner in self.folders()
            for name in self.subfolders(inner)
            if self._files.leads_outside(below := f"{inner}/{name}" if inner else name)
        ]

    def _list(self, inner: str) -> Listing:
        try:
            problems = self._files.problems(inner)
        except OSError as error:
            folder = self.path(inner)
            raise ImageError(f"cannot list the folder {folder}: {error.strerror}") from error
        names_by_stem: dict[str, list[str]] = {}
        for name in sorted(problems):
            stem, suffix = split_suffix(name)
            if suffix and not name.startswith("."):
                names_by_stem.setdefault(stem, []).append(name)
        return Listing(problems, names_by_stem)
