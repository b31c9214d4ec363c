import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of
from label_source import HEIGHT, WIDTH, Source, boxes, mask_of
from PIL import Image
from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.errors import DatasetError, LabelError, OutputError
from defectkit.files import read_csv, read_json, sha256_file
from defectkit.pipelines import prepare
from defectkit.terminal import SafeConsole

SHARED = Path(__file__).parents[3] / "shared" / "data"


def printed(source: Source, **options) -> str:
    text = io.StringIO()
    source.prepare(console=SafeConsole(file=text, width=100), **options)
    return text.getvalue()


def test_every_file_says_what_the_source_says(source):
    source.image("two.png", color=True)
    source.add("two.png", "10", boxes((0, 0, 3, 2), (30, 10, 10, 14)))
    source.add("two.png", "1", boxes((10, 5, 1, 1)))
    summary = source.prepare(pixel_pitch=0.05, seed=3)

    out = source.folder / "dataset"
    rows = {row["image_id"]: row for row in source.table("images.csv")}
    assert len(rows) == summary.images == 20
    two = rows["two.png"]
    assert (two["height"], two["width"], two["channels"], two["defective"]) == (
        "24",
        "40",
        "3",
        "1",
    )
    assert two["path"] == "../Train/two.png"
    assert two["sha256"] == sha256_file(source.images / "two.png")
    assert two["group"] == "two.png"
    assert rows["good0.png"]["channels"] == "1"
    assert rows["good0.png"]["defective"] == "0"

    masks = {(row["image_id"], row["class_id"]): row["rle"] for row in source.table("masks.csv")}
    assert len(masks) == 11
    assert masks["two.png", "10"] == boxes((0, 0, 3, 2), (30, 10, 10, 14))
    assert [
        [row[key] for key in ("class_id", "defect_id", "x", "y", "width", "height", "area")]
        for row in source.table("defects.csv")
        if row["image_id"] == "two.png"
    ] == [
        ["10", "1", "0", "0", "3", "2", "6"],
        ["10", "2", "30", "10", "10", "14", "140"],
        ["1", "3", "10", "5", "1", "1", "1"],
    ]
    assert [row["line"] for row in source.table("ledger.csv")] == [str(n) for n in range(2, 23)]
    assert source.outcomes() == [("used", "")] * 21
    assert source.table("leaks.csv") == []

    info = read_json(out / "dataset.json")
    assert info["format_version"] == 2
    assert info["source"] == {"path": "../train.csv", "sha256": sha256_file(source.csv)}
    assert info["images"] == "../Train"
    assert info["rle"] == {
        "base": 1,
        "order": "column",
        "how_decided": "base 1: line 21 ends at 960, the number of pixels; "
        "order column: 10 of 10 masks that show the order are more compact in this order",
    }
    assert info["classes"] == ["1", "10"]
    assert info["pixel_pitch"] == 0.05
    assert info["seed"] == 3
    assert info["split"] == {"train": 0.7, "val": 0.15, "test": 0.15}
    assert info["counts"] == {
        "images": 20,
        "defective": 10,
        "good": 10,
        "regions": 12,
        "splits": summary.splits,
        "leaks": 0,
        "rows_used": 21,
        "rows_merged": 0,
        "rows_refused": 0,
    }
    assert {path.name for path in out.iterdir()} == {
        "images.csv", "masks.csv", "defects.csv", "ledger.csv", "leaks.csv", "dataset.json",
        "preview", ".defectkit.json", ".defectkit.lock",
    }  # fmt: skip
    assert {path.name for path in (out / "preview").iterdir()} == {
        "defective_1.png", "defective_10.png", "good.png", "smallest.png",
    }  # fmt: skip


def test_the_dataset_is_read_back_as_it_was(source):
    summary = source.prepare()
    dataset = Dataset.load(source.folder / "dataset")
    assert dataset.classes == ("1",)
    assert {name: len(dataset.split(name)) for name in ("train", "val", "test")} == summary.splits
    record = next(record for record in dataset.records if record.image_id == "bad3.png")
    np.testing.assert_array_equal(record.read_masks(["1"])[0], mask_of(boxes((6, 4, 6, 5))))
    np.testing.assert_array_equal(
        record.read_image(1)[:, :, 0], read_image(source.images / "bad3.png")
    )


@pytest.mark.parametrize("folder", ["Train", "train", "train_images", "images", "."])
def test_the_image_folder_is_found(tmp_path, folder):
    source = Source(tmp_path, folder)
    source.good(4)
    source.defective(4)
    assert source.prepare(out=tmp_path / "out").images == 8


def test_the_folder_that_has_the_images_wins(tmp_path):
    (tmp_path / "Train").mkdir()
    source = Source(tmp_path, "train_images")
    source.good(4)
    source.defective(4)
    assert source.prepare(out=tmp_path / "out").images == 8


def test_another_folder_is_named_with_images(tmp_path):
    source = Source(tmp_path / "labels", str(tmp_path / "elsewhere" / "pictures"))
    source.good(4)
    source.defective(4)
    with pytest.raises(
        DatasetError, match=r"none of the 8 images .* the first is 'good0\.png'\. Name .* --images"
    ):
        source.prepare()
    assert source.prepare(images=source.images).images == 8
    assert source.table("images.csv")[0]["path"] == "../../elsewhere/pictures/good0.png"
    with pytest.raises(DatasetError, match=r"--images .*nowhere is not a folder"):
        source.prepare(images=tmp_path / "nowhere")


def test_unlisted_images_are_named_and_used_only_when_asked(source):
    for index in range(5):
        source.image(f"extra{index}.png")
    summary = source.prepare()
    assert summary.images == 19
    (warning,) = summary.warnings
    assert warning.startswith(
        "5 images in the folder are not listed (extra0.png, extra1.png, extra2.png, …) and are "
        "not used. If they are good"
    )
    assert read_json(source.folder / "dataset" / "dataset.json")["warnings"][0] == warning
    summary = source.prepare(unlisted="good")
    assert (summary.images, summary.good) == (24, 15)
    assert "count as good" in summary.warnings[0]


def test_unlisted_images_get_ids_like_the_listed_ones(tmp_path):
    source = Source(tmp_path)
    for index in range(8):
        source.image(f"{index}.png")
    for index in range(4):
        source.add(str(index), "1", boxes((1, 1, 2, 2)))
    source.prepare(unlisted="good")
    assert [row["image_id"] for row in source.table("images.csv")] == list("01234567")


def test_images_that_meta_lists_alone_are_good(source):
    source.image("extra.png")
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,lot\nextra,A\ngood0.png,A\ngone.png,B\n")
    summary = source.prepare(meta=meta)
    assert summary.good == 11
    assert summary.warnings == ("1 images that are listed as good have no file: gone.png",)
    info = read_json(source.folder / "dataset" / "dataset.json")
    assert info["meta"] == {"path": "../meta.csv", "sha256": sha256_file(meta)}


def test_a_link_out_of_the_image_folder_is_never_followed(source, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    write_png(secret / "s.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (source.images / "link.png").symlink_to(secret / "s.png")
    (source.images / "sub").symlink_to(secret)
    (source.images / "inner.png").symlink_to(source.images / "good0.png")
    for name in ("link.png", "sub/s.png", "inner.png"):
        source.add(name)
    source.prepare(skip_bad_rows=True)
    assert [outcome for outcome, _ in source.outcomes()[19:]] == ["refused", "refused", "used"]
    assert source.outcomes()[19][1] == (
        "the file is a link to outside the image folder; --follow-links reads it"
    )
    assert source.prepare(skip_bad_rows=True, follow_links=True).rows_used == 22


def test_the_summary_is_for_people(source):
    text = printed(source, pixel_pitch=0.5)
    for part in ("40 x 24", "defective", "p50", "mm²", "7.5", "share", "class 1", "19 used"):
        assert part in text
    assert f"defectkit train --approach segment --data {source.folder / 'dataset'}" in text


def test_hostile_names_are_text_and_stay_in_the_folder(source):
    source.defective(3, class_id="[red]../../x[/red]", prefix="evil")
    source.image("[bold]unlisted.png")
    out = source.folder / "[bold]dataset"
    text = printed(source, out=out)
    assert f"--data {out}" in text
    assert "class [red]../../x[/red]" in text
    assert "[bold]unlisted.png" in text
    names = {path.name for path in (out / "preview").iterdir()}
    assert len(names) == 4
    assert any(name.startswith("defective__red_.._.._x__red_-") for name in names)


@pytest.mark.parametrize("pitch", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_pitch_that_is_no_length_is_refused(source, pitch):
    with pytest.raises(DatasetError, match=r"--pixel-pitch .* is not a length in mm above 0"):
        source.prepare(pixel_pitch=pitch)


def test_a_folder_that_is_no_dataset_is_not_touched(source):
    with pytest.raises(
        OutputError, match=r"has other files than a dataset's, such as Train\. Choose a new"
    ):
        source.prepare(out=source.folder)
    assert not (source.folder / "images.csv").exists()


def test_a_dataset_is_written_again_without_leftovers(source):
    source.prepare()
    sheets = source.folder / "dataset" / "preview"
    (sheets / "mine.png").write_bytes(b"kept")
    for row in source.rows[1:]:
        row[1] = "2" if row[1] else ""
    source.prepare()
    assert {path.name for path in sheets.iterdir()} == {
        "defective_2.png", "good.png", "smallest.png", "mine.png",
    }  # fmt: skip


def test_a_ledger_left_by_bad_rows_does_not_block_the_next_run(source):
    source.add("absent.png")
    with pytest.raises(LabelError):
        source.prepare()
    source.rows.pop()
    assert source.prepare().images == 19


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_refused_first(source):
    out = source.folder / "dataset"
    out.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="cannot write"):
        source.prepare()


def test_processes_change_nothing_and_the_source_stays_as_it_is(source):
    source.image("broken.png")
    source.add("broken.png", "1", "5 2 9")
    source.prepare(skip_bad_rows=True)
    before = hashes_of(source.images)
    alone = hashes_of(source.folder / "dataset")
    shutil.rmtree(source.folder / "dataset")
    source.prepare(skip_bad_rows=True, workers=2)
    assert hashes_of(source.folder / "dataset") == alone
    assert hashes_of(source.images) == before


def test_data_without_a_defect_are_prepared_with_a_warning(tmp_path):
    source = Source(tmp_path)
    source.good(8)
    summary = source.prepare()
    assert summary.classes == ()
    assert summary.warnings == ("the data have no defective images",)
    assert [path.name for path in (tmp_path / "dataset" / "preview").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("name", "images", "defective", "warnings"),
    [
        # Its column "group" takes two tiles for four.
        pytest.param(
            "magnetic_tile", 1344, 388,
            ("15 pairs of images show the same thing in different files; both are in one split "
             "(leaks.csv)",),
            marks=pytest.mark.slow),
        ("dagm_mini", 15, 9, ()),
    ],
)  # fmt: skip
def test_real_data(tmp_path, name, images, defective, warnings):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    summary = prepare.run(
        folder / "train.csv",
        meta=folder / "images.csv",
        out=tmp_path / "out",
        console=Console(file=io.StringIO()),
    )
    assert (summary.images, summary.rows_used, summary.defective) == (images, images, defective)
    assert summary.warnings == warnings
    rows = read_csv(tmp_path / "out" / "images.csv")
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    shares = {split: count / images for split, count in summary.splits.items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.04)


# How a camera stores what a viewer shows upright, by EXIF orientation.
STORED = {
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.swapaxes(0, 1),
    6: np.rot90,
    7: lambda shown: np.rot90(shown, 2).swapaxes(0, 1),
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.mark.check(27)
def test_masks_lie_on_what_a_viewer_shows_whatever_the_kind_of_image(tmp_path, tally):
    source = Source(tmp_path)
    source.images.mkdir()
    shown = np.full((HEIGHT, WIDTH), 60, np.uint8)
    shown[3:9, 20:31] = 220
    gray = Image.fromarray(shown)
    files = {
        "16-bit.png": Image.fromarray(shown.astype(np.uint16) * 257),
        "16-bit.tif": Image.fromarray(shown.astype(np.uint16) * 257),
        "alpha.png": Image.merge("LA", [gray, Image.new("L", gray.size, 9)]),
        "cmyk.tif": gray.convert("CMYK"),
        "one-bit.png": Image.fromarray(shown > 100),
        "palette.png": gray.convert("RGB").quantize(4),
    }
    for name, image in files.items():
        image.save(source.images / name)
    for orientation, turn in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(turn(shown)))
        files[f"turned-{orientation}.jpg"] = stored
        stored.save(source.images / f"turned-{orientation}.jpg", exif=exif, quality=95)
    for name in files:
        source.add(name, "1", boxes((20, 3, 11, 6)))
    source.good(4)
    source.prepare()
    records = {one.image_id: one for one in Dataset.load(tmp_path / "dataset").records}
    for name in files:
        with tally.case(name):
            image, mask = records[name].read_image(1)[:, :, 0], records[name].read_masks(["1"])[0]
            assert image.shape == mask.shape == (HEIGHT, WIDTH)
            np.testing.assert_array_equal(image > 140, mask > 0)


@pytest.mark.check(38)
def test_names_that_look_like_formulas_survive_what_is_written_and_read_again(tmp_path, tally):
    names = ["=1+1.png", "-1.png", "+a.png", "@x.png", "\uff1d1.png", "'q.png"]
    source = Source(tmp_path)
    for name in names:
        source.image(name)
        source.add(name, "-2", boxes((20, 3, 11, 6)))
    source.good(6)
    source.prepare()
    written = tmp_path / "dataset" / "masks.csv"
    summary = prepare.run(
        written, images=source.images, out=tmp_path / "again", console=Console(file=io.StringIO())
    )
    assert (summary.classes, summary.rows_refused) == (("-2",), 0)
    shown = (tmp_path / "again" / "masks.csv").read_text(encoding="utf-8")
    assert shown == written.read_text(encoding="utf-8")
    records = {one.image_id: one for one in Dataset.load(tmp_path / "again").records}
    for name in names:
        with tally.case(name):
            assert records[name].path.resolve() == source.images / name
            assert f"\n{name}," not in shown
