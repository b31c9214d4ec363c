"""Walking through a folder: every entry is given, also what is not opened, with the reason."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from defectkit.data.image_kinds import is_data

EntryKind = Literal["file", "hidden", "seen", "not opened", "not listed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What lies in a folder.

    Attributes:
        name: the path below the folder, with forward slashes.
        path: the path to open.
        kind: a regular file; hidden, or of the system; a link to a folder that was walked through
            already; not opened; or a folder that cannot be listed.
        problem: why it is not opened or cannot be listed.
        is_link: whether it is a link itself.
    """

    name: str
    path: Path
    kind: EntryKind
    problem: str = ""
    is_link: bool = False


def walk_folder(top: Path, *, follow_links: bool = False) -> Iterator[Entry]:
    """Yield every file below ``top`` and whatever else lies there; each folder is entered once.

    Hidden folders and those of the system are not entered. Links are followed to files and folders
    below ``top``, and to others with ``follow_links``; a folder's own path counts before a link.
    """
    walk = _Walk(Path(os.path.realpath(top)), follow_links)
    folders, links = [("", os.fspath(top))], list[tuple[str, str]]()
    seen = set()
    while folders or links:
        inner, path = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(path)  # noqa: PTH116 (a Path for each file is slow)
            if (status.st_dev, status.st_ino) in seen:
                yield Entry(name=inner, path=Path(path), kind="seen", is_link=True)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            problem = f"cannot list the folder: {error.strerror}."
            name = inner or Path(path).as_posix()
            yield Entry(name=name, path=Path(path), kind="not listed", problem=problem)
            continue
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            found = walk.judge(entry, name)
            if found:
                yield found
            else:
                (links if entry.is_symlink() else folders).append((name, entry.path))


@dataclass(frozen=True, slots=True)
class _Walk:
    """How the entries of a folder are judged; ``top`` is its real path."""

    top: Path
    follow_links: bool

    def judge(self, entry: os.DirEntry[str], name: str) -> Entry | None:
        """Return an entry by what it is; None for a folder to enter."""
        kind: EntryKind = "hidden"
        problem, is_link = "", False
        if is_data(entry.name):
            try:
                is_link = entry.is_symlink()
                problem = self._problem(entry) if is_link else ""
                if not problem and entry.is_dir():
                    return None
                if not problem and not entry.is_file():
                    problem = "it is no file, but a pipe, a socket or a device."
            except OSError as error:
                problem = f"cannot be opened: {error.strerror}."
                if error.errno == errno.ELOOP:
                    problem = "the link leads in a circle."
            kind = "not opened" if problem else "file"
        return Entry(name=name, path=Path(entry.path), kind=kind, problem=problem, is_link=is_link)

    def _problem(self, link: os.DirEntry[str]) -> str:
        """Return why a link is not followed, or "".

        Raises:
            OSError: it leads in a circle, or through a folder that cannot be read.
        """
        try:
            link.stat()
        except FileNotFoundError:
            return "the link leads nowhere."
        if self.follow_links or Path(os.path.realpath(link.path)).is_relative_to(self.top):
            return ""
        return (
            f"the link leads out of {self.top}. Give the path of its target, or follow all links "
            "with --follow-links."
        )
