"""The objects below a prefix of a store as the files of an image folder, listed at once."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from defectkit.data.image_kinds import is_data
from defectkit.errors import DatasetError
from defectkit.object_stores import FilePath, StoredObject


class StoredFiles:
    """The objects below a prefix, whose keys have slashes as paths have; there are no links.

    Those whose keys have an empty part are left out.
    """

    def __init__(self, root: StoredObject) -> None:
        """List the objects.

        Raises:
            DatasetError: there is none below, or the store does not answer.
            MissingPackageError: the package that reads the store is not installed.
        """
        self.root = StoredObject(root.url.rstrip("/"))
        _ = self._folders

    def names(self) -> Iterator[str]:
        """Yield the keys of all objects below the prefix, without hidden ones."""
        for inner, objects in self._folders.items():
            for name in objects:
                if all(map(is_data, (*inner.split("/"), name))):
                    yield f"{inner}/{name}" if inner else name

    def path(self, name: str) -> StoredObject:
        """Return the object of a key below the prefix, as it was listed."""
        inner, _, own = name.rpartition("/")
        return self._folders.get(inner, {}).get(own) or self.root / name

    def problems(self, inner: str) -> dict[str, str]:
        """Return "" for each object in a folder: nothing is known against it."""
        return dict.fromkeys(self._folders.get(inner, {}), "")

    def subfolders(self, inner: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without hidden ones."""
        return sorted(filter(is_data, self._subfolders.get(inner, ())))

    def is_searched(self, _: str) -> bool:
        """Return True: there are no links."""
        return True

    def leads_outside(self, _: str) -> bool:
        """Return False: there are no links."""
        return False

    def real(self, inner: str) -> str:
        """Return the folder itself: there are no links."""
        return inner

    def beside(self) -> list[FilePath]:
        """Return the other folders in the one that this folder lies in; none where it is barred."""
        parent = self.root.parent
        names: list[str] = []
        if parent != self.root:
            with suppress(OSError):
                names = sorted(filter(is_data, parent.subfolders()))
        return [parent / name for name in names if name != self.root.name]

    def forget(self) -> None:
        """Forget what was listed; it is listed again if need be."""
        self.__dict__.pop("_folders", None)
        self.__dict__.pop("_subfolders", None)

    @cached_property
    def _folders(self) -> dict[str, dict[str, StoredObject]]:
        """The objects by their names, by the folders that they lie in."""
        folders: dict[str, dict[str, StoredObject]] = {}
        try:
            for key, stored in self.root.list():
                inner, _, name = key.rpartition("/")
                if name and "//" not in key:
                    folders.setdefault(inner, {})[name] = stored
        except OSError as error:
            raise DatasetError(
                f"cannot list --images {self.root} ({error.strerror or error}): check the address, "
                "the connection and the credentials."
            ) from error
        if not folders:
            raise DatasetError(
                f"--images {self.root} is one object, not a folder. Name what it lies in."
            )
        return folders

    @cached_property
    def _subfolders(self) -> dict[str, set[str]]:
        """The names of the folders in each folder."""
        found: dict[str, set[str]] = {}
        for inner in self._folders:
            while inner:
                above, _, name = inner.rpartition("/")
                found.setdefault(above, set()).add(name)
                inner = above
        return found
