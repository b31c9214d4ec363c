"""Folders of mask images: one for each image, whose values are the classes; 0 is no defect."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.data.images import read_mask_values
from defectkit.errors import ImageError, LabelError
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.outlines import RleMask
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelTable
from defectkit.preparation.worker_pool import open_worker_pool

CLASSES_FILE = "classes.csv"
"""Beside the masks, optional: the columns ``value`` and ``class_id``."""
NAME_ENDING = "_mask"
"""What the names of mask files may end with, if all do."""
MAX_VALUES = 64
"""An image with more values is not a mask."""
IGNORE_VALUE = 255


@dataclass(frozen=True, slots=True)
class _MaskImage:
    """The canonical encodings of a mask image by pixel value, or the ``problem`` with it."""

    rles: dict[int, str]
    size: ImageSize = (0, 0)
    problem: str = ""


def read_masks(
    path: Path,
    files: Sequence[Path],
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    workers: int | None = None,
) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a mask of 0 alone is a good image's.

    Where all values are 0 and 1, or 0 and 255, the one class is "1". Otherwise each value is a
    class; in palette images, the number of the color. 255 beside others usually means
    "ignore" and is refused. ``classes.csv`` may name the values.

    Raises:
        LabelError: ``classes.csv`` cannot be read, or a value has no name in it.
    """
    with open_worker_pool(workers, n_jobs=len(files)) as pool:
        masks = list(pool.map(partial(_encode, options=options), files))
    values = {value for mask in masks for value in mask.rles}
    names = _read_names(path / CLASSES_FILE)
    if not names and values in ({1}, {IGNORE_VALUE}):
        names = dict.fromkeys(values, "1")
    stems = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    if all(stem.endswith(NAME_ENDING) for stem in stems):
        stems = [stem.removesuffix(NAME_ENDING) for stem in stems]
    table = TableBuilder(path)
    for image_id, mask in zip(stems, masks, strict=True):
        if mask.problem:
            table.refuse(image_id, "", mask.problem)
        elif not mask.rles:
            table.add(image_id, "", partial(_annotation, image_id, 0, mask, names))
        for value in mask.rles:
            table.add(image_id, str(value), partial(_annotation, image_id, value, mask, names))
    kind = "0 and one value" if len(values) <= 1 else "a value for each class"
    return table.build(f"mask images, {kind}", files)


def _annotation(image_id: str, value: int, mask: _MaskImage, names: dict[int, str]) -> Annotation:
    if value == 0:
        return Annotation(image_id, "", RleMask("", mask.size))
    if names and value not in names:
        raise LabelError(f"its value {value} has no name in {CLASSES_FILE}")
    if not names and value == IGNORE_VALUE:
        raise LabelError(
            f"{IGNORE_VALUE} beside other values is not a class: write 0, or {CLASSES_FILE}"
        )
    return Annotation(image_id, names.get(value, str(value)), RleMask(mask.rles[value], mask.size))


def _encode(path: Path, *, options: ReadOptions) -> _MaskImage:
    try:
        values = read_mask_values(path)
    except ImageError as error:
        return _MaskImage({}, problem=str(error))
    if options.invert:
        values = np.where(values == 0, 1, 0)
    present = np.unique(values).tolist()
    if len(present) > MAX_VALUES or present[0] < 0:
        return _MaskImage(
            {}, problem=f"its {len(present)} different values are not those of a mask"
        )
    height, width = values.shape
    return _MaskImage(
        {value: rle.encode(values == value) for value in present if value}, (height, width)
    )


def _read_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    try:
        return {int(row["value"]): row["class_id"] for row in read_csv(path)}
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(f"{path} does not have the columns value and class_id.") from error
