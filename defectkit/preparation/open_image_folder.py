"""Open the folder that has the images of labels: the one that is named, or the best near them."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from defectkit.errors import DatasetError, ImageError
from defectkit.preparation.file_tree import LABEL_WORDS, is_named
from defectkit.preparation.image_folder import ImageFolder, subfolders
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
    places = [images] if images else _places_near(parents or [labels.parent])
    folders = [
        ImageFolder(place, follow_links=follow_links, not_images=not_images) for place in places
    ]
    some = [*image_ids[:IDS_TO_TRY], *filter(None, label_files[:IDS_TO_TRY])]
    best = max(folders, key=lambda folder: _count(folder.find_as_written, some))
    if not _count(best.find_as_written, some):
        # A file's own folder may be anywhere: only there is it looked for below.
        near = [folder for folder in folders if images or _may_search(labels, folder)]
        best = max(near, key=lambda folder: _count(folder.find, some))
        if not _count(best.find, some):
            best = max(near, key=lambda folder: any(_is_known(folder.find, one) for one in some))
    known = (_is_known(best.find, image_id) for image_id in itertools.chain(some, image_ids))
    if some and not any(known):
        raise DatasetError(_why_none(labels, places, best, image_ids))
    return best


def _places_near(parents: Sequence[Path]) -> list[Path]:
    """Return the folders in ``parents`` that are called as those of images, and these, once each.

    Of a parent's, they stand in the order of ``FOLDER_NAMES``.
    """
    named = [
        parent / name
        for parent in parents
        for wanted in FOLDER_NAMES
        for name in subfolders(parent)
        if name.lower() == wanted
    ]
    once: dict[str, Path] = {}
    for place in [*named, *parents]:
        once.setdefault(os.path.realpath(place), place)
    return list(once.values())


def _may_search(labels: Path, folder: ImageFolder) -> bool:
    """Return whether images may lie anywhere below: not where a label file has a folder of its own.

    Above that may be other data, whose images are called the same.
    """
    own = Path(os.path.realpath(labels.parent))
    above = folder.root == own.parent and not labels.is_dir()
    return not above or is_named(own.name, LABEL_WORDS)


def _count(find: Callable[[str], object], image_ids: Iterable[str]) -> int:
    count = 0
    for image_id in image_ids:
        with suppress(ImageError):
            count += find(image_id) is not None
    return count


def _is_known(find: Callable[[str], object], image_id: str) -> bool:
    """Return whether there is a file of an id, also one that cannot be used."""
    try:
        return find(image_id) is not None
    except NoSuchImageError:
        return False
    except ImageError:
        return True


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
