"""The images that labels may be about: among their files, or in folders near them."""

from collections.abc import Collection, Sequence
from pathlib import Path

from defectkit.data.image_kinds import is_data
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.file_tree import (
    LABEL_WORDS,
    MASK_WORDS,
    is_named,
    list_files,
    own_parts,
    split_words,
)
from defectkit.preparation.image_index import ImageIndex
from defectkit.preparation.mask_files import divide_pictures, is_picture
from defectkit.preparation.stored_files import StoredFiles
from defectkit.vocabulary import SPLIT_WORDS


def index_images_near(
    source: Path,
    files: Sequence[Path],
    images: FilePath | None,
    *,
    not_images: Collection[Path] = (),
) -> tuple[Path, ImageIndex]:
    """Return the images that the labels in ``source`` may be about.

    They are those in ``images``; or among the ``files`` of ``source``; or near it, in folders that
    are named so. The folder to compare the folders of labels and images with comes first.
    """
    if isinstance(images, StoredObject):
        keys = [Path(key) for key in StoredFiles(images).names()]
        return source, ImageIndex(images, _photos(Path(), keys))
    if images:
        return source, ImageIndex(
            images, _photos(images, list_files(images, links=True), not_images)
        )
    if any(map(is_picture, files)):
        return source, ImageIndex(source, _photos(source, list_files(source, links=True)))
    top = source
    while set(split_words(top.name)) <= SPLIT_WORDS.keys() and is_named(
        top.parent.name, LABEL_WORDS | MASK_WORDS
    ):
        top = top.parent
    near: list[Path] = []
    for child in list_children(top.parent):
        if child.is_file():
            near.append(child)
        elif child != top and not own_parts((child.name,), with_split=False):
            near += list_files(child, links=True, strict=False)
    return top, ImageIndex(top.parent, _photos(top.parent, near, not_images))


def _photos(base: Path, files: Sequence[Path], not_images: Collection[Path] = ()) -> list[Path]:
    """Return the files below ``base`` that are images and no masks."""
    pictures = [file for file in files if is_picture(file)]
    return [file for file in divide_pictures(base, pictures)[1] if file not in not_images]


def list_children(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without hidden ones; none if unreadable."""
    try:
        return sorted(child for child in folder.iterdir() if is_data(child.name))
    except OSError:
        return []
