"""The images that are named one by one or lie below given folders, and what else lies there."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from defectkit.data.file_kinds import has_image, is_document
from defectkit.data.folder_walk import Entry, walk_folder
from defectkit.data.image_kinds import IMAGE_SUFFIXES, is_data
from defectkit.errors import ImageError
from defectkit.object_stores import StoredObject
from defectkit.results_marker import KnownResults

NAMED = 3
"""Number of files that are named."""
OTHER_KINDS = {
    "hidden": "hidden or of the system",
    "seen": "links to folders that were searched",
    "result": "results of defectkit",
    "mask": "masks of --roi",
}
"""The files that are no images and have a reason beside their suffix."""
KNOWN = ", ".join(IMAGE_SUFFIXES)
PATTERN = frozenset("*?[")
"""What a shell leaves of a pattern that no file fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image by its id; ``problem`` says why it is not to be opened, "" if it is.

    ``number`` is its place among all files of a search, from 1 on.
    """

    image_id: str
    path: Path | StoredObject
    problem: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An object of a store: what ``Entry`` says of a file."""

    name: str
    path: StoredObject
    problem: str = ""


AnyEntry = TypeVar("AnyEntry", Entry, StoredEntry)


@dataclass(slots=True)
class ImageSearch:
    """What was found.

    Attributes:
        files: the images, and whatever may be or have images but is not to be opened.
        others: the names of the files that are no images, by their kind.
    """

    files: list[ImageFile] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """The paths of the images that are files."""
        return [file.path for file in self.files if isinstance(file.path, Path)]

    @property
    def skipped(self) -> int:
        """Number of files that are no images."""
        return sum(map(len, self.others.values()))

    def describe_skipped(self) -> str:
        """Return the number of files that are no images by kind, and the names of some; or ""."""
        if not self.skipped:
            return ""
        by_count = sorted(self.others.items(), key=lambda item: -len(item[1]))
        kinds = ", ".join(f"{len(names)} {kind}" for kind, names in by_count)
        names = sorted(name for names in self.others.values() for name in names)
        some = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
        plural = "s" if len(names) > 1 else ""
        return f"{len(names)} other file{plural} skipped: {kinds} ({some})"


def search_images(
    given: Sequence[str | Path], *, follow_links: bool, is_mask: Callable[[Path], bool]
) -> ImageSearch:
    """Return the given files, all images below the given folders, and all else that lies there.

    A file that is given counts as an image; below a folder, one that is called as images are or
    that begins as one. Documents, hidden files, results of defectkit and masks are counted;
    whatever else is no image, or is not opened, has a ``problem``. All holds for the objects of a
    store too, but that results and masks are not told from images there.

    Ids are unique: the path below the given folder, else the path as given, else the whole path.

    Args:
        given: files and folders.
        follow_links: also follow links that lead out of a given folder; otherwise they have a
            ``problem``.
        is_mask: whether a path is a region's mask, and so no image unless it is given itself.

    Raises:
        ImageError: there is no image, or something that is given is missing.
    """
    search, real_folder, results = ImageSearch(), cache(os.path.realpath), KnownResults()
    # Each file once, by its whole path; with its path as given.
    found: dict[str, tuple[Entry | StoredEntry, str]] = {}
    for text in given:
        if stored := StoredObject.named(text):
            for one, kind in _list_stored(stored):
                if kind:
                    search.others.setdefault(kind, []).append(one.name)
                else:
                    found.setdefault(one.path.url, (one, one.path.url))
            continue
        path = Path(text)
        _check_given(text)
        for entry, kind in _list_given(path, results, is_mask, follow_links=follow_links):
            if kind:
                search.others.setdefault(kind, []).append(entry.name)
            else:
                below = path if entry.path == path else path / entry.name
                # A link stays what it is: it is an image of its own.
                folder, name = os.path.split(entry.path)
                whole = os.path.join(real_folder(folder or os.curdir), name)  # noqa: PTH118
                found.setdefault(Path(whole).as_posix(), (entry, below.as_posix()))
    if all(entry.problem for entry, _ in found.values()):
        raise ImageError(_why_none(given, search, [entry for entry, _ in found.values()]))
    names = [(entry.name, below, whole) for whole, (entry, below) in found.items()]
    search.files = [
        ImageFile(image_id=image_id, path=entry.path, problem=entry.problem, number=number)
        for number, (image_id, (entry, _)) in enumerate(
            zip(_unique(names), found.values(), strict=True), start=1
        )
    ]
    return search


def _check_given(text: str | Path) -> None:
    """Check that something has a path.

    Raises:
        ImageError: it has none, or there is nothing.
    """
    if not str(text):
        raise ImageError("an empty text is no path of images. Name a file or a folder.")
    try:
        os.stat(text)  # noqa: PTH116 (it takes a text)
    except (OSError, ValueError) as error:  # ValueError: a null character
        hint = "no file fits the pattern" if PATTERN & set(str(text)) else "check the path"
        why = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot find {text} ({why}): {hint}.") from error


def _list_given(
    given: Path, results: KnownResults, is_mask: Callable[[Path], bool], *, follow_links: bool
) -> Iterator[tuple[Entry, str]]:
    """Yield what is given, or lies below it, and its kind: "" if it is to be listed."""
    if not given.is_dir():
        yield Entry(name=given.name, path=given, kind="file"), ""
        return
    entries = sorted(
        walk_folder(given, follow_links=follow_links), key=lambda entry: entry.name.split("/")
    )
    for entry in entries:
        if entry.path in results:
            yield entry, OTHER_KINDS["result"]
        elif entry.kind in OTHER_KINDS:
            yield entry, OTHER_KINDS[entry.kind]
        elif is_mask(entry.path):
            yield entry, OTHER_KINDS["mask"]
        elif entry.kind == "file":
            yield _judge_file(entry)
        elif entry.is_link and is_document(entry.name):
            yield entry, _suffix_of(entry)
        else:
            yield entry, ""


def _list_stored(given: StoredObject) -> Iterator[tuple[StoredEntry, str]]:
    """Yield an object, or those below a prefix, and its kind: "" if it is to be listed.

    Raises:
        ImageError: there is none, or the store does not answer.
        MissingPackageError: the package that reads the store is not installed.
    """
    try:
        objects = sorted(given.list(), key=lambda item: item[0].split("/"))
    except OSError as error:
        raise ImageError(
            f"cannot list {given} ({error.strerror or error}): check the address, the connection "
            "and the credentials."
        ) from error
    for key, stored in objects:
        entry = StoredEntry(name=key or stored.name, path=stored)
        if not key:
            yield entry, ""
        elif not all(map(is_data, key.split("/"))):
            yield entry, OTHER_KINDS["hidden"]
        else:
            yield _judge_file(entry)


def _judge_file(entry: AnyEntry) -> tuple[AnyEntry, str]:
    """Return a file with its problem if it has one, and its kind if it is no image."""
    if entry.path.suffix.lower() in IMAGE_SUFFIXES:
        return entry, ""
    try:
        if has_image(entry.path):
            return entry, ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return replace(entry, problem=f"cannot be read: {reason}."), ""
    if is_document(entry.name):
        return entry, _suffix_of(entry)
    problem = (
        f"unknown kind of file ({_suffix_of(entry)}). Save the images that it has as PNG or TIFF, "
        "or move it away."
    )
    return replace(entry, problem=problem), ""


def _suffix_of(entry: Entry | StoredEntry) -> str:
    return entry.path.suffix.lower() or "without extension"


def _why_none(
    given: Sequence[str | Path], search: ImageSearch, unopened: Sequence[Entry | StoredEntry]
) -> str:
    where = ", ".join(map(str, given))
    skipped = search.describe_skipped()
    problems = [f"{entry.path}: {entry.problem}" for entry in unopened[:NAMED]]
    if len(unopened) > NAMED:
        problems.append(f"and {len(unopened) - NAMED} more.")
    reasons = " ".join(problems) or f"Known kinds: {KNOWN}."
    return f"no image in {where}{f' ({skipped})' if skipped else ''}. {reasons}"


def _unique(names_of_files: Sequence[tuple[str, ...]]) -> list[str]:
    """Return for each file the first of its names that makes all different, as the last ones do."""
    levels = [0] * len(names_of_files)
    while True:
        chosen = [names[level] for names, level in zip(names_of_files, levels, strict=True)]
        counts = Counter(chosen)
        shared = [i for i, name in enumerate(chosen) if counts[name] > 1]
        if not shared:
            return chosen
        for i in shared:
            levels[i] = min(levels[i] + 1, len(names_of_files[i]) - 1)
