"""The tables of an evaluation: ``images.csv`` and ``regions.csv``, whose rows come as they are.

While images are judged their rows are appended, so that what ends the evaluation before its time
leaves those of the images so far. At the end both tables are written as a whole, the images in the
order of their urgency.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from defectkit.deployment.evaluate_images import Evaluation
from defectkit.evaluation.region_matching import COLUMNS, RegionMatch
from defectkit.files import write_csv
from defectkit.growing_csv import GrowingCsv
from defectkit.tables import table_rows

IMAGES, REGIONS = "images.csv", "regions.csv"


class GrowingTables:
    """The tables of an evaluation in progress, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = ExitStack()
        self._images: GrowingCsv | None = None

    def __enter__(self) -> Self:
        self._regions = self._create(REGIONS, COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, row: Mapping[str, Any], matches: Iterable[RegionMatch]) -> None:
        """Append the row of an image and those of its regions; these first.

        Raises:
            OutputError: they cannot be written.
        """
        if self._images is None:
            self._images = self._create(IMAGES, list(row))
        self._regions.append(_region_cells(match.row()) for match in matches)
        self._images.append([_image_cells(row)])

    def _create(self, name: str, columns: Sequence[str]) -> GrowingCsv:
        # That of an evaluation that goes on: its rows come again.
        (self._folder / name).unlink(missing_ok=True)
        return self._files.enter_context(GrowingCsv(self._folder / name, columns))


def write_tables(folder: Path, evaluation: Evaluation) -> None:
    """Write the tables of a complete evaluation, in place of those that grew.

    Raises:
        OutputError: one cannot be written.
    """
    images, regions = evaluation.images, evaluation.regions
    write_csv(folder / IMAGES, list(images.columns), map(_image_cells, table_rows(images)))
    write_csv(folder / REGIONS, list(regions.columns), map(_region_cells, table_rows(regions)))


def _image_cells(row: Mapping[str, Any]) -> list[object]:
    # Nine digits restore a float32 exactly.
    return [_cell(value, flags=(0, 1), digits=".9g") for value in row.values()]


def _region_cells(row: Mapping[str, Any]) -> list[object]:
    return [_cell(value, flags=("no", "yes"), digits=".6f") for value in row.values()]


def _cell(value: object, *, flags: tuple[object, object], digits: str) -> object:
    if isinstance(value, bool):
        return flags[value]
    return f"{value:{digits}}" if isinstance(value, float) else value
