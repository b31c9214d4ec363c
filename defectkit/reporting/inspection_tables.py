"""The tables of an inspection, whose rows are on disk as they come."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from defectkit.evaluation.verdicts import Judgment
from defectkit.findings import NO_CLASS, Finding, best_layers
from defectkit.growing_csv import GrowingCsv
from defectkit.labels import rle

FINDING_COLUMNS = ("image_id", "verdict", "score", "class_id", "rle")
REGION_COLUMNS = ("image_id", "class_id", "x", "y", "width", "height", "area", "score")
ERROR_COLUMNS = ("image_id", "error")


class InspectionTables:
    """``findings.csv``, ``regions.csv`` and ``errors.csv``.

    Attributes:
        verdicts: number of images with each verdict.
        n_errors: number of images that were not inspected.
    """

    def __init__(self, folder: Path) -> None:
        self.verdicts: Counter[str] = Counter()
        self.n_errors = 0
        self._folder = folder
        self._files = ExitStack()

    def __enter__(self) -> Self:
        def create(name: str, columns: Sequence[str]) -> GrowingCsv:
            return self._files.enter_context(GrowingCsv(self._folder / name, columns))

        self._findings = create("findings.csv", FINDING_COLUMNS)
        self._regions = create("regions.csv", REGION_COLUMNS)
        self._errors = create("errors.csv", ERROR_COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(
        self, image_id: str, judgment: Judgment, finding: Finding, found_classes: Sequence[str]
    ) -> None:
        """Add an image: a row per class found, or one with both last cells empty.

        ``found_classes`` are those of the finding's layers. What has none of them is a row without
        a class.
        """
        head = (image_id, judgment.verdict, f"{finding.score:.9g}")
        mask = finding.mask
        best = best_layers(finding.score_map[:, mask])  # the class of each found pixel
        rows: list[tuple[object, ...]] = []
        for index in np.unique(best).tolist():
            of_class = np.zeros_like(mask)
            of_class[mask] = best == index
            class_id = "" if index == NO_CLASS else found_classes[index]
            rows.append((*head, class_id, rle.encode(of_class)))
        self._regions.append(
            (image_id, region.class_id, *region.box_xywh, region.area, f"{region.score:.6f}")
            for region in finding.regions
        )
        self._findings.append(rows or [(*head, None, None)])
        self.verdicts[judgment.verdict] += 1

    def add_errors(self, reasons: Iterable[tuple[str, str]]) -> None:
        """Add images that were not inspected, by id, each with the reason."""
        rows = list(reasons)
        self._errors.append(rows)
        self.n_errors += len(rows)
