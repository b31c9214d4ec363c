"""Folders of mask images, whose values or colors are the classes; 0 or black is no defect."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.outlines import RleMask
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.table import LabelTable
from defectkit.preparation.mask_files import MaskFile
from defectkit.preparation.mask_names import MaskNames, find_mask_names, named_meaning
from defectkit.preparation.mask_values import (
    MaskImage,
    Meaning,
    color_name,
    describe_shares,
    encode_mask,
    find_meaning,
    find_soft_edges,
    palettes_count_by_color,
)
from defectkit.preparation.worker_pool import open_worker_pool


def read_masks(
    path: Path,
    files: Sequence[MaskFile],
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    workers: int | None = None,
) -> LabelTable:
    """Read the masks ``files`` below ``path``; a mask of 0 alone is a good image's.

    Where all values are 0 and 1, or 0 and 255, the one class is "1"; where a file's name says the
    class, it is that. Otherwise each value is a class; in palette images, the number of the color,
    in color images, each color. 255 beside class numbers is ignored. ``classes.csv`` may name
    values and colors, ``labelmap.txt`` colors, in the folder, above it or beside the masks.

    Raises:
        LabelError: the names cannot be read.
    """
    one_class = options.mask_threshold is not None or options.invert
    folders = sorted({file.path.parent for file in files})
    names = None if one_class else find_mask_names(path, folders)
    masks = _encode(files, options, names, workers=workers)
    soft = {} if names else find_soft_edges(masks)
    shared = [
        mask
        for index, mask in enumerate(masks)
        if not files[index].class_id and index not in soft and not mask.problem
    ]
    meaning = named_meaning(names, shared) if names else find_meaning(shared)
    table = TableBuilder(path)
    for index, (file, mask) in enumerate(zip(files, masks, strict=True)):
        own = _meaning_of_one(file, mask) if file.class_id else meaning
        if problem := soft.get(index, mask.problem):
            table.refuse(file.image_id, file.class_id, problem)
        else:
            _add_rows(table, file, mask, own)
    classes = {*meaning.classes.values(), *(file.class_id for file in files)} - {""}
    kind = "0 and one value" if len(classes) <= 1 else "several classes"
    built = table.build(f"mask images, {kind}", [file.path for file in files])
    shares = describe_shares(
        {str(file.path): mask for file, mask in zip(files, masks, strict=True)},
        inverted=options.invert,
    )
    return replace(built, notes=tuple(filter(None, [*meaning.notes, shares])))


def _encode(
    files: Sequence[MaskFile], options: ReadOptions, names: MaskNames | None, *, workers: int | None
) -> list[MaskImage]:
    paths = [file.path for file in files]
    encode = partial(encode_mask, options=options, as_colors=names is not None and names.colors)
    with open_worker_pool(workers, n_jobs=len(paths)) as pool:
        masks = list(pool.map(encode, paths))
        if not names and palettes_count_by_color(masks, invert=options.invert):
            masks = list(pool.map(partial(encode, palette_colors=True), paths))
        kinds = {mask.kind for mask in masks if mask.rles}
        if "colors" in kinds and len(kinds) > 1:  # Where white is a class, it looks like gray.
            masks = list(pool.map(partial(encode, as_colors=True), paths))
    return masks


def _meaning_of_one(file: MaskFile, mask: MaskImage) -> Meaning:
    """Return what the values of a mask mean whose class is known: there may be one beside 0."""
    if len(mask.rles) <= 1:
        return Meaning(dict.fromkeys(mask.rles, file.class_id))
    problem = (
        f"it has several values, but its name or folder says that it is of {file.class_id}: "
        "--mask-threshold 1 makes all of them one"
    )
    return Meaning(problems=dict.fromkeys(mask.rles, problem))


def _add_rows(table: TableBuilder, file: MaskFile, mask: MaskImage, meaning: Meaning) -> None:
    """Add a row for each value of a mask, or one for a good image."""
    image_id, found = file.image_id, False
    for value, text in mask.rles.items():
        outline, class_id = RleMask(text, mask.size), meaning.classes.get(value, "")
        if value in meaning.problems:
            shown = color_name(value) if mask.kind == "colors" else str(value)
            table.refuse(image_id, shown, meaning.problems[value])
        elif value in meaning.ignored:
            ignored = Annotation(image_id, "", outline, "these pixels are ignored", ignored=True)
            table.add(image_id, "", partial(_return, ignored))
        elif class_id:
            table.add(image_id, class_id, partial(_return, Annotation(image_id, class_id, outline)))
        else:
            continue
        found = True
    if not found:
        good = Annotation(image_id, "", RleMask("", mask.size))
        table.add(image_id, "", partial(_return, good))


def _return(annotation: Annotation) -> Annotation:
    return annotation
