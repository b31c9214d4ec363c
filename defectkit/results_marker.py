"""What lies in a folder that a command wrote: its kind and its files, as its marker says.

Nobody but ``results_folder.py`` writes the marker ``.defectkit.json``. Training, and versions
before it, wrote none: what these leave is known by its names.
"""

import csv
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple, get_args

from defectkit import __version__
from defectkit.errors import OutputError
from defectkit.files import MAX_FILE_BYTES, TEMP_MARK, read_cells, read_json, safe_name, write_json
from defectkit.object_stores import StoredObject
from defectkit.vocabulary import Outcome

MARKER = ".defectkit.json"
LOCK = ".defectkit.lock"
UNFINISHED = "unfinished"
"""The folder where a command writes until its results are complete."""


SOURCE_KINDS = ("images", "masks")
"""What commands write for other commands to read: no results."""


class Unmarked(NamedTuple):
    """Results without a marker, of training or of an earlier version.

    The head's first bytes have ``sign``; ``files`` are patterns of the files.
    """

    kind: str
    sign: bytes
    files: tuple[str, ...] = ()


UNMARKED = {
    "dataset.json": Unmarked(
        "dataset",
        b'"format_version"',
        (
            *("dataset.json", "images.csv", "masks.csv", "defects.csv", "leaks.csv", "ledger.csv"),
            *("scope.csv", "preview/good.png", "preview/smallest.png", "preview/leaks.png"),
            "preview/defective_*.png",
        ),
    ),
    "run.json": Unmarked(
        "run",
        b'"dataset_folder"',
        ("augmentations.png", "curves.png", "progress.gif", "progress/*.png"),
    ),
    "model.json": Unmarked("model", b'"format_version"'),
    "metrics.json": Unmarked(
        "evaluation",
        b'"threshold_low"',
        (
            *("metrics.json", "images.csv", "regions.csv", "scores.png", "region_recall.png"),
            "report.html",
            *(f"overlays/[1-5]-{outcome}-*.png" for outcome in get_args(Outcome)),
            *(f"overlays/[1-5]-{outcome}-*.preview.jpg" for outcome in get_args(Outcome)),
            "report_pictures/*.jpg",
        ),
    ),
    "findings.csv": Unmarked(
        "inspection", b"image_id,verdict,score", ("findings.csv", "regions.csv", "errors.csv")
    ),
    "comparison.csv": Unmarked(
        "comparison", b"run,", ("comparison.csv", "comparison.html", "comparison.png")
    ),
    "suspects.csv": Unmarked(
        "suspects",
        b"rank,image_id",
        (
            *("suspects.csv", "suspects.html", "pictures/[0-9]*-*.png"),
            "pictures/[0-9]*-*.preview.jpg",
        ),
    ),
}
"""By the names of their heads."""
SIGN_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Marker:
    """What a command says of the folder it wrote.

    Attributes:
        kind: what the results are, such as "dataset".
        complete: whether the command came to its end.
        files: the files that it wrote, relative to the folder, with forward slashes, and the number
            of bytes of each. A file of another size is the user's, who changed it.
    """

    kind: str
    complete: bool
    files: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> "Marker | None":
        """Return the marker of a folder; None where there is none or it is damaged."""
        try:
            # Of a million files: larger than any other JSON file of defectkit.
            content = read_json(folder / MARKER, MAX_FILE_BYTES)
            kind, complete, files = (content[key] for key in ("kind", "complete", "files"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not (isinstance(kind, str) and isinstance(complete, bool) and isinstance(files, dict)):
            return None
        if not all(type(size) is int for size in files.values()):
            return None
        return cls(kind, complete, files) if all(map(_is_inside, files)) else None

    def write(self, folder: Path) -> None:
        """Write the marker of a folder."""
        content = {**asdict(self), "files": dict(sorted(self.files.items()))}
        write_json(folder / MARKER, {"defectkit": __version__, **content})

    @property
    def is_of_unfinished(self) -> bool:
        """Whether it is that of a folder ``unfinished``: of a command that did not end."""
        return not self.complete and not self.files


def own_files(folder: Path) -> dict[str, int]:
    """Return the results in and below a folder, which are no images or labels of the user.

    They are the files that its marker lists, or by their names those of an earlier version without
    one, and all in its ``unfinished/``. Paths are relative to it, with forward slashes; values are
    numbers of bytes, as in a marker.
    """
    marker = Marker.read(folder)
    own = dict(marker.files) if marker else sizes_of(folder, unmarked_files(folder))
    if marker and marker.kind in SOURCE_KINDS:
        own = {}
    unfinished = Marker.read(folder / UNFINISHED)
    if unfinished and unfinished.is_of_unfinished:
        names = (f"{UNFINISHED}/{name}" for name in files_below(folder / UNFINISHED))
        own.update(sizes_of(folder, names))
    return own


def sizes_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the numbers of bytes of files in and below a folder; links are left out."""
    sizes = {name: size_of(folder / name) for name in names}
    return {name: size for name, size in sizes.items() if size is not None}


def size_of(path: Path | str) -> int | None:
    """Return the number of bytes of a file; None for a link or what is no file."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):  # ValueError: a null character
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


class KnownResults:
    """Which files commands wrote; what lies in a folder is read once.

    A folder of a user may lie among results, and results among images.
    """

    def __init__(self) -> None:
        self._own_files = cache(lambda folder: own_files(Path(folder)))

    def __contains__(self, path: str | Path) -> bool:
        """Return whether a command wrote the file as it is, as a marker above it says."""
        folder, inner = os.path.split(os.path.abspath(path))  # noqa: PTH100 (links stay)
        if inner == MARKER:
            return True
        while True:
            size = self._own_files(folder).get(inner)
            if size is not None and size == size_of(path):
                return True
            folder, name = os.path.split(folder)
            if not name:
                return False
            inner = f"{name}/{inner}"


def unmarked_files(folder: Path) -> set[str]:
    """Return the files of an earlier version, by their names; none where there is a marker."""
    files: set[str] = set()
    if not Marker.read(folder):
        for head in _unmarked(folder):
            for pattern in patterns_of(head):
                files.update(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
            if UNMARKED[head].kind == "inspection":
                files.update(_unmarked_overlays(folder))
    return files


def patterns_of(head: str) -> tuple[str, ...]:
    """Return patterns of the names of results, which an earlier version may have written."""
    return UNMARKED[head].files if head in UNMARKED else ()


def check_out(out: str | Path, kind: str) -> Path:
    """Return ``out`` as a path if results of ``kind`` may be written there; change nothing.

    Raises:
        OutputError: it is no folder or on an object store, has results of another kind, or is where
            a command keeps its unfinished ones.
    """
    if not os.fspath(out):
        raise OutputError("the path of the folder to write is empty. Name a folder.")
    if stored := StoredObject.named(out):
        raise OutputError(
            f"{stored} is on an object store, where no results can be written. Choose a folder, "
            "and copy it there afterwards."
        )
    folder = Path(out)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder. Choose another folder.")
    whole = folder.absolute()
    if whole.name.casefold() == UNFINISHED:
        raise OutputError(
            f"{folder} is called as the folders are where commands keep unfinished results. Choose "
            "another folder."
        )
    for inner in whole.parents:
        if inner.name == UNFINISHED and Marker.read(inner):
            raise OutputError(f"{inner} has unfinished results. Choose another folder.")
    marker = Marker.read(folder)
    kinds = [marker.kind] if marker else [UNMARKED[head].kind for head in _unmarked(folder)]
    for other in kinds:
        if other != kind:
            raise OutputError(
                f"{folder} has the files of another command (kind: {other}), which are not mixed "
                f"with those of this one (kind: {kind}). Choose another folder."
            )
    return folder


def files_below(folder: Path) -> Iterator[str]:
    """Yield the files in and below a folder, relative to it, without those of killed writes."""
    for base, _, names in os.walk(folder):
        inner = Path(base).relative_to(folder)
        yield from ((inner / name).as_posix() for name in names if not name.startswith(TEMP_MARK))


def _unmarked(folder: Path) -> Iterator[str]:
    """Yield the heads of results in a folder without a marker."""
    for head, results in UNMARKED.items():
        with suppress(OSError):
            if (folder / head).is_file():
                with (folder / head).open("rb") as file:
                    if results.sign in file.read(SIGN_BYTES):
                        yield head


def _unmarked_overlays(folder: Path) -> Iterator[str]:
    """Yield the names of the overlays of the images in ``findings.csv``."""
    with suppress(OSError, ValueError, csv.Error):
        for image_id, *_ in read_cells(folder / "findings.csv"):
            name = safe_name(image_id)
            yield from (f"overlays/{name}.png", f"overlays/{name}.preview.jpg")


def _is_inside(name: object) -> bool:
    """Return whether an entry of a marker, which anybody may have written, is one of results."""
    if not isinstance(name, str):
        return False
    path = PurePath(name)
    if not path.name or path.anchor or ".." in path.parts:
        return False
    return path.parts[0] not in (MARKER, UNFINISHED)


def remove_all_but(kept: Collection[str], folder: Path) -> None:
    """Remove the folders in a folder, and its files but for those that are kept."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()
