"""One image's trouble is one row, whatever it is, and everything that was done is on disk."""

import io
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_models import write_exported
from peak_memory import can_measure
from PIL import Image
from rich.console import Console

import defectkit
from defectkit.approaches.passes import Passes
from defectkit.data.images import read_image, write_png
from defectkit.deployment import runtime
from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import DiskFullError, OutputError
from defectkit.evaluation.verdicts import Judgment
from defectkit.files import read_csv
from defectkit.reporting import inspection, inspector
from defectkit.reporting.drawing import large_overlay
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.progress import Progress

NAMES = [f"part-{number:02}.png" for number in range(4)]


@pytest.fixture
def photos(source_csv, tmp_path) -> Path:
    """A folder of four images."""
    for name in NAMES:
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(source_csv.parent / "Train" / name, tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def inspect(run_folder, tmp_path):
    def call(*images: Path, **options):
        console = Console(file=io.StringIO(), width=1000)
        own = {"out": tmp_path / "out", "device": "cpu", "console": console, "overlays": "all"}
        options = {**own, **options}
        done = defectkit.inspect(run_folder, *images, **options)
        return done, console.file.getvalue()

    return call


def fail_at(name: str, error: BaseException, monkeypatch) -> None:
    """Make the drawing of one image's overlay fail, or its writing where the disk is full."""
    encode, write = inspector.overlay_of, EncodedOverlay.write

    def drawn(*arguments, image_id: str, **options):
        if image_id == name and not isinstance(error, OutputError):
            raise error
        return encode(*arguments, image_id=image_id, **options)

    def written(overlay, path: Path) -> None:
        if path.name == f"{name}.png" and isinstance(error, OutputError):
            raise error
        write(overlay, path)

    monkeypatch.setattr(inspector, "overlay_of", drawn)
    monkeypatch.setattr(EncodedOverlay, "write", written)


def errors_in(folder: Path) -> dict[str, str]:
    return {row["image_id"]: row["error"] for row in read_csv(folder / "errors.csv")}


def ids_in(folder: Path) -> list[str]:
    return sorted({row["image_id"] for row in read_csv(folder / "findings.csv")})


@pytest.mark.check(54)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "too little memory for this image (MemoryError). Cut it into parts."),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate 9 bytes\nmore"),
            "too little memory for this image ([enforce fail] DefaultCPUAllocator: can't allocate "
            "9 bytes). Cut it into parts.",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "too little memory for this image (CUDA"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (RecursionError(), "RecursionError: RecursionError"),
        (OSError("odd"), "OSError: odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_one_image_raises_is_one_row(error, reason, photos, inspect, monkeypatch):
    fail_at("part-01.png", error, monkeypatch)
    done, told = inspect(photos)
    ((name, written),) = errors_in(done.out).items()
    assert name == "part-01.png"
    assert written.startswith(reason)
    assert f"not inspected: {photos / name}: {written}" in told
    assert ids_in(done.out) == [one for one in NAMES if one != name]
    assert (done.unreadable, done.good + done.review + done.defective) == (1, 3)


@pytest.mark.check(54)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), DiskFullError("full")])
def test_when_it_is_stopped_the_rows_are_there_and_the_others_are_listed(
    error, photos, inspect, monkeypatch, tmp_path
):
    fail_at("part-02.png", error, monkeypatch)
    with pytest.raises(type(error)):
        inspect(photos)
    assert ids_in(tmp_path / "out") == NAMES[:2]
    assert errors_in(tmp_path / "out") == dict.fromkeys(NAMES[2:], inspection.STOPPED)


@pytest.mark.check(54)
def test_a_stopped_inspection_leaves_the_results_of_an_earlier_one(
    photos, inspect, monkeypatch, tmp_path
):
    done, _ = inspect(photos)
    (photos / "part-00.png").unlink()
    fail_at("part-02.png", KeyboardInterrupt(), monkeypatch)
    console = Console(file=io.StringIO(), width=1000)
    with pytest.raises(KeyboardInterrupt):
        inspect(photos, console=console)
    assert ids_in(done.out) == NAMES
    assert ids_in(done.out / "unfinished") == NAMES[1:2]
    assert console.file.getvalue() == (
        f"stopped; the earlier results in {done.out} are kept. The rows so far are in "
        f"{done.out / 'unfinished'}, until the next inspection removes them. The same command with "
        "--resume continues there.\n"
    )
    monkeypatch.undo()
    note = "note: removed the rows that a stopped inspection had left"
    assert note in inspect(photos)[1]
    assert note not in inspect(photos)[1]


@pytest.mark.check(59)
def test_line_breaks_in_names_are_shown_on_one_line(photos, inspect, tmp_path):
    (photos / "a\nb.png").write_bytes(b"")
    _, told = inspect(photos, out=tmp_path / "c\nd")
    assert r"a\nb.png: the file is empty" in told
    assert len(told.splitlines()) == 3  # both of these, and the note on images of the training


@pytest.mark.slow
@pytest.mark.check(54)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_process_each_inspected_image_has_its_row(
    number, run_folder, tmp_path, source_csv
):
    names = [f"{number:03}.png" for number in range(200)]
    (tmp_path / "photos").mkdir()
    for name in names:
        shutil.copy(source_csv.parent / "Train" / NAMES[0], tmp_path / "photos" / name)
    words = ["inspect", run_folder, tmp_path / "photos", "--out", tmp_path / "out"]
    command = [
        sys.executable,
        "-m",
        "defectkit.cli",
        *words,
        "--device",
        "cpu",
        "--overlays",
        "all",
    ]
    unfinished = tmp_path / "out" / "unfinished"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not list(unfinished.glob("overlays/002.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGKILL)
    folder = unfinished if number == signal.SIGKILL else tmp_path / "out"
    found, drawn = ids_in(folder), len(list((folder / "overlays").glob("[0-9]*.png")))
    assert 2 <= len(found) < len(names)
    assert found == names[: len(found)]
    assert drawn - len(found) in (0, 1)  # An overlay comes before its row.
    left = names[len(found) :] if number == signal.SIGTERM else []
    assert list(errors_in(folder)) == left


def save_pages(path: Path, kind: str, *images: Path) -> None:
    first, *others = (Image.open(image).convert("RGB") for image in images)
    first.save(path, kind, save_all=True, append_images=others, lossless=True)


@pytest.mark.check(53)
@pytest.mark.parametrize(
    "kind", ["TIFF", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("WEBP", "PNG"))]
)
def test_each_page_has_the_verdict_of_an_image_of_its_own(kind, photos, inspect):
    alone = {
        row["image_id"]: (row["verdict"], row["score"])
        for row in read_csv(inspect(photos)[0].out / "findings.csv")
    }
    save_pages(photos / "stack", kind, *(photos / name for name in NAMES[:3]))
    done, _ = inspect(photos / "stack", photos / NAMES[3])
    pages = {
        row["image_id"]: (row["verdict"], row["score"])
        for row in read_csv(done.out / "findings.csv")
    }
    expected = {f"stack#{number}": alone[name] for number, name in enumerate(NAMES[:3], 1)}
    assert pages == expected | {NAMES[3]: alone[NAMES[3]]}
    assert len(list((done.out / "overlays").iterdir())) == 4
    done, told = inspect(photos / "stack", first_page=True)
    assert ids_in(done.out) == ["stack"]
    assert "note: stack: several pages or frames; the first alone was inspected" in told


@pytest.mark.check(53)
def test_a_page_has_no_name_of_another_image(photos, inspect):
    save_pages(photos / "s.tif", "TIFF", photos / NAMES[0], photos / NAMES[1])
    shutil.copy(photos / NAMES[0], photos / "s.tif#2")
    save_pages(photos / "s.tif#", "TIFF", photos / NAMES[0], photos / NAMES[1])
    done, _ = inspect(*(photos / name for name in ("s.tif", "s.tif#2", "s.tif#")))
    pages = {"s.tif##1", "s.tif##2", "s.tif###1", "s.tif###2"}
    assert set(ids_in(done.out)) == pages | {"s.tif#2"}


@pytest.mark.check(53)
def test_a_damaged_page_is_one_row_and_lost_pages_are_told(photos, inspect):
    save_pages(photos / "s.png", "PNG", *(photos / name for name in NAMES[:3]))
    content = (photos / "s.png").read_bytes()
    (photos / "s.png").write_bytes(content[:-2000])
    save_pages(photos / "t.tif", "TIFF", *(photos / name for name in NAMES[:3]))
    content = (photos / "t.tif").read_bytes()
    (photos / "t.tif").write_bytes(content[: len(content) * 6 // 10])
    done, _ = inspect(photos / "s.png", photos / "t.tif")
    assert ids_in(done.out) == ["s.png#1", "s.png#2"]
    errors = errors_in(done.out)
    assert list(errors) == ["s.png#3", "t.tif"]
    assert "damaged or cut off" in errors["s.png#3"]
    assert "it lacks pages or frames" in errors["t.tif"]


@pytest.mark.check(53)
def test_everything_in_a_folder_is_accounted_for(photos, inspect, tmp_path):
    shutil.copytree(photos, photos / "photos")
    (photos / "dead.png").symlink_to("gone.png")
    (photos / "out.png").symlink_to(tmp_path)
    (photos / "circle").symlink_to("circle")
    for name in ("notes.txt", "b.heic", ".hidden", "empty.png"):
        (photos / name).touch()
    done, told = inspect(photos)
    assert done.good + done.review + done.defective == 2 * len(NAMES)
    wrong = {"dead.png", "out.png", "circle", "b.heic", "empty.png"}
    errors = errors_in(done.out)
    assert set(errors) == wrong
    assert errors["empty.png"] == "the file is empty."
    assert f"not inspected: {photos / 'empty.png'}: the file is empty." in told
    assert (done.unreadable, done.skipped) == (len(wrong), 2)
    assert f"5 not inspected ({done.out / 'errors.csv'}); " in told
    assert "2 other files skipped: 1 hidden or of the system, 1 .txt (.hidden, notes.txt)" in told


@pytest.mark.parametrize(
    ("overlays", "drawn"), [("all", {0, 1, 2, 3}), ("flagged", {1, 3}), ("none", set())]
)
def test_overlays_are_drawn_of_the_images_that_are_asked_for(
    overlays, drawn, photos, inspect, monkeypatch
):
    verdicts = dict(zip(NAMES, ("good", "review", "good", "defective"), strict=True))
    scores = dict(zip(NAMES, (0.1, 0.5, 0.2, 0.9), strict=True))
    judged = iter(NAMES)

    def judge_in_turn(_, thresholds):
        name = next(judged)
        return Judgment(verdict=verdicts[name], score=scores[name], thresholds=thresholds)

    monkeypatch.setattr(inspector, "judge", judge_in_turn)
    done, told = inspect(photos, overlays=overlays)
    folder = done.out / "overlays"
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert names == {f"{NAMES[index]}.png" for index in drawn}
    assert (done.good, done.review, done.defective) == (2, 1, 1)
    assert ("overlays of those to review and defective in" in told) == (overlays == "flagged")
    assert (f"overlays in {folder}, verdicts and masks in" in told) == (overlays == "all")


def test_an_exported_model_inspects_as_any_other(photos, tmp_path):
    model = write_exported(tmp_path / "exported", channels=1, scale=1 / 300)
    console = Console(file=io.StringIO(), width=1000)
    done = defectkit.inspect(model, photos, out=tmp_path / "out", console=console)
    assert ids_in(done.out) == NAMES
    loaded = defectkit.load(model)
    for row in read_csv(done.out / "findings.csv"):
        assert row["score"] == f"{loaded.find(photos / row['image_id']).score:.9g}"


def test_a_large_image_waits_until_the_others_are_done(photos, inspect, monkeypatch):
    inside, most = [0], [0]
    find = LoadedModel.find

    def counted(self, image, scope=None):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            return find(self, image, scope)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(LoadedModel, "find", counted)
    monkeypatch.setattr(TrainedModel, "parallel", 4)
    monkeypatch.setattr(inspector, "PIXELS_AHEAD", 96 * 96)
    done, _ = inspect(photos)
    assert done.good + done.review + done.defective == len(NAMES)
    assert most == [1]


def test_a_large_image_has_the_rows_and_the_overlay_that_it_had_whole(
    photos, tmp_path, monkeypatch
):
    passes = Passes(tile=48, overlap=16)
    model = write_exported(tmp_path / "exported", channels=1, scale=1 / 220, passes=passes)
    outs = [tmp_path / "whole", tmp_path / "strips"]
    for out in outs:
        console = Console(file=io.StringIO(), width=1000)
        defectkit.inspect(model, photos, out=out, overlays="all", console=console)
        monkeypatch.setattr(runtime, "LARGE_PIXELS", 0)
    for name in ("findings.csv", "regions.csv", "errors.csv"):
        assert (outs[1] / name).read_bytes() == (outs[0] / name).read_bytes()
    assert len(read_csv(outs[1] / "regions.csv")) > 3
    for name in NAMES:
        whole, strips = (read_image(out / "overlays" / f"{name}.png") for out in outs)
        np.testing.assert_array_equal(strips, whole)
        assert (outs[1] / "overlays" / f"{name}.preview.jpg").exists()


def test_how_far_a_large_image_has_come_is_shown(photos, tmp_path, monkeypatch):
    model = write_exported(tmp_path / "exported", channels=1, passes=Passes(tile=48, overlap=16))
    monkeypatch.setattr(runtime, "LARGE_PIXELS", 0)
    monkeypatch.setattr(inspector, "PIXELS_AHEAD", 1)  # One image at a time.
    shown: list[float] = []
    update = Progress.update
    monkeypatch.setattr(
        Progress, "update", lambda self, done: (shown.append(done), update(self, done))
    )
    console = Console(file=io.StringIO(), width=1000)
    defectkit.inspect(model, photos, out=tmp_path / "o", overlays="all", console=console)
    assert shown[-1] == len(NAMES)
    tiles = 9  # 48 x 48 pixels each, of 96 x 96
    first = shown[: shown.index(1.0) + 1]
    assert first[:tiles] == pytest.approx(
        [inspection.SHARE_OF_FINDING * (k + 1) / tiles for k in range(tiles)]
    )
    assert first[tiles:] == [1.0]
    assert len([done for done in shown if done % 1]) >= tiles * len(NAMES)


@pytest.mark.check(57)
def test_a_large_overlay_that_cannot_be_drawn_is_one_row(photos, tmp_path, monkeypatch):
    model = write_exported(tmp_path / "exported", channels=1, passes=Passes(tile=48, overlap=16))
    monkeypatch.setattr(runtime, "LARGE_PIXELS", 0)
    draw = large_overlay.place_image

    def fail(panel, image):
        if len(waiting) == 1:
            raise MemoryError("no more")
        draw(panel, image)

    waiting: list[str] = []
    write = large_overlay.LargeOverlay.write

    def written(overlay, path):
        waiting.append(path.name)
        write(overlay, path)

    monkeypatch.setattr(large_overlay, "place_image", fail)
    monkeypatch.setattr(large_overlay.LargeOverlay, "write", written)
    console = Console(file=io.StringIO(), width=1000)
    done = defectkit.inspect(model, photos, out=tmp_path / "o", overlays="all", console=console)
    assert ids_in(done.out) == NAMES[1:]
    [row] = read_csv(done.out / "errors.csv")
    assert row["image_id"] == NAMES[0]
    assert "too little memory for this image" in row["error"]
    assert not (done.out / "overlays" / f"{NAMES[0]}.png").exists()


LARGE = """
import sys
import defectkit
done = defectkit.inspect(sys.argv[1], sys.argv[2], out=sys.argv[3])
# Not what getrusage says: that begins with the peak of the process that started this one.
lines = open("/proc/self/status").read().splitlines()
print(done.defective, next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="the peak of memory cannot be measured")
def test_a_scan_of_16384_x_16384_pixels_takes_less_than_a_gigabyte(tmp_path):
    passes = Passes(tile=1024, overlap=128)
    model = write_exported(tmp_path / "exported", channels=1, scale=1 / 255, passes=passes)
    image = np.random.default_rng(0).integers(20, 90, (16384, 16384), np.uint8)
    image[1000:1040, 500:15000] = image[::700, ::900] = 250
    write_png(tmp_path / "scan.png", image, compress_level=1)
    del image
    words = [sys.executable, "-c", LARGE, model, tmp_path / "scan.png", tmp_path / "out"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    defective, peak = ended.stdout.split()
    assert defective == "1"
    assert len(read_csv(tmp_path / "out" / "regions.csv")) == 24 * 19 + 1
    assert (tmp_path / "out" / "overlays" / "scan.png.png").exists()
    assert int(peak) * 1024 < 10**9
