"""The images that are named one by one or lie below given folders, and what else lies there."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectkit.data.image_kinds import IMAGE_SUFFIXES, is_data
from defectkit.errors import ImageError

NAMED = 3
"""Number of skipped files that are named."""
DEAD_LINK = "the link leads nowhere."


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image by its id; ``problem`` says why it is not to be opened, "" if it is."""

    image_id: str
    path: Path
    problem: str = ""


@dataclass(slots=True)
class ImageSearch:
    """The images that were found, and the paths of the files that are of no known kind."""

    files: list[ImageFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def describe_skipped(self) -> str:
        """Return the number of skipped files by extension and the names of the first; or ""."""
        if not self.skipped:
            return ""
        kinds = Counter(Path(name).suffix.lower() or "without extension" for name in self.skipped)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        names = ", ".join(self.skipped[:NAMED]) + (", …" if len(self.skipped) > NAMED else "")
        plural = "s" if len(self.skipped) > 1 else ""
        return f"{len(self.skipped)} other file{plural} skipped: {counts} ({names})"


def search_images(given: Sequence[Path], *, results: Path, follow_links: bool) -> ImageSearch:
    """Return the given files, and all images below the given folders.

    Hidden files and what an inspection wrote are left out. A file that is given counts as an image
    whatever its name.

    Args:
        given: files and folders.
        results: the folder of the results of an inspection.
        follow_links: also follow links that lead out of a given folder; otherwise the images have
            a ``problem``.

    Raises:
        ImageError: there is no image.
    """
    search = ImageSearch()
    paths: dict[Path, tuple[str, str]] = {}  # with name and problem
    for path in given:
        if path.is_dir():
            for below, problem in sorted(_walk(path, results, follow_links=follow_links)):
                name = below.relative_to(path).as_posix()
                if problem or below.suffix.lower() in IMAGE_SUFFIXES:
                    paths.setdefault(below, (name, problem))
                else:
                    search.skipped.append(name)
        else:
            paths.setdefault(path, (path.name, ""))
    if not paths:
        skipped = search.describe_skipped()
        raise ImageError(
            f"no image in {', '.join(map(str, given))}{f' ({skipped})' if skipped else ''}. "
            f"Known kinds: {', '.join(IMAGE_SUFFIXES)}."
        )
    counts = Counter(name for name, _ in paths.values())
    search.files = [
        # Files with the same name are distinguished by their full paths.
        ImageFile(
            image_id=name if counts[name] == 1 else path.as_posix(), path=path, problem=problem
        )
        for path, (name, problem) in paths.items()
    ]
    return search


def _walk(top: Path, results: Path, *, follow_links: bool) -> Iterator[tuple[Path, str]]:
    """Yield each file below ``top``, each folder once, and the problem of what is not opened."""
    real_top, real_results = top.resolve(), results.resolve()
    problems: list[tuple[Path, str]] = []

    def unreadable(error: OSError) -> None:
        problems.append((Path(error.filename), f"cannot list the folder: {error.strerror}."))

    def leads_out(path: Path) -> bool:
        return path.is_symlink() and not path.resolve().is_relative_to(real_top)

    seen = set()
    for base, folders, names in os.walk(top, onerror=unreadable, followlinks=follow_links):
        real = Path(base).resolve()
        folders[:] = [name for name in folders if is_data(name)]
        if real in seen or real == real_results / "overlays":
            folders.clear()  # Links of folders to each other may form a loop.
            continue
        seen.add(real)
        paths = [Path(base, name) for name in names if is_data(name)]
        for path in [*paths, *(Path(base, name) for name in folders if not follow_links)]:
            if not follow_links and _may_be_images(path) and leads_out(path):
                yield path, _link_problem(path, top)
            elif path.is_file() and not (real == real_results and path.suffix == ".csv"):
                yield path, ""
            elif not path.exists():
                yield path, DEAD_LINK
    yield from problems


def _may_be_images(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir()


def _link_problem(path: Path, folder: Path) -> str:
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises in folders it may not read)
        return DEAD_LINK
    return (
        f"{path} is a link that leads out of {folder}. Give the path of its target to inspect "
        "it, or follow all links with --follow-links."
    )
