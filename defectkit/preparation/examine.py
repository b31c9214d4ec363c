"""Examine an image and its labels: both are decoded in full, once.

The image is decoded, measured and dropped in a worker process. Only the facts travel back, so that
memory does not grow with the size of the images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.data.images import decode_image, read_image_bytes
from defectkit.errors import ImageError, LabelError
from defectkit.files import sha256_bytes
from defectkit.labels import rle
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.outlines import RleMask, rasterize
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.table import LabelRow
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.keypoints import find_keypoints
from defectkit.preparation.matching import MatchedImage, Matching
from defectkit.regions import Region, measure_regions
from defectkit.vocabulary import RowOutcome


def examine_image(
    image: MatchedImage, *, convention: RleConvention, options: ReadOptions = DEFAULT_OPTIONS
) -> ImageFacts:
    """Read one image and all of its rows; errors become the ``problem`` of the result."""
    try:
        content = read_image_bytes(image.path)
        pixels = decode_image(content, name=image.path.name)
    except ImageError as error:
        problem = str(error)
        ledger = [
            LedgerRow(row.line, row.image_id, row.class_id, "refused", problem)
            for row in image.rows
        ]
        return ImageFacts(
            image_id=image.image_id, path=image.path, ledger=tuple(ledger), problem=problem
        )
    height, width = pixels.shape[:2]
    runs_by_class, rles, ledger = _read_rows(image.rows, (height, width), convention, options)
    refused = next((row for row in ledger if row.outcome == "refused"), None)
    return ImageFacts(
        image_id=image.image_id,
        path=image.path,
        height=height,
        width=width,
        channels=1 if pixels.ndim == 2 else 3,
        sha256=sha256_bytes(content),
        keypoints=find_keypoints(pixels),
        rles=rles,
        regions=tuple(
            region
            for class_id, runs in runs_by_class.items()
            for region in _find_regions(class_id, runs, height)
        ),
        ledger=tuple(ledger),
        problem=f"line {refused.line} was refused" if refused else "",
    )


def collect_ledger(matching: Matching, facts: Sequence[ImageFacts]) -> list[LedgerRow]:
    """Return the outcome of every row of the labels, in their order."""
    rows = [*matching.ledger, *(row for image in facts for row in image.ledger)]
    return sorted(rows, key=lambda row: row.line)


def _find_regions(class_id: str, runs: rle.Runs, height: int) -> list[Region]:
    # Masks and labels as large as the image would be mostly empty.
    columns, left = runs.to_columns(height)
    return [
        replace(region, box_xywh=(left + x, y, width, height))
        for region in measure_regions(columns, class_id)
        for x, y, width, height in [region.box_xywh]
    ]


def _read_rows(
    rows: Sequence[LabelRow], shape: ImageSize, convention: RleConvention, options: ReadOptions
) -> tuple[dict[str, rle.Runs], dict[str, str], list[LedgerRow]]:
    """Return each defective class's runs and canonical text, and the outcome of the rows."""
    runs_by_class: dict[str, rle.Runs] = {}
    rles: dict[str, str] = {}
    lines: dict[str, int] = {}  # of the first row, by class
    lines_by_text: dict[tuple[str, str], int] = {}
    ledger = []
    for row in rows:
        try:
            runs, text, note = _read_row(row, shape, convention, options)
        except LabelError as error:
            ledger.append(LedgerRow(row.line, row.image_id, row.class_id, "refused", str(error)))
            continue
        first = lines.setdefault(row.class_id, row.line)
        same = lines_by_text.setdefault((row.class_id, text), row.line)
        outcome: RowOutcome = "used"
        if first != row.line:
            outcome = "merged"
            merged = f"repeats line {same}" if same != row.line else f"united with line {first}"
            note = "; ".join(filter(None, [note, merged]))
        ledger.append(LedgerRow(row.line, row.image_id, row.class_id, outcome, note))
        if text and same == row.line:
            if known := runs_by_class.get(row.class_id):
                runs = known.union(runs)
                text = runs.to_text()
            runs_by_class[row.class_id], rles[row.class_id] = runs, text
    return runs_by_class, rles, _refuse_all_if_one(ledger)


def _read_row(
    row: LabelRow, shape: ImageSize, convention: RleConvention, options: ReadOptions
) -> tuple[rle.Runs, str, str]:
    """Return the runs in column order, the canonical text, "" where it is empty, and a note.

    Raises:
        LabelError: the row is malformed or does not fit the image.
    """
    if row.outline:
        runs, how = rasterize(row.outline, shape, clip=options.clip)
    else:
        runs, how = _decode(row.rle, shape, convention)
    if options.boxes and len(runs.lengths):
        runs = _box_runs(runs, shape, each_region=isinstance(row.outline, RleMask | None))
    return runs, runs.to_text(), "; ".join(filter(None, [row.note, how]))


def _decode(text: str, shape: ImageSize, convention: RleConvention) -> tuple[rle.Runs, str]:
    """Return the runs in column order of a run-length text, and a note or ""."""
    runs = rle.parse_runs(text, shape[0] * shape[1], base=convention.base)
    note = "its runs were not sorted and are now" if runs.was_unsorted else ""
    in_columns = convention.order == "column" or not text
    by_column = runs if in_columns else runs.rows_to_columns(shape)
    canonical = by_column.to_text()
    if canonical != text or not in_columns:  # Made here, so it is checked.
        mask = runs.to_mask(shape, order=convention.order)
        assert np.array_equal(rle.decode(canonical, shape), mask), text
    return by_column, note


def _box_runs(runs: rle.Runs, shape: ImageSize, *, each_region: bool) -> rle.Runs:
    """Return the runs of the box around a mask, or of those around each of its regions.

    A drawn outline is one defect; a row of a table or a mask image has all of one class.
    """
    columns, left = runs.to_columns(shape[0])
    boxes = [region.box_xywh for region in measure_regions(columns, "")]
    mask = np.zeros(shape, np.uint8)
    if not each_region:
        x, y = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right = max(x + width for x, _, width, _ in boxes)
        bottom = max(y + height for _, y, _, height in boxes)
        boxes = [(x, y, right - x, bottom - y)]
    for x, y, width, height in boxes:
        mask[y : y + height, left + x : left + x + width] = 1
    return rle.Runs.from_mask(mask)


def _refuse_all_if_one(ledger: list[LedgerRow]) -> list[LedgerRow]:
    """Refuse all rows of an image where one is: its labels would be incomplete."""
    refused = next((row for row in ledger if row.outcome == "refused"), None)
    if refused is None:
        return ledger
    return [
        row
        if row.outcome == "refused"
        else replace(
            row,
            outcome="refused",
            reason=why_refused_with_image(refused.line),
            refused_with_image=True,
        )
        for row in ledger
    ]
