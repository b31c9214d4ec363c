"""Which region of each image is to be inspected, as ``--roi`` or a column of the tables says."""

import itertools
from dataclasses import replace
from pathlib import Path

from defectkit.data.roi_source import open_roi
from defectkit.errors import DatasetError
from defectkit.labels.scope import parse_box
from defectkit.object_stores import FilePath
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.matching import Matching

COLUMN = "roi"


def choose_rois(matching: Matching, given: str | None) -> None:
    """Set ``roi`` of each of ``matching.images``; the masks of regions are no images themselves.

    Args:
        matching: the images, with the cells of a column ``roi`` if there is one.
        given: what ``--roi`` names, if anything.

    Raises:
        DatasetError: there is a column too, or a cell is no box.
        ImageError: an image has no mask.
    """
    column = _find_column(matching)
    if column and given:
        raise DatasetError(
            f"the tables have a column {column!r}, and there is --roi {given}. Give one of them."
        )
    if column:
        matching.images = [
            replace(image, roi=_box_of(image, matching.cells[image.image_id].get(column, "")))
            for image in matching.images
        ]
    if given:
        source, root = open_roi(given), matching.folder.root
        images = [one for one in matching.images if one.rows or not source.has_mask(one.path)]
        source = source.among(_below(image.path, root) for image in images)
        matching.images = [
            replace(image, roi=source.choose(_below(image.path, root))) for image in images
        ]
        matching.unlisted = replace(
            matching.unlisted,
            images=tuple(itertools.filterfalse(source.has_mask, matching.unlisted.images)),
            doubtful=tuple(itertools.filterfalse(source.has_mask, matching.unlisted.doubtful)),
            defective=tuple(itertools.filterfalse(source.has_mask, matching.unlisted.defective)),
        )


def _below(path: FilePath, folder: FilePath) -> Path:
    if isinstance(path, Path) and not path.is_relative_to(str(folder)):
        return path
    return path.relative_to(str(folder))


def _find_column(matching: Matching) -> str | None:
    names = {name for cells in matching.cells.values() for name in cells}
    return next((name for name in sorted(names) if name.strip().casefold() == COLUMN), None)


def _box_of(image: MatchedImage, cell: str) -> str:
    if cell and parse_box(cell) is None:
        raise DatasetError(
            f"the column roi has {cell[:40]!r} for {image.image_id}, but means the region to "
            "inspect, X,Y,W,H in pixels. Write that, or rename the column."
        )
    return cell
