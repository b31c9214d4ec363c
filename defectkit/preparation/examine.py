"""Look at an image once: decode it in full, and its labels with it.

The image is decoded, measured and let go in a worker process; only the facts travel back, so that
memory does not grow with the size of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.data.images import decode_image, read_image_bytes
from defectkit.errors import ImageError, LabelError
from defectkit.files import sha256_bytes
from defectkit.labels import rle
from defectkit.labels.ledger import LedgerRow, why_refused_with_image
from defectkit.labels.outlines import rasterize
from defectkit.labels.rle_convention import Convention
from defectkit.labels.table import LabelRow
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.keypoints import find_keypoints
from defectkit.regions import Region, measure_regions
from defectkit.vocabulary import RowOutcome


# Without slots these two travel between processes in half of the time.
@dataclass(frozen=True)
class Job:
    """An image to look at and the rows of the label table that speak of it."""

    image_id: str
    path: Path
    rows: tuple[LabelRow, ...] = ()


def examine(job: Job, *, convention: Convention) -> ImageFacts:
    """Read one image from its bytes, once, and everything that its rows say of it."""
    try:
        content = read_image_bytes(job.path)
        image = decode_image(content, name=job.path.name)
    except ImageError as error:
        problem = str(error)
        ledger = [
            LedgerRow(row.line, row.image_id, row.class_id, "refused", problem) for row in job.rows
        ]
        return ImageFacts(
            image_id=job.image_id, path=job.path, ledger=tuple(ledger), problem=problem
        )
    height, width = image.shape[:2]
    runs_by_class, rles, ledger = _read_rows(job.rows, (height, width), convention)
    refused = next((row for row in ledger if row.outcome == "refused"), None)
    return ImageFacts(
        image_id=job.image_id,
        path=job.path,
        height=height,
        width=width,
        channels=1 if image.ndim == 2 else 3,
        sha256=sha256_bytes(content),
        keypoints=find_keypoints(image),
        rles=rles,
        defects=tuple(
            defect
            for class_id, runs in runs_by_class.items()
            for defect in _find_regions(class_id, runs, height)
        ),
        ledger=tuple(ledger),
        problem=f"line {refused.line} was refused" if refused else "",
    )


def _find_regions(class_id: str, runs: rle.Runs, height: int) -> list[Region]:
    # Of masks and labels as large as the image most would be made for nothing.
    columns, left = runs.to_columns(height)
    return [
        replace(region, box_xywh=(left + x, y, width, height))
        for region in measure_regions(columns, class_id)
        for x, y, width, height in [region.box_xywh]
    ]


def _read_rows(
    rows: Sequence[LabelRow], shape: ImageSize, convention: Convention
) -> tuple[dict[str, rle.Runs], dict[str, str], list[LedgerRow]]:
    """Return each defective class's runs and canonical text, and what became of the rows."""
    runs_by_class: dict[str, rle.Runs] = {}
    rles: dict[str, str] = {}
    lines: dict[str, int] = {}  # of the first row, by class
    lines_by_text: dict[tuple[str, str], int] = {}
    ledger = []
    for row in rows:
        try:
            runs, text, note = _read_row(row, shape, convention)
        except LabelError as error:
            ledger.append(LedgerRow(row.line, row.image_id, row.class_id, "refused", str(error)))
            continue
        first = lines.setdefault(row.class_id, row.line)
        same = lines_by_text.setdefault((row.class_id, text), row.line)
        outcome: RowOutcome = "used"
        if first != row.line:
            outcome = "merged"
            note = f"repeats line {same}" if same != row.line else f"united with line {first}"
        ledger.append(LedgerRow(row.line, row.image_id, row.class_id, outcome, note))
        if text and same == row.line:
            if known := runs_by_class.get(row.class_id):
                runs = known.union(runs)
                text = runs.to_text()
            runs_by_class[row.class_id], rles[row.class_id] = runs, text
    return runs_by_class, rles, _refuse_with(ledger)


def _read_row(row: LabelRow, shape: ImageSize, convention: Convention) -> tuple[rle.Runs, str, str]:
    """Return the runs in column order, the canonical text, "" where it is empty, and a note.

    Raises:
        LabelError: the row is malformed or does not fit the image.
    """
    if row.outline:
        runs = rasterize(row.outline, shape)
        return runs, runs.to_text(), ""
    runs = rle.parse_runs(row.rle, shape[0] * shape[1], base=convention.base)
    note = "its runs were not sorted and are now" if runs.was_unsorted else ""
    in_columns = convention.order == "column" or not row.rle
    by_column = runs if in_columns else runs.rows_to_columns(shape)
    text = by_column.to_text()
    if text != row.rle or not in_columns:  # Made here, so it is checked.
        mask = runs.to_mask(shape, order=convention.order)
        assert np.array_equal(rle.decode(text, shape), mask), row.rle
    return by_column, text, note


def _refuse_with(ledger: list[LedgerRow]) -> list[LedgerRow]:
    """Refuse all rows of an image where one is: its truth would be incomplete."""
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
