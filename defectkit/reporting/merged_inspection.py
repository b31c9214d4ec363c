"""The shards of an inspection made one: byte for byte what a single process writes."""

from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Self

import numpy as np
from rich.console import Console

from defectkit import shards
from defectkit.arrays import Int64Array
from defectkit.files import csv_text, open_limited
from defectkit.growing_csv import MAX_BYTES, GrowingCsv
from defectkit.reporting.inspection_folder import HEAD, KIND
from defectkit.reporting.inspection_progress import PROGRESS, TABLES, Progress, read_steps
from defectkit.reporting.inspection_summary import InspectSummary, summarize_inspection
from defectkit.reporting.inspection_tables import ERROR_COLUMNS, FINDING_COLUMNS, REGION_COLUMNS
from defectkit.results_folder import write_results
from defectkit.shards import WrittenShard, damaged_shard

HEADERS = dict(zip(TABLES, (FINDING_COLUMNS, REGION_COLUMNS, ERROR_COLUMNS), strict=True))
MAX_OPEN = 200
"""Max. number of files that are open at a time."""


def merge_inspection(
    out: Path, written: Sequence[WrittenShard], console: Console
) -> InspectSummary:
    """Write the inspection in ``out`` that the shards are of, and return its summary.

    Args:
        out: the folder.
        written: all shards, by their numbers.
        console: where to report.

    Raises:
        ConfigError: an image is missing or in two shards, or a shard is damaged.
        OutputError: the folder cannot be written, or has other results.
    """
    order, progress = _order_images(written)
    overlays = [
        (one.folder / name, name)
        for one in written
        for name in one.files
        if name.startswith("overlays/")
    ]
    names = [*TABLES, *(name for _, name in overlays)]
    with (
        write_results(out, kind=KIND, head=HEAD, names=names) as results,
        shards.remove_if_failed(results, names),
    ):
        for source, name in overlays:
            shards.link_file(source, results.folder / name)
        for column, name in enumerate(TABLES):
            _write_table(results.folder / name, column, written, order)
    content = written[0].content
    return summarize_inspection(
        console,
        out,
        verdicts=progress.verdicts,
        n_errors=progress.n_errors,
        notes=progress.notes,
        drawn=content["drawn"],
        skipped=content["skipped"],
        told_skipped=content["told_skipped"],
    )


def _order_images(written: Sequence[WrittenShard]) -> tuple[Int64Array, Progress]:
    """Return the images of all shards in the order of a single process, and what they count.

    Each is a row (shard, begin and end of its rows in each table): (N, 7).

    Raises:
        ConfigError: an image is missing or in two shards, or a shard is damaged.
    """
    n_files = int(written[0].content["files"])
    owners = np.full(n_files + 1, -1, np.int64)  # by the number of a file, from 1 on
    rows: list[tuple[int, ...]] = []
    notes: list[tuple[int, int, int, str, str]] = []
    progress = Progress()
    for index, one in enumerate(written):
        own = Progress()
        begin = tuple(len(csv_text([HEADERS[name]]).encode()) for name in TABLES)
        try:
            for step in read_steps(one.folder / PROGRESS):
                if not 1 <= step.file <= n_files:
                    raise ValueError(f"{PROGRESS} has file number {step.file} of {n_files}")
                if owners[step.file] not in (-1, index):
                    other = written[owners[step.file]].folder
                    raise ValueError(f"{step.image_id} is in {other}, too")
                owners[step.file] = index
                if step.page != own.pages + 1:
                    raise ValueError(f"{PROGRESS} has {step.image_id} at another place")
                rows.append((step.file, step.page, index, *begin, *step.sizes))
                for place, note in enumerate(step.notes):
                    notes.append((step.file, step.page, place, note, step.image_id))
                begin = step.sizes
                own.add(step)
            if own.pages:
                raise ValueError(f"{PROGRESS} ends amid a file")
        except (OSError, ValueError) as error:
            raise damaged_shard(one.shard, one.folder, error) from error
        progress.verdicts.update(own.verdicts)
        progress.n_errors += own.n_errors
    missing = np.flatnonzero(owners[1:] < 0) + 1
    if len(missing):
        raise damaged_shard(
            written[0].shard, written[0].folder, f"no shard has file number {missing[0]}"
        )
    for *_, note, image_id in sorted(notes):
        progress.notes.setdefault(note, []).append(image_id)
    table = np.array(rows, np.int64).reshape(-1, 3 + 2 * len(TABLES))
    return table[np.lexsort((table[:, 1], table[:, 0]))][:, 2:], progress


def _write_table(
    path: Path, column: int, written: Sequence[WrittenShard], order: Int64Array
) -> None:
    """Write a table: the rows of each image, as its shard has them.

    Raises:
        ConfigError: a shard lacks rows.
        OutputError: the table cannot be written.
    """
    begins, ends = order[:, 1 + column], order[:, 1 + len(TABLES) + column]
    slices = zip(order[:, 0].tolist(), begins.tolist(), ends.tolist(), strict=True)
    with GrowingCsv(path, HEADERS[path.name]) as table, _Sources(written, path.name) as sources:
        for index, begin, end in slices:
            if end > begin:
                table.append_lines(sources.read(index, begin, end - begin))


class _Sources:
    """A table of all shards, open to be read in pieces."""

    def __init__(self, written: Sequence[WrittenShard], name: str) -> None:
        self._written = written
        self._name = name
        self._open: dict[int, BufferedReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open.values():
            handle.close()

    def read(self, index: int, begin: int, size: int) -> bytes:
        """Return a piece of the table of a shard.

        Raises:
            ConfigError: it is not there.
        """
        one = self._written[index]
        try:
            if index not in self._open:
                if len(self._open) >= MAX_OPEN:
                    self._open.pop(next(iter(self._open))).close()
                self._open[index] = open_limited(one.folder / self._name, MAX_BYTES)
            self._open[index].seek(begin)
            piece = self._open[index].read(size)
            if len(piece) < size or not piece.endswith(b"\n"):
                raise ValueError(f"{self._name} and {PROGRESS} do not fit each other")
        except (OSError, ValueError) as error:
            raise damaged_shard(one.shard, one.folder, error) from error
        return piece
