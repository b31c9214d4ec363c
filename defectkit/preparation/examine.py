"""Examine an image and its labels: both are decoded in full, once.

The image is decoded, measured and dropped in a worker process. Only the facts travel back, so that
memory does not grow with the size of the images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from defectkit.arrays import ImageSize, Mask
from defectkit.data.image_measures import measure_image
from defectkit.data.image_pages import decode_stored
from defectkit.data.images import read_image_bytes
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.data.roi_source import read_roi
from defectkit.errors import ImageError, LabelError, MemoryShortageError, StoreError
from defectkit.files import sha256_bytes
from defectkit.labels import rle
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.outlines import RleMask, rasterize
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.scope import decode_roi
from defectkit.labels.table import LabelRow
from defectkit.preparation.corrections import correct
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.keypoints import find_keypoints
from defectkit.preparation.ledger_column import SortedLedger
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.matching import Matching
from defectkit.preparation.rows_read import RowsRead
from defectkit.regions import Region, measure_regions
from defectkit.vocabulary import RowOutcome

IGNORED_NOTE = "they count neither in training nor in any metric"
"""What the ledger says of a row that is not about defects."""
NOTHING_COUNTS = "no pixel of the region to inspect is left: all are ignored"


def examine_image(
    image: MatchedImage,
    *,
    convention: RleConvention,
    options: ReadOptions = DEFAULT_OPTIONS,
    pixels: PixelFormat = EIGHT_BITS,
) -> ImageFacts:
    """Read one image and all of its rows; errors become the ``problem`` of the result.

    Where its pixels have more than 8 bits and no window is known, the result has their ``levels``
    and nothing else.

    Raises:
        MemoryShortageError: there is too little memory, which is no problem of the image.
        StoreError: its store does not give it, which is none either.
    """
    try:
        content = read_image_bytes(image.path)
        stored = decode_stored(content, name=image.path.name, pages=pixels.pages)
        if pixels.window is None and stored.values.dtype == np.uint16:
            levels = np.bincount(stored.values.ravel())
            return ImageFacts(image_id=image.image_id, path=image.path, levels=levels)
        values = pixels.to_8_bits(stored.values, name=image.path.name)
        roi = read_roi(image.roi, values.shape[:2]) if image.roi else ""
    except (MemoryShortageError, StoreError):
        raise
    except (ImageError, LabelError) as error:
        return _cannot_be_read(image, str(error))
    height, width = values.shape[:2]
    read = _read_rows(image.rows, (height, width), convention, options)
    read = _cut_to_scope(read, roi, (height, width))
    unfit, left_out = correct(read, image.corrections, (height, width))
    ledger = _refuse_all_if_one(read.ledger)
    refused = next((row for row in ledger if row.outcome == "refused"), None)
    regions = tuple(
        region
        for class_id, runs in read.runs_by_class.items()
        for region in _find_regions(class_id, runs, height)
    )
    return ImageFacts(
        image_id=image.image_id,
        path=image.path,
        height=height,
        width=width,
        channels=1 if values.ndim == 2 else values.shape[2],
        sha256=sha256_bytes(content),
        pixels=pixels,
        deep=stored.values.dtype != np.uint8,
        highest=0 if stored.values.dtype == np.uint8 else int(stored.values.max(initial=0)),
        clipped=pixels.clipped_share(stored.values),
        notes=stored.notes,
        keypoints=find_keypoints(values),
        rles=read.rles,
        regions=regions,
        measures=measure_image(values, regions, _unite(read.runs_by_class, (height, width))),
        roi=roi,
        ignored=read.ignored.to_text() if read.ignored else "",
        cut_rows=read.cut_rows,
        lost_rows=read.lost_rows,
        ledger=tuple(ledger),
        unfit=unfit,
        left_out=bool(left_out),
        problem=f"line {refused.line} was refused" if refused else left_out,
    )


def _cannot_be_read(image: MatchedImage, problem: str) -> ImageFacts:
    ledger = [
        LedgerRow(row.line, row.image_id, row.class_id, "refused", problem) for row in image.rows
    ]
    return ImageFacts(
        image_id=image.image_id, path=image.path, ledger=tuple(ledger), problem=problem
    )


def collect_ledger(matching: Matching, facts: Sequence[Facts]) -> Sequence[LedgerRow]:
    """Return the outcome of every row of the labels, in their order."""
    ledger = SortedLedger([image.image_id for image in facts])
    for row in matching.ledger:
        ledger.add(row)
    for number, image in enumerate(facts):
        for row in image.ledger:
            ledger.add(row, number)
    ledger.sort()
    return ledger


def _find_regions(class_id: str, runs: rle.Runs, height: int) -> list[Region]:
    # Masks and labels as large as the image would be mostly empty.
    columns, left = runs.to_columns(height)
    return [
        replace(region, box_xywh=(left + x, y, width, height))
        for region in measure_regions(columns, class_id)
        for x, y, width, height in [region.box_xywh]
    ]


def _unite(runs_by_class: Mapping[str, rle.Runs], shape: ImageSize) -> Mask | None:
    first, *others = runs_by_class.values() or [None]
    return first.union(*others).to_mask(shape).view(np.bool_) if first else None


def _read_rows(
    rows: Sequence[LabelRow],
    shape: ImageSize,
    convention: RleConvention,
    options: ReadOptions,
) -> RowsRead:
    """Read the rows, those of one class united, and those of ignored pixels."""
    read = RowsRead()
    by_class: dict[str, list[rle.Runs]] = {}
    ignored: list[rle.Runs] = []
    lines: dict[str, int] = {}  # of the first row, by class
    lines_by_text: dict[tuple[str, str], int] = {}
    for row in rows:
        try:
            runs, text, note = _read_row(row, shape, convention, options)
        except LabelError as error:
            read.ledger.append(
                LedgerRow(row.line, row.image_id, row.class_id, "refused", str(error))
            )
            continue
        if _is_ignored(row, options):
            note = f"{note or 'these pixels are ignored'}; {IGNORED_NOTE}"
            read.ledger.append(LedgerRow(row.line, row.image_id, row.class_id, "used", note))
            if text:
                ignored.append(runs)
            continue
        first = lines.setdefault(row.class_id, row.line)
        same = lines_by_text.setdefault((row.class_id, text), row.line)
        outcome: RowOutcome = "used"
        if first != row.line:
            outcome = "merged"
            merged = f"repeats line {same}" if same != row.line else f"merged with line {first}"
            note = "; ".join(filter(None, [note, merged]))
        if text:
            read.runs[len(read.ledger)] = runs
        read.ledger.append(LedgerRow(row.line, row.image_id, row.class_id, outcome, note))
        if text and same == row.line:
            by_class.setdefault(row.class_id, []).append(runs)
            read.rles[row.class_id] = text
    for class_id, (one, *others) in by_class.items():
        read.runs_by_class[class_id] = one.union(*others)
        if others:
            read.rles[class_id] = read.runs_by_class[class_id].to_text()
    if ignored:
        read.ignored = ignored[0].union(*ignored[1:])
    return read


def _cut_to_scope(read: RowsRead, roi: str, shape: ImageSize) -> RowsRead:
    """Leave out of the masks what does not count, and say so in the ledger; change ``read``."""
    if not roi and not read.ignored:
        return read
    inside = decode_roi(roi, shape) if roi else np.ones(shape, np.bool_)
    ignored = np.zeros(shape, np.bool_)
    if read.ignored:
        ignored = read.ignored.to_mask(shape).view(np.bool_)
    counted = inside & ~ignored
    if not counted.any():
        read.ledger = [
            replace(row, outcome="refused", reason=NOTHING_COUNTS) for row in read.ledger
        ]
        return read
    for place, runs in read.runs.items():
        mask = runs.to_mask(shape).view(np.bool_)
        area, left = np.count_nonzero(mask), np.count_nonzero(mask & counted)
        if left == area:
            continue
        read.cut_rows += 1
        read.lost_rows += left == 0
        outside = np.count_nonzero(mask & ~inside)
        notes = [read.ledger[place].reason]
        if outside:
            notes.append(f"{outside} of its {area} pixels are outside of the region to inspect")
        if under := area - left - outside:
            notes.append(f"{under} of its {area} pixels are ignored")
        if not left:
            notes.append("no defect is left of it")
        read.ledger[place] = replace(read.ledger[place], reason="; ".join(filter(None, notes)))
    masks = {name: runs.to_mask(shape) & counted for name, runs in read.runs_by_class.items()}
    read.runs_by_class = {
        name: rle.Runs.from_mask(mask) for name, mask in masks.items() if mask.any()
    }
    read.rles = {name: runs.to_text() for name, runs in read.runs_by_class.items()}
    return read


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
    # The box of ignored pixels around a defect would hide it.
    if options.boxes and len(runs.lengths) and not _is_ignored(row, options):
        runs = _box_runs(runs, shape, each_region=isinstance(row.outline, RleMask | None))
    return runs, runs.to_text(), "; ".join(filter(None, [row.note, how]))


def _is_ignored(row: LabelRow, options: ReadOptions) -> bool:
    return row.ignored or (bool(row.class_id) and row.class_id == options.ignore_class)


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
