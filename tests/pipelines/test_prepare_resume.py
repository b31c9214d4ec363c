"""A prepare that was killed reads only what is left, and ends as if nothing had been."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of_results
from killing import is_killed
from PIL import Image

import defectkit
from defectkit.errors import LabelError
from defectkit.files import TEMP_MARK
from defectkit.growing_csv import GrowingCsv, read_whole_rows
from defectkit.preparation import examine
from defectkit.preparation.kept_facts import COLUMNS, FACTS

pytestmark = [
    pytest.mark.check(63),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]


@pytest.fixture
def source(source_csv, tmp_path) -> Path:
    """The labels, and images of which four have 16 bits."""
    folder = tmp_path / "source"
    (folder / "Train").mkdir(parents=True)
    for path in sorted((source_csv.parent / "Train").iterdir()):
        pixels = np.asarray(Image.open(path))
        if path.name in ("part-03.png", "part-04.png", "part-11.png", "part-12.png"):
            pixels = pixels.astype(np.uint16) * 16
        Image.fromarray(pixels).save(folder / "Train" / path.name)
    (folder / "train.csv").write_bytes(source_csv.read_bytes())
    return folder / "train.csv"


@pytest.fixture
def prepare(source, tmp_path, quiet):
    def call(**options):
        own = {"out": tmp_path / "out", "workers": 0, "console": quiet, "percentile": "0.1,99"}
        return defectkit.prepare(source, **{**own, **options})

    return call


@pytest.fixture
def whole(prepare, tmp_path) -> dict[str, str]:
    """The files of a dataset whose preparation nothing interrupts."""
    prepare(out=tmp_path / "whole")
    return results_in(tmp_path / "whole")


def results_in(folder: Path) -> dict[str, str]:
    """The results in a folder, without the unfinished files of killed writes."""
    files = hashes_of_results(folder).items()
    return {name: value for name, value in files if TEMP_MARK not in name}


def kill_after(rows: int, work, monkeypatch) -> None:
    """Kill a preparation when so many rows of facts are on disk, and a part of the next one."""
    append, count = GrowingCsv.append, 0

    def die(table, new) -> None:
        nonlocal count
        if table._path.name == FACTS and new != [COLUMNS]:
            if count == rows:
                table._file.write(b"half a row,")
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        append(table, new)

    with monkeypatch.context() as patch:
        patch.setattr(GrowingCsv, "append", die)
        assert is_killed(work, at=10**9)


@pytest.fixture
def read_images(monkeypatch, tmp_path):
    """Return which images were decoded since the last call, also by processes that were forked."""
    log = tmp_path / "read.txt"
    decode = examine.decode_stored

    def logged(content, *, name, **options):
        with log.open("a") as file:
            print(name, file=file)
        return decode(content, name=name, **options)

    monkeypatch.setattr(examine, "decode_stored", logged)

    def call() -> list[str]:
        names = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    return call


def test_a_killed_prepare_reads_only_the_rest(
    prepare, whole, tmp_path, monkeypatch, read_images, cli, source
):
    read_images()
    kill_after(7, prepare, monkeypatch)
    kill_after(6, lambda: prepare(resume=True), monkeypatch)
    kill_after(10, lambda: prepare(resume=True), monkeypatch)
    rows = [*read_whole_rows(tmp_path / "out" / "unfinished" / FACTS, COLUMNS)]
    assert len(rows) == 23  # 20 images, and 3 of the 4 that are read twice
    read_images()
    words = ["--percentile", "0.1,99", "--workers", "0", "--out", tmp_path / "out"]
    done = cli("prepare", source, *words, "--resume")
    assert done.code == 0
    assert "note: 23 images were read before" in done.err
    assert read_images() == ["part-12.png"]
    assert results_in(tmp_path / "out") == whole


def test_a_kill_at_any_point_loses_nothing(prepare, whole, tmp_path):
    killed = [is_killed(prepare, at=at) for at in (1, 5, 9, 14, 20, 26)]
    assert killed.count(True) >= 4
    for at in (3, 6, 9, 12, 15, 18):
        is_killed(lambda: prepare(resume=True), at=at)
    prepare(resume=True)
    assert results_in(tmp_path / "out") == whole


def test_a_stop_is_told_and_what_it_put_in_place_goes_on(
    prepare, whole, tmp_path, monkeypatch, cli, source
):
    decode, count = examine.decode_stored, 0

    def stop(content, **options):
        nonlocal count
        count += 1
        if count == 9:
            raise KeyboardInterrupt
        return decode(content, **options)

    monkeypatch.setattr(examine, "decode_stored", stop)
    words = ["--percentile", "0.1,99", "--workers", "0", "--out", tmp_path / "out"]
    done = cli("prepare", source, *words)
    assert done.code == 130
    assert "with --resume reads only the images that are left." in done.err
    assert (tmp_path / "out" / FACTS).is_file()
    for at in (2, 3, 4):  # also while it is brought back
        is_killed(lambda: prepare(resume=True), at=at)
    prepare(resume=True)
    assert results_in(tmp_path / "out") == whole


def test_after_refused_rows_nothing_is_read_again(prepare, source, tmp_path, read_images):
    text = source.read_text()
    (bad,) = [line for line in text.splitlines() if line.startswith("part-00.png")][:1]
    source.write_text(text.replace(bad, bad.rpartition(",")[0] + ",1 999999", 1))
    with pytest.raises(LabelError, match="cannot be used"):
        prepare()
    assert len(read_images()) == 24
    prepare(skip_bad_rows=True, split="0.5/0.25/0.25", resume=True)
    assert read_images() == []
    prepare(skip_bad_rows=True, split="0.5/0.25/0.25", out=tmp_path / "whole")
    assert results_in(tmp_path / "out") == results_in(tmp_path / "whole")


def test_earlier_results_stay_until_the_end_and_what_is_there_is_no_file_of_them(
    prepare, whole, tmp_path, monkeypatch, quiet
):
    prepare(seed=3)
    earlier = results_in(tmp_path / "out")
    kill_after(5, prepare, monkeypatch)
    (tmp_path / "out" / "unfinished" / "scope.csv").write_text("left by another one")
    kept = results_in(tmp_path / "out")
    assert {name: kept[name] for name in earlier} == earlier
    prepare(resume=True)
    assert results_in(tmp_path / "out") == whole


def test_without_resume_it_begins_again_and_with_nothing_there_too(
    prepare, whole, tmp_path, monkeypatch, read_images, cli, source
):
    kill_after(5, prepare, monkeypatch)
    read_images()
    prepare()
    assert len(read_images()) == 24
    assert results_in(tmp_path / "out") == whole
    words = ["--percentile", "0.1,99", "--workers", "0", "--out", tmp_path / "new", "--resume"]
    assert "note: no image was read before: reads all" in cli("prepare", source, *words).err
    assert results_in(tmp_path / "new") == whole
