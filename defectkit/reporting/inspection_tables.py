"""The tables of an inspection, whose rows are on disk as they come."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from defectkit.arrays import BoolArray
from defectkit.evaluation.verdicts import Judgment
from defectkit.files import csv_bytes
from defectkit.findings import NO_CLASS, Finding, SparseFinding, best_layers
from defectkit.growing_csv import GrowingCsv
from defectkit.labels import rle
from defectkit.reporting.inspection_progress import COLUMNS as PROGRESS_COLUMNS
from defectkit.reporting.inspection_progress import PROGRESS, Progress, Step

FINDING_COLUMNS = ("image_id", "verdict", "score", "class_id", "rle")
REGION_COLUMNS = ("image_id", "class_id", "x", "y", "width", "height", "area", "score")
ERROR_COLUMNS = ("image_id", "error")


@dataclass(frozen=True, slots=True)
class ImageRows:
    """The rows of an image, as its tables have them."""

    findings: bytes
    regions: bytes


def rows_of(
    image_id: str,
    judgment: Judgment,
    finding: Finding | SparseFinding,
    found_classes: Sequence[str],
) -> ImageRows:
    """Return the rows of an image: one per class found, or one with both last cells empty.

    ``found_classes`` are those of the finding's layers. What has none of them is a row without a
    class.
    """
    head = (image_id, judgment.verdict, f"{finding.score:.9g}")
    best, encode = _found_pixels(finding)
    rows: list[tuple[object, ...]] = []
    for index in range(NO_CLASS, len(found_classes)):
        if not (own := best == index).any():
            continue
        class_id = "" if index == NO_CLASS else found_classes[index]
        rows.append((*head, class_id, encode(own)))
    regions = csv_bytes(
        (image_id, region.class_id, *region.box_xywh, region.area, f"{region.score:.6f}")
        for region in finding.regions
    )
    return ImageRows(csv_bytes(rows or [(*head, None, None)]), regions)


def _found_pixels(
    finding: Finding | SparseFinding,
) -> tuple[npt.NDArray[np.integer], Callable[[BoolArray], str]]:
    """Return the layer of each found pixel, (N,), and what encodes some of these, (N,) bool."""
    if isinstance(finding, SparseFinding):
        pixels, size = finding.pixels, finding.size
        return finding.layers, lambda own: rle.encode_pixels(pixels[own], size)
    mask = finding.mask

    def encode(own: BoolArray) -> str:
        chosen = np.zeros_like(mask)
        chosen[mask] = own
        return rle.encode(chosen)

    return best_layers(finding.score_map[:, mask]), encode


class InspectionTables:
    """``findings.csv``, ``regions.csv`` and ``errors.csv``, and with them ``progress.csv``.

    Attributes:
        progress: how far the inspection has come; where it has rows, they stay.
        overlays: the folder of the overlays.
    """

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self.overlays = folder / "overlays"
        self._folder = folder
        self._files = ExitStack()

    def __enter__(self) -> Self:
        sizes = self.progress.sizes

        def create(name: str, columns: Sequence[str]) -> GrowingCsv:
            table = GrowingCsv(self._folder / name, columns, keep=sizes.get(name, 0))
            return self._files.enter_context(table)

        self._findings = create("findings.csv", FINDING_COLUMNS)
        self._regions = create("regions.csv", REGION_COLUMNS)
        self._errors = create("errors.csv", ERROR_COLUMNS)
        self._progress = create(PROGRESS, PROGRESS_COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, rows: ImageRows) -> None:
        """Add the rows of an image."""
        self._regions.append_lines(rows.regions)
        self._findings.append_lines(rows.findings)

    def add_errors(self, reasons: Iterable[tuple[str, str]]) -> None:
        """Add images that were not inspected, by id, each with the reason."""
        self._errors.append(reasons)

    def end_image(
        self, image_id: str, verdict: str, *, file: int, is_last: bool, notes: tuple[str, ...] = ()
    ) -> None:
        """Say that all rows of an image and its overlay are written.

        Args:
            image_id: its id.
            verdict: its verdict, "" if it was not inspected.
            file: the number of its file.
            is_last: whether it is the last image of its file.
            notes: what is to be said of how it was read.
        """
        step = Step(
            file=file,
            page=self.progress.pages + 1,
            is_last=is_last,
            image_id=image_id,
            verdict=verdict,
            sizes=(self._findings.size, self._regions.size, self._errors.size),
            notes=notes,
        )
        self._progress.append([step.row()])
        self.progress.add(step)
