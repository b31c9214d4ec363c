import io
from pathlib import Path

import pytest
from rich.console import Console

from defectkit.data.image_search import ImageFile, ImageSearch
from defectkit.errors import ConfigError
from defectkit.files import read_csv
from defectkit.reporting import merged_inspection
from defectkit.reporting.inspection_folder import files_of_shard, open_inspection
from defectkit.reporting.merged_inspection import merge_inspection
from defectkit.shards import Shard, read_shards


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=1000)


def write(out: Path, n_files: int, count: int, console: Console) -> None:
    files = [
        ImageFile(image_id=f"{number:03}", path=Path("x"), number=number)
        for number in range(1, n_files + 1)
    ]
    for number in range(1, count + 1):
        shard = Shard(number, count)
        with open_inspection(
            out, files_of_shard(files, shard), ImageSearch(files=files), shard=shard,
            same={"--overlays": "none"}, drawn="none", sources=[], resume=False, console=console,
        ) as tables:  # fmt: skip
            for file in files_of_shard(files, shard):
                tables.add_errors([(file.image_id, "x" * file.number)])
                notes = ("odd", "at all") if file.number % 2 else ()
                tables.end_image(file.image_id, "", file=file.number, is_last=True, notes=notes)


@pytest.mark.parametrize("max_open", [1, 2, 100])
def test_rows_come_in_the_order_of_one_process_however_few_files_are_open(
    tmp_path, console, monkeypatch, max_open
):
    monkeypatch.setattr(merged_inspection, "MAX_OPEN", max_open)
    write(tmp_path, 11, 4, console)
    summary = merge_inspection(tmp_path, read_shards(tmp_path), console)
    assert summary.unreadable == 11
    rows = read_csv(tmp_path / "errors.csv")
    assert [row["image_id"] for row in rows] == [f"{number:03}" for number in range(1, 12)]
    assert [len(row["error"]) for row in rows] == list(range(1, 12))
    odd, other, *_ = console.file.getvalue().splitlines()
    assert odd == "note: 001, 003, 005, 007, 009, 011: odd"
    assert other.endswith(": at all")


def test_a_table_that_lacks_rows_is_refused(tmp_path, console):
    write(tmp_path, 5, 2, console)
    written = read_shards(tmp_path)
    path = tmp_path / "shards" / "2-of-2" / "errors.csv"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConfigError, match=r"errors\.csv and progress\.csv do not fit each other"):
        merge_inspection(tmp_path, written, console)
    assert not (tmp_path / "findings.csv").exists()
