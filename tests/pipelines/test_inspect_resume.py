"""An inspection that was interrupted goes on where it was, and ends as if nothing had been."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from exported_models import write_exported
from file_hashes import hashes_of_results
from killing import is_killed
from locked_files import lock
from PIL import Image

import defectkit
from defectkit.errors import ConfigError
from defectkit.files import TEMP_MARK, read_csv
from defectkit.growing_csv import GrowingCsv
from defectkit.reporting import inspection, inspector
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.images_to_inspect import FEWER_PAGES
from defectkit.reporting.inspection_progress import PROGRESS, STATE

pytestmark = [
    pytest.mark.check(63),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]


def results_in(folder: Path) -> dict[str, str]:
    """The results in a folder, without the unfinished files of killed writes."""
    files = hashes_of_results(folder).items()
    return {name: value for name, value in files if TEMP_MARK not in name}


@pytest.fixture
def photos(source_csv, tmp_path) -> Path:
    """Five images and a damaged one, and between them a file of three pages."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"part-{number:02}.png" for number in range(5)]
    for name in names:
        shutil.copy(source_csv.parent / "Train" / name, folder)
    (folder / "part-01-cut.png").write_bytes((folder / names[0]).read_bytes()[:200])
    first, *others = (Image.open(folder / name) for name in names[:3])
    first.save(folder / "part-02-stack.tif", save_all=True, append_images=others)
    return folder


@pytest.fixture
def inspect(photos, run_folder, tmp_path, quiet) -> Callable[..., object]:
    """Inspect the photos, and draw all of them."""

    def call(*images: Path, **options):
        own = {"overlays": "all", "device": "cpu", "out": tmp_path / "out", "console": quiet}
        return defectkit.inspect(run_folder, *(images or [photos]), **{**own, **options})

    return call


@pytest.fixture
def refused() -> Callable[[Callable[[], object]], str]:
    """Return the message of the ConfigError that work raises."""

    def call(work: Callable[[], object]) -> str:
        with pytest.raises(ConfigError) as told:
            work()
        return str(told.value)

    return call


@pytest.fixture
def whole(inspect, tmp_path) -> dict[str, str]:
    """The files of an inspection that nothing interrupts."""
    assert not is_killed(lambda: inspect(out=tmp_path / "whole"), at=10**9)
    return results_in(tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_at_any_point_loses_nothing_and_it_ends_as_a_whole_one(inspect, whole, tmp_path):
    assert len(read_csv(tmp_path / "whole" / "errors.csv")) == 1
    assert sum(name.startswith("overlays/") for name in whole) == 8
    seen: list[int] = []
    for at in (4, 13, 16, 19):
        assert is_killed(inspect, at=at)
        folder = tmp_path / "out" / "unfinished"
        done = read_csv(folder / PROGRESS) if (folder / PROGRESS).exists() else []
        seen.append(len(done))
        read = [row["image_id"] for row in read_csv(folder / "findings.csv")] if done else []
        assert [row["image_id"] for row in done if row["verdict"]] == list(dict.fromkeys(read))
    assert max(seen) >= 3
    for at in (7, 9, 11, 13):  # Each goes on where the one before was killed.
        is_killed(lambda: inspect(resume=True), at=at)
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert results_in(tmp_path / "out") == whole


def kill_within_a_file(inspect, monkeypatch) -> None:
    """Kill an inspection as it draws the second page of a file."""
    write = EncodedOverlay.write

    def die(overlay, path: Path) -> None:
        if path.name.startswith("part-02-stack.tif_2"):
            os.kill(os.getpid(), signal.SIGKILL)
        write(overlay, path)

    with monkeypatch.context() as patch:
        patch.setattr(EncodedOverlay, "write", die)
        assert is_killed(inspect, at=10**9)


def test_no_image_is_inspected_twice(inspect, whole, tmp_path, monkeypatch):
    judged = tmp_path / "judged.txt"
    find = inspector.judge

    def judge(score, thresholds):
        with judged.open("a") as file:
            print(score, file=file)
        return find(score, thresholds)

    monkeypatch.setattr(inspector, "judge", judge)
    kill_within_a_file(inspect, monkeypatch)
    done = len(read_csv(tmp_path / "out" / "unfinished" / PROGRESS))
    assert done == 4  # two images, the damaged one, the first page
    judged.unlink()
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert len(judged.read_text().splitlines()) == 9 - done
    assert results_in(tmp_path / "out") == whole


def test_rows_of_an_image_that_was_not_finished_are_written_once(
    inspect, whole, tmp_path, monkeypatch
):
    append = GrowingCsv.append

    def die_before_it_is_done(table, rows) -> None:
        rows = list(rows)
        if table._path.name == PROGRESS and rows and rows[0][3] == "part-01.png":
            os.kill(os.getpid(), signal.SIGKILL)
        append(table, rows)

    monkeypatch.setattr(GrowingCsv, "append", die_before_it_is_done)
    assert is_killed(inspect, at=10**9)
    folder = tmp_path / "out" / "unfinished"
    assert "part-01.png" in (folder / "findings.csv").read_text()
    with (folder / PROGRESS).open("ab") as file:
        file.write(b"1,1,1,part-0")  # A row that was cut off.
    monkeypatch.setattr(GrowingCsv, "append", append)
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert results_in(tmp_path / "out") == whole


def test_what_was_put_in_place_by_a_stop_goes_on_too(inspect, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "STOPPED", "stopped")
    encode = inspector.overlay_of

    def stop(*arguments, image_id: str, **options):
        if image_id == "part-02.png":
            raise KeyboardInterrupt
        return encode(*arguments, image_id=image_id, **options)

    def stopped() -> None:
        monkeypatch.setattr(inspector, "overlay_of", stop)
        with pytest.raises(KeyboardInterrupt):
            inspect()

    assert not is_killed(stopped, at=10**9)
    assert {PROGRESS, STATE, "findings.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "stopped" in (tmp_path / "out" / "errors.csv").read_text()
    for at in (2, 3, 4, 5):  # also while its files are brought back
        is_killed(lambda: inspect(resume=True), at=at)
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert results_in(tmp_path / "out") == whole


def test_earlier_results_stay_until_the_end(inspect, whole, photos, tmp_path):
    assert not is_killed(lambda: inspect(photos / "part-00.png"), at=10**9)
    earlier = results_in(tmp_path / "out")
    assert is_killed(inspect, at=16)
    kept = results_in(tmp_path / "out")
    assert {name: kept[name] for name in earlier} == earlier
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert results_in(tmp_path / "out") == whole


def test_without_resume_it_begins_again_and_with_nothing_there_too(inspect, whole, tmp_path):
    assert is_killed(inspect, at=16)
    assert not is_killed(inspect, at=10**9)
    assert results_in(tmp_path / "out") == whole
    assert not is_killed(lambda: inspect(resume=True, out=tmp_path / "new"), at=10**9)
    assert results_in(tmp_path / "new") == whole


def test_rows_that_an_earlier_version_left_are_no_progress(inspect, whole, tmp_path):
    assert is_killed(inspect, at=16)
    for name in (PROGRESS, STATE):
        (tmp_path / "out" / "unfinished" / name).unlink()
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    assert results_in(tmp_path / "out") == whole


def test_rows_that_may_not_be_read_are_told_as_that(inspect, refused, tmp_path, monkeypatch):
    assert is_killed(inspect, at=16)
    told = lock(monkeypatch, tmp_path / "out" / "unfinished" / PROGRESS)
    assert refused(lambda: inspect(resume=True)) == told


def test_another_inspection_is_not_continued(inspect, refused, photos, tmp_path):
    assert is_killed(inspect, at=16)
    before = results_in(tmp_path / "out")
    shutil.copy(photos / "part-00.png", photos / "part-09.png")
    told = refused(lambda: inspect(resume=True))
    assert re.search("images was '7 files, .*', and now is '8 files, ", told)
    assert "Give the same images, model and options, or inspect from the start, without" in told
    (photos / "part-09.png").unlink()
    for option in ({"overlays": "none"}, {"all_regions": True}, {"first_page": True}):
        (name,) = option
        told = refused(lambda option=option: inspect(resume=True, **option))
        assert f"--{name.replace('_', '-')} was" in told
    assert results_in(tmp_path / "out") != {}
    after = {name.removeprefix("unfinished/") for name in results_in(tmp_path / "out")}
    assert {name.removeprefix("unfinished/") for name in before} - after <= {".defectkit.json"}


def test_damage_is_told(inspect, refused, tmp_path):
    assert is_killed(inspect, at=16)
    folder = tmp_path / "out" / "unfinished"
    content = (folder / PROGRESS).read_text()
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)

    def is_told(reason: str) -> None:
        told = refused(lambda: inspect(resume=True))
        assert re.search(reason, told)
        assert told.endswith("Inspect from the start, without --resume.")
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(kept, folder)

    (folder / PROGRESS).write_text(content.replace("\n1,1", "\n2,1", 1))
    is_told("progress.csv has the image part-00.png at another place")
    (folder / "overlays" / "part-00.png.png").unlink()
    is_told(r"part-00\.png\.png is missing in its overlays")
    (folder / STATE).write_text((folder / STATE).read_text().replace("files", "folders"))
    is_told("progress.json was changed after it was written")


def test_a_file_that_lost_pages_meanwhile_is_one_row(inspect, photos, tmp_path, monkeypatch):
    kill_within_a_file(inspect, monkeypatch)
    shutil.copy(photos / "part-00.png", photos / "part-02-stack.tif")
    assert not is_killed(lambda: inspect(resume=True), at=10**9)
    errors = {row["image_id"]: row["error"] for row in read_csv(tmp_path / "out" / "errors.csv")}
    assert errors["part-02-stack.tif"] == FEWER_PAGES


@pytest.mark.slow
def test_a_real_process_that_is_killed_goes_on(source_csv, tmp_path):
    model = write_exported(tmp_path / "exported", channels=1, scale=1 / 300)
    (tmp_path / "photos").mkdir()
    for number in range(200):
        name = f"{number:03}.png"
        shutil.copy(source_csv.parent / "Train" / "part-00.png", tmp_path / "photos" / name)
    words = ["inspect", model, tmp_path / "photos", "--overlays", "all", "--out"]
    command = [sys.executable, "-m", "defectkit.cli", *map(str, words)]
    with subprocess.Popen([*command, tmp_path / "out"], stderr=subprocess.DEVNULL) as process:
        while not list((tmp_path / "out" / "unfinished").glob("overlays/020.*")):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    done = len(read_csv(tmp_path / "out" / "unfinished" / PROGRESS))
    assert 20 <= done < 200
    again = subprocess.run(
        [*command, tmp_path / "out", "--resume"], capture_output=True, text=True, check=True
    )
    assert f"note: continues behind {done} images that are done" in again.stderr
    subprocess.run([*command, tmp_path / "whole"], capture_output=True, check=True)
    assert results_in(tmp_path / "out") == results_in(tmp_path / "whole")
