"""What lies in a folder that a command wrote: its kind and its files, as its marker says.

Nobody but ``results_folder.py`` writes the marker ``.defectkit.json``. Training, and versions
before it, wrote none: what these leave is known by its names.
"""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from defectkit import __version__
from defectkit.errors import OutputError
from defectkit.files import TEMP_MARK, read_cells, read_limited, safe_name, write_json

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
            *("report.html", "overlays/[1-5]-*-*.png", "overlays/[1-5]-*-*.preview.jpg"),
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
MAX_DEPTH = 4
"""Max. number of folders from a result up to its marker, both included: RUN/progress/1.png."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What a command says of the folder it wrote.

    Attributes:
        kind: what the results are, such as "dataset".
        complete: whether the command came to its end.
        files: the files that it wrote, relative to the folder, with forward slashes.
    """

    kind: str
    complete: bool
    files: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> "Marker | None":
        """Return the marker of a folder; None where there is none or it is damaged."""
        try:
            # Of a million files: larger than any other JSON file of defectkit.
            content = json.loads(read_limited(folder / MARKER))
            kind, complete, files = (content[key] for key in ("kind", "complete", "files"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if not (isinstance(kind, str) and isinstance(complete, bool) and isinstance(files, list)):
            return None
        return cls(kind, complete, frozenset(files)) if all(map(_is_inside, files)) else None

    def write(self, folder: Path) -> None:
        """Write the marker of a folder."""
        content = {**asdict(self), "files": sorted(self.files)}
        write_json(folder / MARKER, {"defectkit": __version__, **content})


def own_files(folder: Path) -> frozenset[str]:
    """Return the results in and below a folder, which are no images or labels of the user.

    They are the files that its marker lists, or by their names those of an earlier version without
    one, and all in its ``unfinished/``. Paths are relative to it, with forward slashes.
    """
    marker = Marker.read(folder)
    own = set(marker.files) if marker else unmarked_files(folder)
    if marker and marker.kind in SOURCE_KINDS:
        own = set()
    if Marker.read(folder / UNFINISHED):
        own.update(f"{UNFINISHED}/{name}" for name in files_below(folder / UNFINISHED))
    return frozenset(own)


class KnownResults:
    """Which files commands wrote; what lies in a folder is read once.

    A folder of a user may lie among results, and results among images.
    """

    def __init__(self) -> None:
        self._own_files = cache(lambda folder: own_files(Path(folder)))

    def __contains__(self, path: str | Path) -> bool:
        """Return whether a command wrote the file, as a marker above it says."""
        folder, inner = os.path.split(os.path.abspath(path))  # noqa: PTH100 (links stay)
        if inner == MARKER:
            return True
        for _ in range(MAX_DEPTH):
            if inner in self._own_files(folder):
                return True
            folder, name = os.path.split(folder)
            if not name:
                return False
            inner = f"{name}/{inner}"
        return False


def unmarked_files(folder: Path) -> set[str]:
    """Return the files of an earlier version, by their names; none where there is a marker."""
    files: set[str] = set()
    if not Marker.read(folder):
        for head in _unmarked(folder):
            files |= named_files(folder, head)
            if UNMARKED[head].kind == "inspection":
                files.update(_unmarked_overlays(folder))
    return files


def named_files(folder: Path, head: str) -> set[str]:
    """Return the files in and below a folder that are called as results with this ``head``."""
    return {
        path.relative_to(folder).as_posix()
        for pattern in UNMARKED[head].files
        for path in folder.glob(pattern)
    }


def check_out(out: str | Path, kind: str) -> Path:
    """Return ``out`` as a path if results of ``kind`` may be written there; change nothing.

    Raises:
        OutputError: it is no folder, has results of another kind, or is where a command keeps its
            unfinished ones.
    """
    if not os.fspath(out):
        raise OutputError("the path of the folder to write is empty. Name a folder.")
    folder = Path(out)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder. Choose another folder.")
    for inner in (folder, *folder.absolute().parents):
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
