"""How much ``prepare`` costs above the bare decoding of the same images.

All sides decode with the same number of processes and pay for starting them. They take turns, and
the medians of the ratios are printed: 1.0 would mean that checking, masks, regions, hashes, splits,
tables and preview sheets cost nothing. The aim is 0.8 for a ``prepare`` without keypoints, which
finds equal files only; the second ratio includes the search for images that show the same thing.

A small source is repeated under new names until there are ``--images`` of them, since a dataset of
this kind has thousands (Severstal 12,568, DAGM 16,100). With ``--images 0`` it is taken as it is;
then the preview sheets, half a second for data of any size, cost most.
"""

import argparse
import csv
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from rich.console import Console

from defectkit.arrays import Image
from defectkit.data.images import decode_image
from defectkit.labels.formats.csv_table import read_table
from defectkit.labels.table import LabelRow
from defectkit.pipelines import prepare
from defectkit.preparation import examine
from defectkit.preparation.open_image_folder import open_image_folder
from defectkit.preparation.worker_pool import open_worker_pool


def main() -> None:
    """Time both sides in turns and print the median ratio."""
    parser = argparse.ArgumentParser(description="Compare prepare with bare decoding.")
    parser.add_argument("--data", type=Path, default=Path("sample_data/train.csv"))
    parser.add_argument("--images", type=int, default=8000, help="at least; 0 for no copies")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(options, Path(name))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Print the seconds of each turn and the median ratio."""
    table, paths = copy_images(options.data, folder, options.images)

    def bare() -> None:
        with open_worker_pool(options.processes, n_jobs=len(paths)) as workers:
            assert all(workers.map(decode, paths))

    def whole() -> None:
        prepare.run(
            table,
            out=folder / "out",
            workers=options.processes,
            console=Console(file=io.StringIO()),
        )

    def without_search() -> None:
        with mock.patch.object(examine, "find_keypoints", find_none):  # in workers too
            whole()

    bare()  # once for the page cache
    ratios = []
    print(f"{len(paths)} images of {options.data}, {options.processes} processes")
    for turn in range(options.repeats):
        decoding, unsearched, preparing = map(seconds, (bare, without_search, whole))
        ratios.append((decoding / unsearched, decoding / preparing))
        print(f"turn {turn + 1}: decoding {decoding:.2f} s, prepare {preparing:.2f} s, without the "
              f"search {unsearched:.2f} s")  # fmt: skip
    without, full = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median ratio {without:.3f} without the search (aim: 0.8), {full:.3f} with it")


def find_none(_: Image) -> bytes:
    """Stand in for the search for keypoints."""
    return b""


def decode(path: Path) -> tuple[int, ...]:
    """Do what the bare loop does with an image."""
    return decode_image(path.read_bytes(), name=path.name).shape


def copy_images(source: Path, folder: Path, wanted: int) -> tuple[Path, list[Path]]:
    """Repeat the images of ``source`` in ``folder`` until they are enough; write their table."""
    by_image: dict[str, list[LabelRow]] = {}
    for row in read_table(source).rows:
        by_image.setdefault(row.image_id, []).append(row)
    images = open_image_folder(source, None, list(by_image))
    (folder / "Train").mkdir()
    paths = []
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["ImageId", "ClassId", "EncodedPixels"])
        for image_id, rows in by_image.items():
            original = shutil.copy(images.find(image_id).path, folder)
            for copy in range(max(1, -(-wanted // len(by_image)))):
                path = folder / "Train" / f"{copy}-{Path(original).name}"
                os.link(original, path)  # a name of its own, but no space on the disk
                paths.append(path)
                writer.writerows([path.name, row.class_id, row.rle] for row in rows)
    return folder / "train.csv", paths


def seconds(work: Callable[[], None]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
