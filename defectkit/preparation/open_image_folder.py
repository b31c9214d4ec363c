"""Open the folder that has the images of labels: the one that is named, or the best near them."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from defectkit.errors import DatasetError, ImageError
from defectkit.object_stores import FilePath
from defectkit.preparation.file_tree import (
    IMAGE_WORDS,
    LABEL_WORDS,
    is_named,
    split_in,
    split_of,
    split_words,
)
from defectkit.preparation.folder_files import subfolders
from defectkit.preparation.image_folder import FoundImage, ImageFolder
from defectkit.preparation.image_names import NoSuchImageError
from defectkit.vocabulary import SPLIT_WORDS

FOLDER_NAMES = ("train", "train_images", "images", "jpegimages")
"""How folders of images are called, in any case."""
IDS_TO_TRY = 100
"""Number of image ids that are looked for in each folder."""
NEARLY_ALL = 0.9
"""Share of the images from which on a folder may be that of the labels."""


def open_image_folder(
    labels: Path,
    images: FilePath | None,
    image_ids: Sequence[str],
    parents: Sequence[Path] | None = None,
    *,
    label_files: Sequence[str] = (),
    not_images: Sequence[Path] = (),
    follow_links: bool = False,
) -> ImageFolder:
    """Open ``images``, or the folder near ``labels`` that has most of the first images.

    Without ``images``, ``FOLDER_NAMES`` in ``parents`` and these themselves are tried; by default
    that is where the file ``labels`` lies. Images as they are written count first. Of folders side
    by side that all have the images, such as those of splits, that of the labels' own split is it.

    Args:
        labels: the file or folder of the labels, for messages.
        images: the folder that the user named, also of a store.
        image_ids: the images that the labels name.
        parents: folders near the labels.
        label_files: the names of label files about one image each, which images may be called as.
        not_images: files that are none, whatever their names.
        follow_links: whether links may lead out of the folder.

    Raises:
        DatasetError: ``images`` is not a folder or cannot be listed, no image of the table is in
            the folder, or several folders have them.
    """
    if isinstance(images, Path) and not images.is_dir():
        raise DatasetError(f"--images {images} is not a folder.")
    named, others = ([], []) if images else _places_near(parents or [labels.parent])
    around: list[FilePath] = [images] if images else [*others]
    places: list[FilePath] = [*named, *around]
    open_folder = cache(
        partial(ImageFolder, follow_links=follow_links, not_images=tuple(not_images))
    )
    folders = [open_folder(place) for place in places]
    fitting = [] if images else _fitting(parents or [labels.parent], image_ids, open_folder)
    if len(fitting) > 1:
        return open_folder(_of_own_split(labels, fitting))
    some = [*image_ids[:IDS_TO_TRY], *filter(None, label_files[:IDS_TO_TRY])]
    searched = [one for one in folders[len(named) :] if images or _may_search(labels, one)]
    best = _choose(
        list(map(open_folder, fitting)),
        folders[: len(named)],
        folders[len(named) :],
        searched,
        some,
    )
    if some and not (_knows(best.find, some) or _knows(best.find, image_ids)):
        raise DatasetError(_why_none(labels, places, best, image_ids))
    return best


def _choose(
    fitting: Sequence[ImageFolder],
    named: Sequence[ImageFolder],
    around: Sequence[ImageFolder],
    searched: Sequence[ImageFolder],
    image_ids: Sequence[str],
) -> ImageFolder:
    """Choose the folder with most images: as written, else in another form, else deeper down.

    Args:
        fitting: the folder that has nearly all images, if there is one.
        named: folders that are called as those of images.
        around: the folders they lie in.
        searched: those of ``around`` that are searched deeper down: the first that has any image
            counts, and there a name must fit one file.
        image_ids: the images.
    """
    if any(_knows(one.find_as_written, image_ids) for one in (*named, *around)):
        every = (*fitting, *named, *around)
        return max(every, key=lambda one: len(_find(one.find_as_written, image_ids)))
    near = [*named, *searched]
    best = max(near, key=lambda one: len(_find(one.find, image_ids, moved=False)))
    if _find(best.find, image_ids, moved=False):
        return best
    alone = [one for one in named if not any(_is_in(one, other) for other in searched)]
    for outer in (*searched, *alone):
        if found := _find(outer.find, image_ids):
            inner = (one for one in near if _is_in(one, outer))
            return next(one for one in inner if _find(one.find, image_ids) == found)
        if _knows(outer.find, image_ids):
            return outer
    return near[0]


def _fitting(
    parents: Sequence[Path], image_ids: Sequence[str], open_folder: Callable[[Path], ImageFolder]
) -> list[Path]:
    """Return the folders in the nearest of ``parents`` that have nearly all images, or itself.

    They are called as those of images or of a split, or are such a folder in another one.
    """
    tried = image_ids[:: len(image_ids) // IDS_TO_TRY + 1]
    for parent in parents if tried else ():
        level = [parent / name for name in subfolders(parent) if _is_of_images(name)]
        deeper = [place / name for place in level for name in subfolders(place)]
        places = [parent, *level, *(place for place in deeper if _is_of_images(place.name))]
        once = {os.path.realpath(place): place for place in reversed(places)}
        folders = {place: open_folder(place) for place in reversed(once.values())}
        for as_written in (True, False):
            fitting = [
                place
                for place, one in folders.items()
                if len(_find(one.find_as_written if as_written else one.find, tried, moved=False))
                >= NEARLY_ALL * len(tried)
            ]
            if fitting:
                return fitting
    return []


def _is_of_images(name: str) -> bool:
    return all(word in IMAGE_WORDS or word in SPLIT_WORDS for word in split_words(name))


def _of_own_split(labels: Path, places: Sequence[Path]) -> Path:
    """Return the one of several folders that is of the split which the labels' name says.

    Raises:
        DatasetError: there is not just one.
    """
    own = split_in(labels.stem) or split_of([labels.parent.name])
    of_split = [place for place in places if own and split_of(place.parts[-2:]) == own]
    if len(of_split) != 1:
        names = ", ".join(map(str, places))
        raise DatasetError(
            f"the images that {labels} names fit several folders ({names}): name theirs with "
            "--images."
        )
    return of_split[0]


def _is_in(folder: ImageFolder, other: ImageFolder) -> bool:
    return folder.root.is_relative_to(str(other.root))


def _places_near(parents: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders in ``parents`` that are called as those of images, and these, once each.

    Of a parent's, they stand in the order of ``FOLDER_NAMES``.
    """
    once: dict[str, Path] = {}
    for parent in parents:
        names = subfolders(parent)
        for wanted in FOLDER_NAMES:
            for name in names:
                if name.lower() == wanted:
                    once.setdefault(os.path.realpath(parent / name), parent / name)
    named = list(once.values())
    around = {os.path.realpath(parent): parent for parent in reversed(parents)}
    return named, [around[real] for real in reversed(around) if real not in once]


def _may_search(labels: Path, folder: ImageFolder) -> bool:
    """Return whether images may lie anywhere below: not where a label file has a folder of its own.

    Above that may be other data, whose images are called the same.
    """
    own = Path(os.path.realpath(labels.parent))
    above = folder.root == own.parent and not labels.is_dir()
    return not above or is_named(own.name, LABEL_WORDS)


def _find(
    find: Callable[[str], FoundImage | None], image_ids: Iterable[str], *, moved: bool = True
) -> set[FilePath]:
    """Return the files of ids; without ``moved``, only those whose folders are as written."""
    files: set[FilePath] = set()
    for image_id in image_ids:
        with suppress(ImageError):
            if (image := find(image_id)) and (moved or not image.is_moved):
                files.add(image.path)
    return files


def _knows(find: Callable[[str], FoundImage | None], image_ids: Iterable[str]) -> bool:
    """Return whether there is a file of any of the ids, also one that cannot be used."""
    for image_id in image_ids:
        try:
            if find(image_id):
                return True
        except NoSuchImageError:
            continue
        except ImageError:
            return True
    return False


def _why_none(
    labels: Path, places: Sequence[FilePath], folder: ImageFolder, image_ids: Sequence[str]
) -> str:
    hint = ""
    try:
        folder.find(image_ids[0])
    except NoSuchImageError as error:
        hint = error.hint or folder.hint_at_nearest(image_ids[0])
    where = " or ".join(str(place) for place in places)
    remedy = "If they lie elsewhere, name" if hint else "Name"
    return (
        f"none of the {len(image_ids)} images that {labels} names is in {where}; the first is "
        f"{image_ids[0]!r}{hint}. {remedy} their folder with --images."
    )
