"""The images that nothing lists: beside the listed ones, and in folders of good ones."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from defectkit.object_stores import FilePath
from defectkit.preparation.file_tree import BAD_WORDS, is_named, own_parts
from defectkit.preparation.image_folder import ImageFolder, Listing
from defectkit.preparation.image_names import split_suffix
from defectkit.vocabulary import GOOD_WORDS, SPLIT_WORDS

MASK_ENDING = re.compile(
    r"[_\-. ]?(gt|ground_?truth|labels?|masks?|seg|segmentation)$", re.IGNORECASE
)
"""How the names of masks end that lie beside their images."""
FURTHER_WORDS = re.compile(r"[_\-. ](?=[^\d_\-. ]+([_\-. ][^\d_\-. ]+)*$)")
"""What stands before words without numbers at the end of a name: ``0_overlay``."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The images that nothing lists.

    Attributes:
        images: sorted.
        doubtful: those that may be the mask of an image, or the same image once more.
        defective: those in folders of defective images.
        beside: folders of good images beside the image folder itself, which are not in it.
    """

    images: tuple[FilePath, ...] = ()
    doubtful: tuple[FilePath, ...] = ()
    defective: tuple[FilePath, ...] = ()
    beside: tuple[FilePath, ...] = ()


def find_unlisted(
    folder: ImageFolder, listed: Iterable[str], defects: Collection[str] = ()
) -> Unlisted:
    """Find the images that lie beside the ``listed`` ones but are not among them.

    ``listed`` are the paths below ``folder``, with forward slashes; ``defects`` those of them that
    are defective.

    Those in folders of good images count too: where one lies in a folder of listed images or above
    it, also below the name of a split (``train/good``).
    """
    listed_names: dict[str, set[str]] = {}
    for path in listed:
        inner, _, name = path.rpartition("/")
        listed_names.setdefault(inner, set()).add(name)
    suffixes = {split_suffix(name)[1] for names in listed_names.values() for name in names}
    beside = listed_names.keys() or {""}
    above = {place for inner in beside for place in _up(inner)}
    good = {inner for place in above for inner in _good_folders_in(folder, place)}
    of_defects = _folders_of_defects(folder, beside - good, listed_names, defects)
    images: list[str] = []
    doubtful: list[str] = []
    defective: list[str] = []
    for inner in beside | good:
        listing, taken = folder.listing(inner), listed_names.get(inner, set())
        for stem, names in listing.names_by_stem.items():
            inside = [name for name in names if not listing.problems[name] and name not in taken]
            known = [name for name in inside if split_suffix(name)[1] in suffixes] or inside
            is_doubtful = not taken.isdisjoint(names) or _is_mask(listing, stem)
            for name in inside:
                chosen = defective if inner in of_defects else images
                chosen = doubtful if is_doubtful or name not in known else chosen
                chosen.append(f"{inner}/{name}" if inner else name)

    def paths(names: Iterable[str]) -> tuple[FilePath, ...]:
        return tuple(map(folder.path, sorted(names, key=lambda name: name.split("/"))))

    return Unlisted(
        paths(images),
        paths(doubtful),
        paths(defective),
        tuple(path for path in folder.beside() if is_named(path.name, GOOD_WORDS)),
    )


def _folders_of_defects(
    folder: ImageFolder,
    inners: Iterable[str],
    listed: Mapping[str, Collection[str]],
    defects: Collection[str],
) -> set[str]:
    """Return the folders whose images are defective, by their names or by what is listed.

    They are called so, or lie beside one of good images; or all listed images in them are
    defective, and all in another folder are good.
    """

    @cache  # There may be many folders in one.
    def has_good(inner: str) -> bool:
        return any(is_named(name, GOOD_WORDS) for name in folder.subfolders(inner))

    @cache
    def is_said(inner: str) -> bool:
        above, _, own = inner.rpartition("/")
        if is_named(own, BAD_WORDS):
            return True
        return has_good(above) and bool(own_parts((own,), with_split=False))

    counts = {
        inner: sum((f"{inner}/{name}" if inner else name) in defects for name in names)
        for inner, names in listed.items()
    }
    sorted_by_folder = 0 in counts.values()
    return {
        inner
        for inner in inners
        if any(map(is_said, filter(None, _up(inner))))
        or (sorted_by_folder and counts.get(inner) == len(listed.get(inner, "")))
    }


def _is_mask(listing: Listing, stem: str) -> bool:
    """Return whether an image lies beside it whose name it has, with the ending of masks or words.

    ``0_overlay`` may show what was found in ``0``.
    """
    endings = [MASK_ENDING.search(stem), *FURTHER_WORDS.finditer(stem)]
    return any(end is not None and stem[: end.start()] in listing.names_by_stem for end in endings)


def _good_folders_in(folder: ImageFolder, inner: str) -> list[str]:
    """Return the folders of good images in a folder, and in those of splits in it."""
    found = []
    for name in folder.subfolders(inner):
        below = f"{inner}/{name}" if inner else name
        if is_named(name, GOOD_WORDS):
            found += [*folder.folders(below)]
        elif name.casefold() in SPLIT_WORDS:
            deeper = [split for split in folder.subfolders(below) if is_named(split, GOOD_WORDS)]
            found += [one for split in deeper for one in folder.folders(f"{below}/{split}")]
    return found


def _up(inner: str) -> list[str]:
    """Return a folder and those above it, up to the image folder itself, which is ""."""
    parts = inner.split("/") if inner else []
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
