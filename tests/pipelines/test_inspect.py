import io
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of, hashes_of_results
from PIL import Image
from ray_cluster import needs_ray
from resealing import reseal
from rich.console import Console
from stores import needs_s3, s3_server, upload
from tiny_training import train_tiny

import defectkit
from defectkit.data.image_search import search_images
from defectkit.data.images import read_image, write_png
from defectkit.errors import ImageError, ModelError, OutputError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.reporting.drawing.overlay import draw_overlay
from defectkit.reporting.images_to_inspect import IF_GONE


@pytest.fixture
def photos(source_csv, tmp_path) -> Path:
    """Four images in two folders, one of them in color and of odd size."""
    folder = tmp_path / "photos"
    (folder / "line 2").mkdir(parents=True)
    for name in ("part-00.png", "part-01.png", "part-02.png"):
        shutil.copy(source_csv.parent / "Train" / name, folder)
    rng = np.random.default_rng(0)
    write_png(folder / "line 2" / "part-00.png", rng.integers(0, 255, (67, 131, 3), np.uint8))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def inspect(run_folder, tmp_path, quiet):
    def call(*images: Path, model: Path = run_folder, out: Path = tmp_path / "out", **options):
        options = {"overlays": "all", "device": "cpu", "console": quiet, **options}
        return defectkit.inspect(model, *images, out=out, **options)

    return call


def test_an_inspection_holds_exactly_its_files(photos, inspect):
    summary = inspect(photos)
    files = set(hashes_of(summary.out))
    overlays = {name for name in files if name.startswith("overlays/")}
    own = {".defectkit.json", ".defectkit.lock"}
    assert files - overlays == {"errors.csv", "findings.csv", "regions.csv"} | own
    assert len(overlays) == 4
    assert summary.unreadable == 0
    assert summary.good + summary.review + summary.defective == 4
    assert read_csv(summary.out / "errors.csv") == []


def test_findings_csv_says_what_the_model_found(photos, inspect, run_folder):
    summary = inspect(photos, all_regions=True)
    rows = read_csv(summary.out / "findings.csv")
    assert list(rows[0]) == ["image_id", "verdict", "score", "class_id", "rle"]
    model = defectkit.load(run_folder, device="cpu")
    paths = {"line 2/part-00.png", "part-00.png", "part-01.png", "part-02.png"}
    assert {row["image_id"] for row in rows} == paths
    for image_id in paths:
        image = read_image(photos / image_id)
        finding = model.find(image)
        own = [row for row in rows if row["image_id"] == image_id]
        assert {row["score"] for row in own} == {f"{finding.score:.9g}"}
        masks = [rle.decode(row["rle"], image.shape[:2]) for row in own]
        np.testing.assert_array_equal(sum(masks), finding.mask)  # the classes share no pixel
        for row, mask in zip(own, masks, strict=True):
            if mask.any():
                layer = model.approach.classes.index(row["class_id"])
                assert (finding.score_map.argmax(axis=0)[mask == 1] == layer).all()
    regions = read_csv(summary.out / "regions.csv")
    assert {row["image_id"] for row in regions} <= paths
    assert sum(int(row["area"]) for row in regions) == sum(
        int(length) for row in rows for length in row["rle"].split()[1::2]
    )


def test_good_images_have_no_regions_unless_asked_for(run_copy, photos, inspect, tmp_path):
    image, name = read_image(photos / "part-00.png"), "part-00.png"
    tuning = {"pixel_threshold": 0.01}
    listed = {}
    for cut, verdict in ((0.0, "defective"), (1.0, "good")):
        thresholds = {"low": cut, "high": cut, "rule": "f1"}
        reseal(run_copy / "model" / "model.json", tuning=tuning, thresholds=thresholds)
        finding = defectkit.load(run_copy, device="cpu").find(image)
        assert finding.regions
        for all_regions in (False, True):
            out = inspect(
                photos / name, model=run_copy, all_regions=all_regions, out=tmp_path / "out"
            ).out
            rows = read_csv(out / "findings.csv")
            assert {row["verdict"] for row in rows} == {verdict}
            assert {row["score"] for row in rows} == {f"{finding.score:.9g}"}
            found = all(row["rle"] for row in rows)
            assert len(read_csv(out / "regions.csv")) == found * len(finding.regions)
            shown = finding if found else replace(
                finding, regions=(), region_map=np.zeros_like(finding.region_map)
            )  # fmt: skip
            judgment = judge(finding.score, Thresholds(**thresholds))
            expected = draw_overlay(image, shown, judgment, image_id=name)
            written = read_image(out / "overlays" / f"{name}.png")
            np.testing.assert_array_equal(written, expected)
            listed[verdict, all_regions] = found
    assert listed == {
        ("defective", False): True, ("defective", True): True,
        ("good", False): False, ("good", True): True,
    }  # fmt: skip


def test_a_verdict_without_a_found_pixel_shows_where_the_score_is_highest(
    run_copy, photos, inspect, tmp_path
):
    path = run_copy / "model" / "model.json"
    reseal(
        path, tuning={"pixel_threshold": 1.0}, thresholds={"low": 0.0, "high": 0.0, "rule": "f1"}
    )
    assert inspect(photos / "part-00.png", model=run_copy).defective == 1
    image = read_image(photos / "part-00.png")
    finding = defectkit.load(run_copy, device="cpu").find(image)
    judgment = judge(finding.score, Thresholds(low=0.0, high=0.0, rule="f1"))
    assert judgment.verdict == "defective"
    expected = draw_overlay(image, finding, judgment, image_id="part-00.png")
    assert (
        expected != draw_overlay(image, finding, judgment, image_id="part-00.png", tags=())
    ).any()
    written = read_image(tmp_path / "out" / "overlays" / "part-00.png.png")
    np.testing.assert_array_equal(written, expected)


def test_scores_are_those_of_the_evaluation(run_copy, source_csv, inspect, quiet):
    defectkit.evaluate(run_copy, device="cpu", console=quiet)
    judged = {
        row["image_id"]: (row["score"], row["verdict"])
        for row in read_csv(run_copy / "evaluation" / "test" / "images.csv")
    }
    files = [source_csv.parent / "Train" / image_id for image_id in judged]
    summary = inspect(*files, model=run_copy)
    inspected = {
        row["image_id"]: (row["score"], row["verdict"])
        for row in read_csv(summary.out / "findings.csv")
    }
    assert inspected == judged


def test_the_verdict_follows_the_thresholds_of_the_model(run_copy, photos, inspect):
    path = run_copy / "model" / "model.json"
    for new, expected in ((0.0, "defective"), (1.0, "good")):
        reseal(path, thresholds={"low": new, "high": new, "rule": "f1"})
        summary = inspect(photos, model=run_copy)
        assert {row["verdict"] for row in read_csv(summary.out / "findings.csv")} == {expected}
        assert getattr(summary, expected) == 4


def test_unreadable_files_are_listed_and_the_work_goes_on(photos, inspect):
    whole = (photos / "part-01.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "words.jpg").write_text("not an image")
    (photos / "empty.bmp").write_bytes(b"")
    (photos / "dead.png").symlink_to("gone.png")
    summary = inspect(photos)
    errors = {row["image_id"]: row["error"] for row in read_csv(summary.out / "errors.csv")}
    assert summary.unreadable == 4
    assert set(errors) == {"cut.png", "words.jpg", "empty.bmp", "dead.png"}
    assert "damaged or cut off" in errors["cut.png"]
    assert "not an image" in errors["words.jpg"]
    assert errors["dead.png"] == "the link leads nowhere."
    assert len({row["image_id"] for row in read_csv(summary.out / "findings.csv")}) == 4
    assert len(list((summary.out / "overlays").iterdir())) == 4


@pytest.mark.check(61)
def test_an_image_that_takes_too_much_memory_is_one_row(photos, inspect, monkeypatch):
    write_png(photos / "large.png", np.zeros((300, 400), np.uint8))
    write_png(photos / "huge.png", np.zeros((1500, 2000), np.uint8))
    monkeypatch.setattr("defectkit.memory.UNCHECKED", 0)
    monkeypatch.setattr("defectkit.memory.free_memory", lambda: 4 * 10**6)
    summary = inspect(photos)
    errors = {row["image_id"]: row["error"] for row in read_csv(summary.out / "errors.csv")}
    assert errors.keys() == {"huge.png", "large.png"}
    assert "decoding the image takes about" in errors["huge.png"]
    assert errors["large.png"].startswith("finding defects in 400x300 pixels takes about")
    assert summary.good + summary.review + summary.defective == 4


def test_files_of_other_kinds_are_counted_and_links_are_followed_when_asked(
    photos, run_folder, tmp_path
):
    shutil.move(photos / "line 2", tmp_path / "elsewhere")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    console = Console(file=io.StringIO(), width=1000)

    def inspect(**options):
        return defectkit.inspect(
            run_folder, photos, out=tmp_path / "out", device="cpu", console=console, **options
        )

    summary = inspect()
    assert (summary.unreadable, summary.skipped) == (1, 1)
    (error,) = read_csv(tmp_path / "out" / "errors.csv")
    assert error["image_id"] == "linked"
    assert "--follow-links" in error["error"]
    assert "1 other file skipped: 1 .txt (notes.txt)" in console.file.getvalue()
    assert inspect(follow_links=True).unreadable == 0
    assert "linked/part-00.png" in {
        row["image_id"] for row in read_csv(tmp_path / "out" / "findings.csv")
    }


def test_an_interrupted_inspection_keeps_what_it_has(photos, inspect, monkeypatch, tmp_path):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw_overlay(*arguments, **options)

    monkeypatch.setattr("defectkit.reporting.drawing.overlay_files.draw_overlay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inspect(photos)
    seen = {row["image_id"] for row in read_csv(tmp_path / "out" / "findings.csv")}
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 2
    assert len(seen) in (2, 3)


def test_an_image_that_is_removed_meanwhile_is_told_as_that(photos, inspect, monkeypatch):
    def found(*arguments, **options):
        search = search_images(*arguments, **options)
        (photos / "part-01.png").unlink()
        return search

    monkeypatch.setattr("defectkit.data.image_search.search_images", found)
    (row,) = read_csv(inspect(photos).out / "errors.csv")
    assert row["image_id"] == "part-01.png"
    assert row["error"].endswith(f"No such file or directory. {IF_GONE}")


def test_a_second_inspection_leaves_no_overlay_of_the_first(photos, inspect):
    inspect(photos)
    (photos / "part-01.png").unlink()
    summary = inspect(photos)
    assert len(list((summary.out / "overlays").iterdir())) == 3


def test_pictures_that_lie_in_the_output_folder_before_stay(photos, inspect, tmp_path):
    mine = tmp_path / "out" / "overlays" / "mine.png"
    write_png(mine, np.zeros((8, 8), np.uint8))
    inspect(photos)
    assert mine.exists()


def test_two_files_of_one_name_keep_two_overlays(photos, inspect):
    summary = inspect(photos / "part-00.png", photos / "line 2" / "part-00.png")
    assert len(list((summary.out / "overlays").iterdir())) == 2
    assert len({row["image_id"] for row in read_csv(summary.out / "findings.csv")}) == 2


def test_its_own_overlays_are_not_inspected_the_next_time(photos, inspect):
    for _ in range(2):
        summary = inspect(photos, out=photos / "inspection")
    assert summary.good + summary.review + summary.defective == 4
    assert summary.unreadable == 0


def test_nothing_to_inspect_and_no_model_are_errors(tmp_path, inspect, photos):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no image in .*empty\. Known kinds: \.png, \.jpg"):
        inspect(tmp_path / "empty")
    with pytest.raises(ModelError, match=r"has no model .*defectkit train"):
        inspect(photos, model=tmp_path / "empty")
    assert not (tmp_path / "out").exists()
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        inspect(photos, out=tmp_path / "taken")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_name_that_is_no_unicode_is_inspected_too(inspect, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    path = folder / os.fsdecode(b"caf\xe9.png")
    write_png(path, np.full((70, 70), 100, np.uint8))
    summary = inspect(folder)
    assert summary.unreadable == 0
    assert read_csv(summary.out / "findings.csv")[0]["image_id"] == "caf\udce9.png"
    path.write_bytes(b"")
    assert inspect(folder).unreadable == 1


def test_strange_names_neither_leave_the_folder_nor_become_formulas(inspect, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = np.full((70, 70), 100, np.uint8)
    names = ["=cmd|' C calc'!A0.png", "<script>.png", "零件 1.png", "a'b,c\nd.png", "x..png"]
    for name in names:
        Image.fromarray(image).save(folder / name)
    summary = inspect(folder)
    assert {row["image_id"] for row in read_csv(summary.out / "findings.csv")} == set(names)
    assert "\n=cmd" not in (summary.out / "findings.csv").read_text()
    assert len(list((summary.out / "overlays").iterdir())) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "out"}


# Regions to inspect


@pytest.fixture(scope="module")
def roi_run(source_csv, tmp_path_factory, quiet) -> Path:
    """A run trained in a region to inspect, whose model finds and lists every pixel that it may."""
    folder = tmp_path_factory.mktemp("roi")
    defectkit.prepare(
        source_csv, roi="8,16,64,72", out=folder / "data", split="0.5/0.25/0.25", console=quiet
    )
    train_tiny(folder / "data", folder / "run", "train.epochs=1")
    path = folder / "run" / "model" / "model.json"
    thresholds = {"low": 0.0, "high": 0.0, "rule": "f1"}
    reseal(path, tuning={"pixel_threshold": 0.0}, thresholds=thresholds)
    return folder / "run"


def found_boxes(out: Path) -> dict[str, list[str]]:
    columns = ("x", "y", "width", "height")
    return {
        row["image_id"]: [row[name] for name in columns] for row in read_csv(out / "regions.csv")
    }


@pytest.mark.check(49)
def test_outside_of_the_region_that_was_trained_nothing_is_found(roi_run, photos, inspect):
    summary = inspect(photos, model=roi_run)
    boxes = found_boxes(summary.out)
    assert boxes == {f"part-0{n}.png": ["8", "16", "64", "72"] for n in range(3)}
    ((name, error),) = (row.values() for row in read_csv(summary.out / "errors.csv"))
    assert name == "line 2/part-00.png"
    assert "region to inspect in images of 96x96 pixels, but this image has 131x67" in error
    for row in read_csv(summary.out / "findings.csv"):
        assert not rle.decode(row["rle"], (96, 96))[:16].any()
    overlay = read_image(summary.out / "overlays" / "part-00.png.png")
    image = read_image(photos / "part-00.png")
    assert (overlay[-8 - 96, 8 + 96 + 8] == 0.35 * image[0, 0] // 1).all()


def test_another_region_may_be_named(roi_run, run_folder, photos, tmp_path, quiet):
    for model in (roi_run, run_folder):
        out = tmp_path / model.parent.name
        summary = defectkit.inspect(
            model, photos / "part-00.png", photos / "line 2", roi="50,0,20,30", out=out,
            device="cpu", console=quiet,
        )  # fmt: skip
        assert summary.unreadable == 0
        for x, y, width, height in found_boxes(out).values():
            assert int(x) >= 50
            assert int(x) + int(width) <= 70
            assert int(y) + int(height) <= 30
    summary = defectkit.inspect(
        run_folder, photos, roi="50,60,20,30", out=tmp_path / "small", device="cpu", console=quiet
    )
    ((_, error),) = (row.values() for row in read_csv(tmp_path / "small" / "errors.csv"))
    assert "X,Y,W,H = 50,60,20,30 is not inside the image of 131x67 pixels" in error


def test_masks_of_regions_are_found_by_the_names_of_images(roi_run, photos, tmp_path, quiet):
    mask = np.zeros((96, 96), np.uint8)
    mask[40:50, 30:60] = 255
    for name in ("part-00.png", "part-01_roi.png"):
        write_png(photos / "rois" / name, mask)
    summary = defectkit.inspect(
        roi_run, photos, roi=photos / "rois", out=tmp_path / "out", device="cpu", console=quiet
    )
    assert found_boxes(summary.out)["part-01.png"] == ["30", "40", "30", "10"]
    errors = {row["image_id"]: row["error"] for row in read_csv(summary.out / "errors.csv")}
    assert set(errors) == {"part-02.png", "line 2/part-00.png"}
    assert "no mask for image part-02.png" in errors["part-02.png"]
    assert "several images have the name part-00" in errors["line 2/part-00.png"]


@pytest.mark.check(53)
def test_masks_alone_are_no_images_and_replace_no_results(roi_run, photos, tmp_path, quiet):
    write_png(tmp_path / "rois" / "part-00.png", np.full((96, 96), 255, np.uint8))

    def inspect(*images: Path, roi: Path = tmp_path / "rois"):
        return defectkit.inspect(
            roi_run, *images, roi=roi, out=tmp_path / "out", device="cpu",
            console=quiet,
        )  # fmt: skip

    inspect(photos / "part-00.png")
    before = hashes_of(tmp_path / "out")
    with pytest.raises(ImageError, match=r"no image in .*1 masks of --roi \(part-00\.png\)"):
        inspect(tmp_path / "rois")
    with pytest.raises(OutputError, match=r"is an earlier result, which this would replace"):
        inspect(photos / "part-00.png", roi=tmp_path / "out" / "overlays" / "part-00.png.png")
    assert hashes_of(tmp_path / "out") == before
    assert inspect(tmp_path / "rois" / "part-00.png").unreadable == 0


def test_a_model_of_regions_by_image_says_that_it_inspects_whole_images(
    run_copy, photos, tmp_path, cli
):
    path = run_copy / "model" / "model.json"
    reseal(path, roi="by image")
    done = cli("inspect", run_copy, photos / "part-00.png", "--out", tmp_path / "out")
    assert done.code == 0
    assert "Without --roi whole images are inspected" in done.err


@pytest.mark.slow
@needs_s3
@pytest.mark.parametrize("engine", ["process", pytest.param("ray", marks=needs_ray)])
def test_objects_of_s3_are_inspected_as_files_are(engine, source_csv, run_folder, cli, tmp_path):
    photos = tmp_path / "photos"
    (photos / "line 2").mkdir(parents=True)
    (photos / ".hidden").mkdir()
    for number in range(4):
        source = source_csv.parent / "Train" / f"part-{number:02}.png"
        for name in (f"{number}.png", f"line 2/{number}.png", f".hidden/{number}.png"):
            shutil.copy(source, photos / name)
    shutil.copy(source, photos / "no suffix")
    (photos / "cut.png").write_bytes(source.read_bytes()[:200])
    (photos / "other.bin").write_bytes(b"none")
    (photos / "notes.txt").write_text("no image")
    common = (run_folder, "--device", "cpu", "--overlays", "all")
    local = cli("inspect", *common, photos, "--out", tmp_path / "local")
    with s3_server():
        upload(photos, "s3://line/in")
        words = ("s3://line/in", "--out", tmp_path / "out", "--engine", engine)
        done = cli("inspect", *common, *words)
        assert (done.code, local.code) == (1, 1)
        assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "local")
        assert "not inspected: s3://line/in/cut.png: the image" in done.err
        one = cli("inspect", *common, "s3://line/in/0.png", "--out", tmp_path / "one")
        assert one.code == 0
        gone = cli("inspect", *common, "s3://line/gone", "--out", tmp_path / "gone")
        assert gone.code == 2
        assert "cannot list s3://line/gone (there is no such object, and none below)" in gone.err


def test_results_are_not_written_to_a_store(source_csv, run_folder, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("inspect", run_folder, source_csv.parent / "Train", "--out", "s3://line/out")
    assert done.code == 2
    assert "s3://line/out is on an object store, where no results can be written" in done.err
    assert not list(tmp_path.iterdir())
