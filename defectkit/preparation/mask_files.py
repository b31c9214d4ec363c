"""Which files are masks, and of which image and class, by names and folders alone."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.preparation.file_tree import (
    INSTANCE_WORDS,
    MASK_WORDS,
    is_named,
    own_parts,
    split_of,
)
from defectkit.preparation.image_index import ImageIndex, IndexedImage, names_without_image
from defectkit.vocabulary import GOOD_WORDS

NAME_WORDS = frozenset(
    {"mask", "masks", "gt", "gts", "groundtruth", "label", "labels", "labelids", "seg", "segm",
     "segmentation", "annotation", "annotations", "annot", "annots", "gtfine"}
)  # fmt: skip
"""The words of the names of mask files, in lower case, between any of ``_ - .`` and blanks."""
SEPARATOR = re.compile(r"[_\-. ]+")
ARRAY = ".npy"
"""labelme2voc writes ``SegmentationClass/x.npy`` beside ``SegmentationClassPNG/x.png``."""
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
GROUND_TRUTH = frozenset({"groundtruth"})

How = Literal["plain", "class", "class and mask"]
"""What the name of a mask says: its image alone, its class too, or also that it is a mask."""


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask: its image's path below the root, or its own name; and the class that names say."""

    path: Path
    image_id: str
    class_id: str = ""


@dataclass(slots=True)
class MaskFiles:
    """The masks below a folder, and what else its files are.

    Attributes:
        masks: the masks.
        others: files that are neither masks nor images.
        good: the paths below the root of images without masks in folders of good ones.
        notes: what was read from names.
    """

    masks: list[MaskFile] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    good: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_picture(path: Path) -> bool:
    """Return whether a file may be an image or a mask, by its suffix."""
    return path.suffix.casefold() in IMAGE_SUFFIXES


def divide_pictures(
    source: Path, pictures: Sequence[Path]
) -> tuple[list[Path], list[Path], list[Path]]:
    """Divide the files of pictures below ``source`` into masks, images and others.

    Masks are what lies in folders of masks, ``NAME_mask`` beside ``NAME``, and ``x.png`` where all
    beside it have an ``x.jpg``.
    """
    masks: list[Path] = []
    others: list[Path] = []
    rest: dict[Path, list[Path]] = {}
    for folder, files in _by_folder(pictures).items():
        parts = folder.relative_to(source).parts
        if any(is_named(part, INSTANCE_WORDS) for part in parts):
            others += files
        elif any(is_named(part, MASK_WORDS) for part in parts):
            masks += files
        else:
            rest[folder] = files
    masks, arrays = _without_copies(source, masks)
    others += arrays
    words = set().union(*(_words_beside_images(files) for files in rest.values()))
    images = []
    for files in rest.values():
        beside = {file for file in files if not words.isdisjoint(_words(file.stem))}
        beside = beside or _masks_of_photos(files)
        masks += [file for file in files if file in beside]
        images += [file for file in files if file not in beside]
    return masks, images, others


def _without_copies(source: Path, masks: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide masks into those that count, and arrays that have an image of the same name."""
    keys = {file: (own_parts(file.relative_to(source).parts[:-1]), file.stem) for file in masks}
    images = {key for file, key in keys.items() if file.suffix.casefold() != ARRAY}
    kept = [file for file in masks if file.suffix.casefold() != ARRAY or keys[file] not in images]
    return kept, sorted(set(masks) - set(kept))


def pair_masks(source: Path, masks: Sequence[Path], index: ImageIndex) -> MaskFiles:
    """Find the image of each mask below ``source``, and the class that names and folders say."""
    found = MaskFiles()
    goods = _folders_beside_good(index)
    names = Counter(mask.stem.casefold() for mask in masks)
    pairs = [
        _find_image(mask.relative_to(source), index)
        or _find_folders_image(mask.relative_to(source), index, names)
        for mask in masks
    ]
    # "NAME_left" may be another image than NAME unless all masks say a class.
    classes_in_names = not any(pair and pair[2] == "plain" for pair in pairs)
    for mask, pair in zip(masks, pairs, strict=True):
        parts = mask.relative_to(source).parts[:-1]
        if pair is None or (pair[2] == "class" and not classes_in_names):
            own = [part for part in parts if not is_named(part, MASK_WORDS)]
            stem = mask.stem if pair else _without_mask_words(mask.stem)
            found.masks.append(MaskFile(mask, "/".join((*own, stem))))
            continue
        image, class_id, _ = pair
        if not class_id and _is_folder_a_class(image, (source.name, *parts), goods):
            class_id = image.parts[-1]
        found.masks.append(MaskFile(mask, image.name, class_id))
    _add_good_images(found, index)
    return found


def _find_image(mask: Path, index: ImageIndex) -> tuple[IndexedImage, str, How] | None:
    """Return the image of a mask, by the longest part of the mask's name that is one's."""
    *parts, _ = mask.parts
    image, folder = index.find(parts, mask.stem)
    if image:
        return image, folder, "plain"
    for name, rest in _divisions(mask.stem):
        image, folder = index.find(parts, name)
        if image is None:
            continue
        words = [word for word in rest if word.casefold() not in NAME_WORDS]
        if len(words) == len(rest):  # Numbers may be those of another image.
            return None if any(map(str.isdigit, words)) else (image, "_".join(words), "class")
        class_id = "_".join(word for word in words if not word.isdigit())
        return image, class_id or folder, "class and mask" if class_id else "plain"
    return None


def _find_folders_image(
    mask: Path, index: ImageIndex, names: Mapping[str, int]
) -> tuple[IndexedImage, str, How] | None:
    """Return the image that the folder of a mask is called as; names that recur are classes."""
    parts = list(mask.parts[:-1])
    while parts and not own_parts(parts[-1:]):
        parts.pop()
    image, _ = index.find(parts[:-1], parts[-1]) if parts else (None, "")
    if image is None:
        return None
    words = [word for word in SEPARATOR.split(mask.stem) if not word.isdigit()]
    own = "_".join(word for word in words if word.casefold() not in NAME_WORDS)
    return image, own if names[mask.stem.casefold()] > 1 else "", "class and mask"


def _divisions(stem: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the beginnings of a name, the longest first, with the words after it."""
    for gap in reversed(list(SEPARATOR.finditer(stem))):
        if gap.start() and gap.end() < len(stem):
            yield stem[: gap.start()], SEPARATOR.split(stem[gap.end() :])
    first = SEPARATOR.search(stem)
    if first and stem[: first.start()].casefold() in NAME_WORDS:  # mask_NAME
        yield stem[first.end() :], [stem[: first.start()]]


def _without_mask_words(stem: str) -> str:
    for name, rest in reversed(list(_divisions(stem))):
        if all(word.casefold() in NAME_WORDS for word in rest):
            return name
    return stem


def _by_folder(files: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    return folders


def _words(stem: str) -> list[str]:
    """Return the words of a name; one that is a word as a whole says nothing."""
    words = SEPARATOR.split(stem.casefold())
    return words if len(words) > 1 else []


def _words_beside_images(files: Sequence[Path]) -> set[str]:
    """Return the words for masks in the names of files beside which their images lie."""
    stems = {file.stem.casefold() for file in files}
    stems |= {name for stem in stems for name in names_without_image(stem)}
    return {
        word
        for stem in stems
        if not NAME_WORDS.isdisjoint(_words(stem))
        for name, rest in _divisions(stem)
        if name in stems
        for word in rest
        if word in NAME_WORDS
    }


def class_masks_beside_images(pictures: Sequence[Path]) -> list[Path]:
    """Return the files ``NAME_scratch`` beside ``NAME``, which are masks if masks are asked for."""
    found: list[Path] = []
    for files in _by_folder(pictures).values():
        stems = {file.stem.casefold() for file in files}
        for file in files:
            divided = [rest for name, rest in _divisions(file.stem) if name.casefold() in stems]
            found += [file] if divided and not any(map(str.isdigit, divided[0])) else []
    return found


def _masks_of_photos(files: Sequence[Path]) -> set[Path]:
    """Return the files ``x.png``, if all of them have an ``x.jpg`` beside them."""
    photos = {file.stem.casefold() for file in files if file.suffix.casefold() in JPEG}
    rest = {file for file in files if file.suffix.casefold() not in JPEG}
    return rest if all(file.stem.casefold() in photos for file in rest) else set()


def _folders_beside_good(index: ImageIndex) -> set[tuple[str, ...]]:
    """Return the folders, without those of splits, that have a folder of good images."""
    return {
        own_parts(image.parts[:-1], with_split=False)
        for image in index.images
        if image.parts and is_named(image.parts[-1], GOOD_WORDS)
    }


def _is_folder_a_class(
    image: IndexedImage, parts: Sequence[str], goods: set[tuple[str, ...]]
) -> bool:
    """Return whether the folder of an image, and of its mask, is named as the class of defects."""
    if not image.parts or image.parts[-1].casefold() not in own_parts(parts)[-2:]:
        return False
    if own_parts(image.parts[:-1], with_split=False) in goods:
        return not is_named(image.parts[-1], GOOD_WORDS)
    in_ground_truth = any(is_named(part, GROUND_TRUTH) for part in parts)
    return in_ground_truth and split_of(image.parts[:-1]) == "test"


def _add_good_images(found: MaskFiles, index: ImageIndex) -> None:
    """Add images in folders of good ones that have no mask; say what was read from names."""
    if classes := {mask.class_id for mask in found.masks if mask.class_id}:
        shown = ", ".join(sorted(classes)[:8]) + (", ..." if len(classes) > 8 else "")
        found.notes.append(f"the classes ({shown}) are read from the names of the masks or folders")
    labeled = {mask.image_id for mask in found.masks}
    # A folder that has masks says nothing of its other images.
    with_masks = {image.parts for image in index.images if image.name in labeled}
    found.good = [
        image.name
        for image in index.images
        if image.parts not in with_masks and any(is_named(part, GOOD_WORDS) for part in image.parts)
    ]
    if found.good:
        found.notes.append(
            f"{len(found.good)} images without masks are good: their folders are named so"
        )
