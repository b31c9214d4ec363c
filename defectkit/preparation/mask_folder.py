"""Folders of mask pictures: one for each image, whose values are the classes and 0 is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.data.images import read_values
from defectkit.errors import ImageError, LabelError
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.labels.annotations import Annotations, Named
from defectkit.labels.csv_table import LabelTable
from defectkit.labels.outlines import RleMask
from defectkit.preparation.worker_pool import open_workers

NAMES = "classes.csv"
"""Beside the masks, if there: the columns ``value`` and ``class_id``."""
MARK = "_mask"
"""What the names of mask files may end with, if all do."""
MOST_VALUES = 64
"""A picture with more of them is no mask."""
IGNORE = 255


@dataclass(frozen=True, slots=True)
class _Mask:
    """The canonical encodings of a file by pixel value, or the ``problem`` with it."""

    rles: dict[int, str]
    size: ImageSize = (0, 0)
    problem: str = ""


def read_masks(path: Path, files: Sequence[Path], *, workers: int | None = None) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a mask of 0 alone is a good image's.

    Where all values are 0 and 1, or 0 and 255, the one class is "1". Otherwise each value is a
    class: of palette pictures the number of the color counts. 255 beside others usually means
    "ignore" and is refused. ``classes.csv`` may name the values.

    Raises:
        LabelError: ``classes.csv`` cannot be read, or a value has no name in it.
    """
    with open_workers(workers, n_jobs=len(files)) as pool:
        masks = list(pool.map(_encode, files))
    values = {value for mask in masks for value in mask.rles}
    names = _read_names(path / NAMES)
    if not names and values in ({1}, {IGNORE}):
        names = dict.fromkeys(values, "1")
    stems = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    if all(stem.endswith(MARK) for stem in stems):
        stems = [stem.removesuffix(MARK) for stem in stems]
    found = Annotations(path)
    for image_id, mask in zip(stems, masks, strict=True):
        if mask.problem:
            found.refuse(image_id, "", mask.problem)
        elif not mask.rles:
            found.add(image_id, "", partial(_named, image_id, 0, mask, names))
        for value in mask.rles:
            found.add(image_id, str(value), partial(_named, image_id, value, mask, names))
    kind = "0 and one value" if len(values) <= 1 else "a value for each class"
    return found.table(f"mask pictures, {kind}", files)


def _named(image_id: str, value: int, mask: _Mask, names: dict[int, str]) -> Named:
    if value == 0:
        return image_id, "", RleMask("", mask.size)
    if names and value not in names:
        raise LabelError(f"its value {value} has no name in {NAMES}")
    if not names and value == IGNORE:
        raise LabelError(f"{IGNORE} beside other values is no class: write 0, or {NAMES}")
    return image_id, names.get(value, str(value)), RleMask(mask.rles[value], mask.size)


def _encode(path: Path) -> _Mask:
    try:
        values = read_values(path)
    except ImageError as error:
        return _Mask({}, problem=str(error))
    present = np.unique(values).tolist()
    if len(present) > MOST_VALUES or present[0] < 0:
        return _Mask({}, problem=f"its {len(present)} different values are no mask's")
    height, width = values.shape
    return _Mask(
        {value: rle.encode(values == value) for value in present if value}, (height, width)
    )


def _read_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    try:
        return {int(row["value"]): row["class_id"] for row in read_csv(path)}
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(f"{path} does not have the columns value and class_id.") from error
