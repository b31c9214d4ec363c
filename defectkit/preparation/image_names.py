"""How labels write the names of images, and which file a name means: matched in steps."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from urllib.parse import unquote_plus

from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.errors import ImageError
from defectkit.preparation.file_tree import IMAGE_WORDS, split_words

ELSEWHERE = re.compile(r"[A-Za-z]\w*://|[/\\]|[A-Za-z]:")
"""How a path begins that is not below the image folder: of any system, or a URL."""

MOVED = "part of the path"
"""Said of a file whose folders are not those of its name."""

MAX_SHOWN = 3
MAX_COMPARED = 1000
"""More files with the same end of their paths are not compared with a name."""
MAX_NEAREST_NAMES = 5_000
"""Number of files among which the nearest name is looked for."""
CLOSE = 0.8
"""Names that are less similar, from 0 to 1, are not said to be the nearest."""


class NoSuchImageError(ImageError):
    """No file fits an image id; ``hint`` says what may be meant, or is empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message + hint)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class WrittenName:
    """An image id as a path: its folders and its last part, without ``.`` and doubled slashes.

    ``elsewhere``: it is a whole path of some machine, of which the end alone counts.
    """

    parts: tuple[str, ...]
    elsewhere: bool


def parse_name(image_id: str) -> WrittenName:
    """Take an image id apart; slashes and backslashes are the same.

    Raises:
        ImageError: it is empty, has a NUL, or leads up.
    """
    elsewhere = ELSEWHERE.match(image_id)
    path = image_id[2:] if elsewhere and elsewhere[0].endswith(":") else image_id
    if elsewhere and elsewhere[0].endswith("://"):
        path = path.partition("?")[0]
    parts = tuple(part for part in re.split(r"[/\\]", path) if part not in ("", "."))
    if "\0" in image_id or ".." in parts:
        raise ImageError("the image id leads outside the image folder")
    if not parts:
        raise ImageError("there is no image id")
    return WrittenName(parts, elsewhere is not None)


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name or path into its stem and its suffix, if it is one of images."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if (dot + suffix).lower() in IMAGE_SUFFIXES else (name, "")


def split_words_of(image_id: str) -> tuple[str, ...]:
    """Return the words and numbers of an image's name, by which alike names are the same."""
    stem = _decode(split_suffix(re.split(r"[/\\]", image_id)[-1])[0])
    return tuple(word.lstrip("0") for word in re.findall(r"\d+|[^\W\d_]+", stem))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _decode(text: str) -> str:
    return _fold(unquote_plus(text))


STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", str),
    ("another Unicode form", lambda text: unicodedata.normalize("NFC", text)),
    ("another case", _fold),
    ("URL-encoded", _decode),
)
"""What a name and a file's may differ in, and what takes the difference away, in their order."""


def describe_difference(image_id: str, path: str) -> str:
    """Say in what ``image_id`` differs from ``path``, which it means.

    A missing extension is no difference: then it is "".
    """
    if image_id in (path, split_suffix(path)[0]):
        return ""
    name = parse_name(image_id)
    written, found = "/".join(name.parts), path
    key = _key(path)
    depth = next(end for end in _ends(key) if end in _ends(_key(written))).count("/") + 1
    said = []
    if name.elsewhere or key != _key(written):
        said.append(MOVED)
    elif written != image_id:
        said.append("other slashes")
    written, found = _end(written, depth), _end(found, depth)
    if written == found:
        return ", ".join(said)
    (stem, suffix), (found_stem, found_suffix) = split_suffix(written), split_suffix(found)
    if _fold(suffix) != _fold(found_suffix):
        said += ["another extension"] if suffix else []
        written, found = stem, found_stem
    how = next((how for how, form in STEPS if form(written) == form(found)), "URL-encoded")
    return ", ".join([*said, *([how] if how else [])])


class NameIndex:
    """Image files that are found by a name: in steps, and in each only where one file fits.

    The steps: the whole path, in the forms of ``STEPS``, with its extension and then without; the
    longest end that the paths have in common, if it is all of the one or of the other beside
    folders that say no more than ``images``.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = list(paths)

    @cached_property
    def _by_path(self) -> dict[str, list[str]]:
        return _group((_key(path), path) for path in self.paths)

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        return _group((end, path) for path in self.paths for end in _ends(_key(path)))

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {path.rpartition("/")[2]: path for path in self.paths[:MAX_NEAREST_NAMES]}

    def find(self, name: WrittenName) -> str | None:
        """Return the path of the one file that ``name`` means, or None if there is none.

        Raises:
            ImageError: it fits several.
            NoSuchImageError: a file of this name lies in a folder of another name.
        """
        key = _key("/".join(name.parts))
        if not name.elsewhere and key in self._by_path:
            return _choose(name, self._by_path[key], len(name.parts))
        for end in _ends(key):
            if paths := self._by_end.get(end):
                some = paths[:MAX_COMPARED]
                if _is_whole(end, key) or any(_is_whole(end, _key(path)) for path in some):
                    return _choose(name, paths, end.count("/") + 1)
                hint = f"; {paths[0]} has this name, but lies in another folder"
                raise NoSuchImageError("no such image", hint)
        return None

    def nearest(self, name: WrittenName) -> str | None:
        """Return the path whose last part is most similar to that of ``name``, if one is."""
        alike = get_close_matches(name.parts[-1], self._by_name, n=1, cutoff=CLOSE)
        return self._by_name[alike[0]] if alike else None


def refuse_several(paths: Sequence[str]) -> ImageError:
    """Return the error of an id that fits several files."""
    more = ", …" if len(paths) > MAX_SHOWN else ""
    folders = {path.rpartition("/")[0] for path in paths}
    return ImageError(
        f"the image id fits several files ({', '.join(sorted(paths)[:MAX_SHOWN])}{more}): "
        f"write which one{', or name one folder with --images' if len(folders) > 1 else ''}"
    )


def _choose(name: WrittenName, paths: list[str], depth: int) -> str:
    """Return the one of ``paths`` whose last ``depth`` parts agree best with those of ``name``.

    Raises:
        ImageError: several do.
    """
    if len(paths) > MAX_COMPARED:
        raise refuse_several(paths)
    ends = [(path, _end(path, depth)) for path in paths]
    written = _end("/".join(name.parts), depth)
    for _with_suffix in (True, False):
        for _, form in STEPS:
            wanted = form(written)
            fitting = [path for path, end in ends if form(end) == wanted]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                raise refuse_several(fitting)
        written, ends = (
            split_suffix(written)[0],
            [(path, split_suffix(end)[0]) for path, end in ends],
        )
    if len(paths) > 1:
        raise refuse_several(paths)
    return paths[0]


def _end(path: str, depth: int) -> str:
    return "/".join(path.split("/")[-depth:])


def _key(path: str) -> str:
    return _decode(split_suffix(path)[0])


def _ends(key: str) -> list[str]:
    """Return the ends of a path, the longest first."""
    parts = key.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _is_whole(end: str, key: str) -> bool:
    """Return whether ``end`` is all of a path but folders that are called as those of images."""
    above = key[: len(key) - len(end)].split("/")
    return all(word in IMAGE_WORDS for folder in above if folder for word in split_words(folder))


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, path in pairs:
        groups.setdefault(key, []).append(path)
    return groups
