"""Objects of a store such as S3, read through fsspec, which knows credentials and endpoints.

Nothing is written there: results need a folder that can be locked and whose files can be renamed.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeAlias

from defectkit.errors import first_line
from defectkit.optional_packages import Extra, need_installed

STORES: dict[str, tuple[str, Extra | None]] = {
    "s3": ("s3fs", "cloud"),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", None)),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", None)),
}
"""The stores by their schemes: the package that reads each, and the extra it comes with."""

NOT_THERE = "there is no such object"
CHANGES = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""What stores call that which tells whether an object was replaced: its hash, else its time."""


@dataclass(frozen=True, slots=True, order=True)
class StoredObject:
    """An object, or all objects below a prefix, by the address ``scheme://bucket/key``.

    Its name has the parts that a ``Path`` has. ``version`` is another text for an object that was
    replaced; "" unless it was listed.
    """

    url: str
    version: str = field(default="", compare=False)

    @classmethod
    def named(cls, given: str | Path) -> Self | None:
        """Return what is given if it is an address of a store, else None.

        A path that was made of an address, and so has a single slash, is one as well.
        """
        found = re.fullmatch(r"([a-z0-9]+):[/\\]{1,2}([^/\\].*)", str(given), re.DOTALL)
        if not found or found[1] not in STORES:
            return None
        key = found[2] if isinstance(given, str) else found[2].replace("\\", "/")
        return cls(f"{found[1]}://{key}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot; "" without one."""
        return PurePosixPath(self.url).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.url).stem

    @property
    def parent(self) -> Self:
        """The prefix that it lies below; that of a whole bucket is itself."""
        above, _, name = self.url.rstrip("/").rpartition("/")
        return self if above.endswith("/") or not name else type(self)(above)

    def resolve(self) -> Self:
        """Return itself: there are no links."""
        return self

    def __truediv__(self, name: str) -> Self:
        """Return the object of a key below this prefix; "" is the prefix itself."""
        return type(self)(f"{self.url.rstrip('/')}/{name}") if name else self

    def is_relative_to(self, prefix: str) -> bool:
        """Return whether it lies below the address of a prefix, or is it."""
        return f"{self.url}/".startswith(f"{prefix.rstrip('/')}/")

    def relative_to(self, prefix: str) -> Path:
        """Return its key below the address of a prefix.

        Raises:
            ValueError: it does not lie there.
        """
        if not self.is_relative_to(prefix):
            raise ValueError(f"{self} does not lie below {prefix}")
        return Path(self.url.removeprefix(prefix.rstrip("/")).lstrip("/"))

    def list(self) -> Iterator[tuple[str, Self]]:
        """Yield the objects below, each with its key from here on; an object itself has the key "".

        Raises:
            OSError: the store refuses it, does not answer, or has nothing there.
            MissingPackageError: the package that reads the store is not installed.
        """
        store, path = self._open()
        with _store_errors():
            found = store.find(path, detail=True)
        path, url = path.rstrip("/"), self.url.rstrip("/")
        if not found:
            raise FileNotFoundError(errno.ENOENT, f"{NOT_THERE}, and none below")
        for one, info in sorted(found.items()):
            if not one.endswith("/"):  # What stands for an empty folder.
                key = one.removeprefix(path)
                yield key.lstrip("/"), type(self)(url + key, version=_version(info))

    def subfolders(self) -> Iterator[str]:
        """Yield the names of the prefixes below, of one part each.

        Raises:
            OSError, MissingPackageError: as ``list``.
        """
        store, path = self._open()
        with _store_errors():
            found = store.ls(path, detail=True)
        for one in found:
            name = one["name"].strip("/").removeprefix(path.strip("/")).strip("/")
            if one["type"] == "directory" and name:
                yield name

    def read(self, max_bytes: int) -> bytes:
        """Return the content.

        Raises:
            OSError: the store refuses it, does not answer, or has it no longer.
            ValueError: it is larger than ``max_bytes``.
            MissingPackageError: the package that reads the store is not installed.
        """
        content = self.read_start(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"it is larger than the limit of {max_bytes:,} bytes")
        return content

    def read_start(self, size: int) -> bytes:
        """Return the first bytes, ``size`` at most.

        Raises:
            OSError, MissingPackageError: as ``read``.
        """
        store, path = self._open()
        with _store_errors():
            try:
                return bytes(store.cat_file(path, start=0, end=size))
            except Exception as error:
                # Of an empty object stores give no range. Nothing more is asked after another
                # error: where the store does not answer, one more wait would follow.
                if "range" not in str(error).lower() or store.size(path) != 0:
                    raise
                return b""

    def _open(self) -> tuple[Any, str]:
        """Return the file system of the store, which fsspec keeps, and the path in it.

        What was listed is not kept: it may have changed when it is listed again.
        """
        package, extra = STORES[self.url.partition("://")[0]]
        need_installed(package, extra=extra, what=self.url)
        import fsspec

        with _store_errors():
            # A listing would stay in memory, more than a kilobyte for each object.
            store, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return store, path


FilePath: TypeAlias = Path | StoredObject
"""What is read: a file, or an object of a store."""


def locate(given: str | Path, folder: Path = Path()) -> FilePath:
    """Return what an address of a store, or a path as seen from ``folder``, names."""
    return StoredObject.named(given) or folder / given


def _version(info: Mapping[str, Any]) -> str:
    changes = next((str(info[name]) for name in CHANGES if info.get(name)), "")
    return f"{info.get('size')} bytes, {changes}"


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what the packages of the stores raise into an OSError: each has types of its own."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, NOT_THERE) from error
    except OSError as error:
        if error.strerror:
            raise
        raise OSError(first_line(error)) from error
    except Exception as error:
        raise OSError(first_line(error)) from error
