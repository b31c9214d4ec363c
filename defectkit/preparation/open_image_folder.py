"""Open the folder that has the images of labels: the one that is named, or the best near them."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from defectkit.errors import DatasetError, ImageError
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
    scores = [_count(folder.find_as_written, some) for folder in folders]
    if not any(scores):
        scores = [_count(folder.find, some) for folder in folders]
    best = folders[max(range(len(folders)), key=scores.__getitem__)]  # the first of equals
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


def _count(find: Callable[[str], object], image_ids: Iterable[str]) -> int:
    return sum(_is_known(find, image_id) for image_id in image_ids)


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
