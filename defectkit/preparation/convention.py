"""How the labels number the pixels: decided before the images are examined, checked afterwards."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from defectkit.arrays import ImageSize
from defectkit.data.images import read_image_size
from defectkit.errors import ImageError, LabelError, StoreError
from defectkit.labels.outlines import Polygons
from defectkit.labels.polygon_convention import why_pixels
from defectkit.labels.rle_convention import (
    RleConvention,
    decide_convention,
    refuse_base_contradiction,
)
from defectkit.labels.table import LabelRow
from defectkit.object_stores import FilePath
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.matching import Matching
from defectkit.vocabulary import PolygonOption, RleBaseOption, RleOrderOption

MAX_SAMPLED_IMAGES = 64
MAX_SAMPLED_POLYGONS = 64
"""Max. number of polygons that are sampled of each image."""
MAX_SAMPLED_ROWS = 4
"""Max. number of rows that are sampled of each image."""


def decide_rle_convention(
    matching: Matching, *, base: RleBaseOption, order: RleOrderOption
) -> RleConvention:
    """Decide base and order from what was asked, and from some rows and their images' sizes.

    Raises:
        LabelError: the labels are not run lengths but something was asked, or they contradict it,
            or themselves.
    """
    table = matching.table
    if matching.source_format != "csv" and (base, order) != ("auto", "auto"):
        raise LabelError(
            f"--rle-base and --rle-order are for CSV, but {table.path} is "
            f"{matching.source_format}. Leave them out."
        )
    return decide_convention(table.rows, sample_rows(matching.images), base=base, order=order)


def sample_rows(images: Sequence[MatchedImage]) -> list[tuple[LabelRow, ImageSize]]:
    """Return rows with defects, from images spread over all ``images``, with (height, width).

    At most ``MAX_SAMPLED_IMAGES`` headers are read. Unreadable images are left out here: they are
    reported when they are examined.

    Raises:
        StoreError: the store of an image does not give it.
    """
    defective = [
        (image.path, rows) for image in images if (rows := [r for r in image.rows if r.rle])
    ]
    samples = []
    for path, rows in defective[:: max(1, -(-len(defective) // MAX_SAMPLED_IMAGES))]:
        if shape := _size_of(path):
            samples += [(row, shape) for row in rows[:MAX_SAMPLED_ROWS]]
    return samples


def decide_polygons(matching: Matching, *, asked: PolygonOption) -> None:
    """Mark the polygons of ``matching`` whose corners name pixels, as asked or as the data show.

    The form of the table says where corners are taken as points though they are whole numbers.
    """
    reason = "as given" if asked == "pixels" else None
    if asked == "auto":
        reason = why_pixels(sample_polygons(matching.images))
    if not reason:
        if reason is not None:
            assumed = f"{matching.table.form}, corners of polygons are points (assumed)"
            matching.table = replace(matching.table, form=assumed)
        return
    matching.images = [
        replace(image, rows=tuple(map(_name_pixels, image.rows))) for image in matching.images
    ]
    if asked == "auto":
        note = (
            "the outlines of the polygons belong to the defects, as a program draws them around "
            f"pixels (findContours): all corners are whole numbers inside of the image, and "
            f"{reason}. If a person set the corners, give --polygons points"
        )
        matching.table = replace(matching.table, notes=(*matching.table.notes, note))


def sample_polygons(images: Sequence[MatchedImage]) -> Iterator[tuple[Polygons, ImageSize]]:
    """Yield polygons from images spread over all ``images``, with (height, width).

    At most ``MAX_SAMPLED_IMAGES`` headers are read, where the labels do not give the size.

    Raises:
        StoreError: as ``sample_rows``.
    """
    labeled = [
        (image.path, outlines)
        for image in images
        if (outlines := [row.outline for row in image.rows if isinstance(row.outline, Polygons)])
    ]
    for path, outlines in labeled[:: max(1, -(-len(labeled) // MAX_SAMPLED_IMAGES))]:
        if size := outlines[0].size or _size_of(path):
            yield from ((outline, size) for outline in outlines[:MAX_SAMPLED_POLYGONS])


def _size_of(path: FilePath) -> ImageSize | None:
    """Return the (height, width) of an image, None for one that cannot be read."""
    try:
        return read_image_size(path)
    except StoreError:  # Waiting for each of the others would take minutes.
        raise
    except ImageError:
        return None


def _name_pixels(row: LabelRow) -> LabelRow:
    if not isinstance(row.outline, Polygons):
        return row
    return replace(row, outline=replace(row.outline, names_pixels=True))


def refuse_contradicted_base(
    matching: Matching,
    facts: Sequence[Facts],
    convention: RleConvention,
    *,
    asked_base: RleBaseOption,
) -> None:
    """Refuse a guessed base that a row contradicts which could not be decoded.

    ``facts`` are those of ``matching.images``, in the same order.

    Raises:
        LabelError: some runs count from 0 and some from 1.
    """
    undecoded = undecoded_rows(matching.images, facts)
    refuse_base_contradiction(undecoded, convention, asked=asked_base)


def undecoded_rows(
    images: Sequence[MatchedImage], facts: Sequence[Facts]
) -> Iterator[tuple[LabelRow, int]]:
    """Yield the rows whose encodings were refused, with their images' numbers of pixels.

    ``facts`` are those of ``images``, in the same order.
    """
    for image, found in zip(images, facts, strict=True):
        if found.height and found.problem:
            bad = {row.line for row in found.ledger if not row.refused_with_image}
            size = found.height * found.width
            yield from ((row, size) for row in image.rows if row.line in bad)
