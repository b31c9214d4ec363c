"""Open the folder that has the images of labels: the one that is named, or the best near them."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from defectkit.errors import DatasetError, ImageError
from defectkit.preparation.file_tree import LABEL_WORDS, is_named
from defectkit.preparation.image_folder import FoundImage, ImageFolder, subfolders
from defectkit.preparation.image_names import NoSuchImageError

FOLDER_NAMES = ("train", "train_images", "images", "jpegimages")
"""How folders of images are called, in any case."""
IDS_TO_TRY = 100
"""Number of image ids that are looked for in each folder."""


def open_image_folder(
    labels: Path,
    images: Path | None,
    image_ids: Sequence[str],
    parents: Sequence[Path] | None = None,
    *,
    label_files: Sequence[str] = (),
    not_images: Sequence[Path] = (),
    follow_links: bool = False,
) -> ImageFolder:
    """Open ``images``, or the folder near ``labels`` that has most of the first images.

    Without ``images``, ``FOLDER_NAMES`` in ``parents`` and these themselves are tried; by default
    that is where the file ``labels`` lies. Images as they are written count first.

    Args:
        labels: the file or folder of the labels, for messages.
        images: the folder that the user named.
        image_ids: the images that the labels name.
        parents: folders near the labels.
        label_files: the names of label files about one image each, which images may be called as.
        not_images: files that are none, whatever their names.
        follow_links: whether links may lead out of the folder.

    Raises:
        DatasetError: ``images`` is not a folder, or no image of the table is in the folder.
    """
    if images is not None and not images.is_dir():
        raise DatasetError(f"--images {images} is not a folder.")
    named, around = ([], [images]) if images else _places_near(parents or [labels.parent])
    places = [*named, *around]
    folders = [
        ImageFolder(place, follow_links=follow_links, not_images=not_images) for place in places
    ]
    some = [*image_ids[:IDS_TO_TRY], *filter(None, label_files[:IDS_TO_TRY])]
    searched = [one for one in folders[len(named) :] if images or _may_search(labels, one)]
    best = _choose(folders[: len(named)], folders[len(named) :], searched, some)
    if some and not (_knows(best.find, some) or _knows(best.find, image_ids)):
        raise DatasetError(_why_none(labels, places, best, image_ids))
    return best


def _choose(
    named: Sequence[ImageFolder],
    around: Sequence[ImageFolder],
    searched: Sequence[ImageFolder],
    image_ids: Sequence[str],
) -> ImageFolder:
    """Choose the folder with most images: as written, else in another form, else deeper down.

    Args:
        named: folders that are called as those of images.
        around: the folders they lie in.
        searched: those of ``around`` that are searched deeper down: the first that has any image
            counts, and there a name must fit one file.
        image_ids: the images.
    """
    best = max((*named, *around), key=lambda one: len(_find(one.find_as_written, image_ids)))
    if _knows(best.find_as_written, image_ids):
        return best
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


def _is_in(folder: ImageFolder, other: ImageFolder) -> bool:
    return folder.root.is_relative_to(other.root)


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
) -> set[Path]:
    """Return the files of ids; without ``moved``, only those whose folders are as written."""
    files = set()
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
    labels: Path, places: Sequence[Path], folder: ImageFolder, image_ids: Sequence[str]
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
