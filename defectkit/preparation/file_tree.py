"""The files below a folder, and what the names of folders say of them."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from defectkit.data.folder_walk import walk_folder
from defectkit.errors import DatasetError
from defectkit.vocabulary import GOOD_WORDS, SPLIT_WORDS, Split

LABEL_WORDS = frozenset(
    {"label", "labels", "lable", "lables", "annotation", "annotations", "annot", "annots", "ann"}
)
"""The names of folders of label files."""
MASK_WORDS = frozenset(
    {*LABEL_WORDS, "mask", "masks", "gt", "gts", "groundtruth", "segmentationclass",
     "segmentationclasspng", "seg", "segs", "segmentation", "segmentations", "masksmachine"}
)  # fmt: skip
"""The names of folders of masks."""
IMAGE_WORDS = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures",
     "data", "input", "inputs"}
)  # fmt: skip
"""The names of folders of images."""
INSTANCE_WORDS = frozenset({"segmentationobject", "segmentationobjectpng", "masksinstances"})
"""The names of folders of masks that number single objects."""
BAD_WORDS = frozenset(
    {"bad", "ng", "nok", "ko", "nio", "defect", "defects", "defective", "faulty", "fail", "failed",
     "reject", "rejected", "rejects", "anomaly", "anomalies", "anomalous", "broken", "scrap",
     "ausschuss", "不良", "不良品", "缺陷"}
)  # fmt: skip
"""The names of folders of defective images."""
DRAWN_WORDS = frozenset(
    {"overlay", "overlays", "preview", "previews", "thumb", "thumbs", "thumbnail", "thumbnails",
     "heatmap", "heatmaps", "visualization", "visualizations", "vis", "predict", "prediction",
     "predictions"}
)  # fmt: skip
"""The names of folders of pictures that were made of images."""


def list_files(root: Path, *, links: bool = False, strict: bool = True) -> list[Path]:
    """Return the files below ``root``, sorted, without hidden ones and those that are no data.

    Args:
        root: the folder, or none; links to other folders are not followed.
        links: return links to files as well.
        strict: refuse a folder that cannot be listed: its labels would be lost, and their images
            be good ones.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    files = []
    for entry in walk_folder(root) if root.is_dir() else ():
        if entry.kind == "not listed" and strict:
            raise DatasetError(f"{entry.path}: {entry.problem} Make it readable, or move it away.")
        is_file = entry.kind == "file" or (entry.is_link and entry.path.is_file())
        if is_file and (links or not entry.is_link):
            files.append(entry.path)
    return sorted(files)


@cache
def split_words(name: str) -> tuple[str, ...]:
    """Return the words of a folder's name in lower case: ``train_masks`` is train and masks."""
    whole = re.sub(r"[\W_]+", "", name.casefold())
    if whole in MASK_WORDS | INSTANCE_WORDS | GOOD_WORDS | IMAGE_WORDS:
        return (whole,)
    words = re.findall(r"[^\W_]+", name.casefold())
    if len(words) > 1:  # Alone it may be a laboratory.
        words = ["label" if word == "lab" else word for word in words]
    return tuple(re.sub(r"\d+$", "", word) or word for word in words)


def is_named(name: str, words: frozenset[str]) -> bool:
    """Return whether a folder has one of the names ``words``, as such or of a split's images."""
    kept = [word for word in split_words(name) if word not in SPLIT_WORDS]
    own = [word for word in kept if word in words]
    return bool(own) and all(word in words or word in IMAGE_WORDS for word in kept)


def split_of(parts: Sequence[str]) -> Split | None:
    """Return the split that folders belong to by their names, the innermost first."""
    for part in reversed(parts):
        words = split_words(part)
        named = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
        rest = [word for word in words if word not in SPLIT_WORDS]
        if len(named) == 1 and all(word in MASK_WORDS | IMAGE_WORDS | LABEL_WORDS for word in rest):
            return named[0]
    return None


def split_in(name: str) -> Split | None:
    """Return the one split that is a word of a name: ``instances_train``."""
    named = {SPLIT_WORDS[word] for word in split_words(name) if word in SPLIT_WORDS}
    return named.pop() if len(named) == 1 else None


def own_parts(parts: Sequence[str], *, with_split: bool = True) -> tuple[str, ...]:
    """Return the folders' names, in lower case, without words for images, labels and masks.

    ``train/images/a`` and ``train/masks/a`` belong together, and so do ``images/train/a`` and
    ``train_masks/a``.
    """
    kept: list[str] = []
    for part in parts:
        words = split_words(part)
        structure = MASK_WORDS | IMAGE_WORDS | LABEL_WORDS
        if all(word in structure or word in SPLIT_WORDS for word in words):
            kept += [SPLIT_WORDS[word] for word in words if with_split and word in SPLIT_WORDS]
        else:
            kept.append(part.casefold())
    return tuple(kept)
