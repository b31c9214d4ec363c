import csv
import hashlib
import io
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.data.synth import synthesize
from defectkit.errors import DatasetError, LabelError, OutputError
from defectkit.files import read_csv, read_json, sha256_file
from defectkit.labels import rle
from defectkit.pipelines import prepare

HEIGHT, WIDTH = 24, 40
SHARED = Path(__file__).parents[3] / "shared" / "data"


class Source:
    """A label table and its images, made up row by row."""

    def __init__(self, folder: Path, images: str = "Train") -> None:
        self.folder, self.images = folder, folder / images
        self.csv = folder / "train.csv"
        self.rows: list[list[str]] = [["ImageId", "ClassId", "EncodedPixels"]]

    def image(self, name: str, *, seed: int | None = None, color: bool = False) -> Path:
        seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) if seed is None else seed
        shape = (HEIGHT, WIDTH, 3) if color else (HEIGHT, WIDTH)
        path = self.images / name
        write_png(path, np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
        return path

    def add(self, name: str, *cells: str) -> None:
        """Add a row; without cells, that of a good image."""
        self.rows.append([name, *(cells or ("", ""))])

    def good(self, count: int, prefix: str = "good") -> None:
        for index in range(count):
            self.image(f"{prefix}{index}.png")
            self.add(f"{prefix}{index}.png")

    def defective(self, count: int, class_id: str = "1", prefix: str = "bad") -> None:
        for index in range(count):
            self.image(f"{prefix}{index}.png")
            self.add(f"{prefix}{index}.png", class_id, boxes((3 + index % 20, 4, 6, 5)))

    def prepare(self, **options) -> prepare.PrepareSummary:
        self.folder.mkdir(exist_ok=True)
        with self.csv.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows(self.rows)
        options.setdefault("console", Console(file=io.StringIO()))
        options.setdefault("out", self.folder / "dataset")
        return prepare.run(self.csv, **{"workers": 0, **options})

    def table(self, name: str) -> list[dict[str, str]]:
        return read_csv(self.folder / "dataset" / name)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(row["outcome"], row["reason"]) for row in self.table("ledger.csv")]


def boxes(*places: tuple[int, int, int, int]) -> str:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, width, height in places:
        mask[y : y + height, x : x + width] = 1
    return rle.encode(mask)


def mask_of(text: str) -> np.ndarray:
    return rle.decode(text, (HEIGHT, WIDTH))


@pytest.fixture
def source(tmp_path):
    made = Source(tmp_path / "source")
    made.good(10)
    made.defective(9)
    return made


def printed(source: Source, **options) -> str:
    text = io.StringIO()
    source.prepare(console=Console(file=text, width=100), **options)
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
    assert info["format_version"] == 1
    assert info["source"] == {"path": "../train.csv", "sha256": sha256_file(source.csv)}
    assert info["images"] == "../Train"
    assert info["rle"] == {
        "base": 1,
        "order": "column",
        "how_decided": "base 1: assumed, Kaggle's; order column: assumed, Kaggle's",
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
        "duplicates": 0,
        "rows_used": 21,
        "rows_merged": 0,
        "rows_refused": 0,
    }
    assert {path.name for path in out.iterdir()} == {
        "images.csv", "masks.csv", "defects.csv", "ledger.csv", "leaks.csv", "dataset.json",
        "preview",
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


def test_rows_of_one_image_and_class_are_united_and_the_ledger_says_how(source):
    first, second = boxes((0, 0, 4, 4)), boxes((2, 2, 4, 4), (20, 0, 2, 2))
    source.image("many.png")
    for text in (first, second, first, ""):
        source.add("many.png", "1", text)
    source.add("many.png", "2", " ".join(reversed_pairs(second)))
    source.prepare()
    assert source.outcomes()[19:] == [
        ("used", ""),
        ("merged", "united with line 21"),
        ("merged", "repeats line 21"),
        ("merged", "united with line 21"),
        ("used", "its runs were not sorted and are now"),
    ]
    masks = {
        row["class_id"]: row["rle"]
        for row in source.table("masks.csv")
        if row["image_id"] == "many.png"
    }
    np.testing.assert_array_equal(mask_of(masks["1"]), mask_of(first) | mask_of(second))
    assert masks["2"] == second


def reversed_pairs(text: str) -> list[str]:
    numbers = text.split()
    return [f"{numbers[i]} {numbers[i + 1]}" for i in range(len(numbers) - 2, -1, -2)]


def test_bad_rows_stop_the_work_and_nothing_is_lost(source):
    source.image("broken.png")
    source.add("broken.png", "1", "5 2 9")
    source.add("absent.png", "1", "5 2")
    (source.images / "cut.png").write_bytes((source.images / "good0.png").read_bytes()[:300])
    source.add("cut.png", "1", "5 2")
    with pytest.raises(LabelError) as error:
        source.prepare()
    head, odd, absent, cut, remedy = str(error.value).splitlines()
    assert head == f"3 of 22 rows of {source.csv} cannot be used:"
    assert odd.startswith(f"  {source.csv}:21: broken.png: the count of numbers is odd")
    assert absent.startswith(f"  {source.csv}:22: absent.png: no such image in ")
    assert cut.startswith(f"  {source.csv}:23: cut.png: cut.png: the image is damaged or cut off")
    assert "--skip-bad-rows" in remedy
    assert str(source.folder / "dataset" / "ledger.csv") in remedy
    assert Counter(outcome for outcome, _ in source.outcomes()) == {"used": 19, "refused": 3}
    assert not (source.folder / "dataset" / "dataset.json").exists()


def test_at_most_ten_bad_rows_are_named(source):
    for index in range(13):
        source.add(f"absent{index}.png", "1", "5 2")
    with pytest.raises(LabelError, match=r"13 of 32 rows") as error:
        source.prepare()
    assert str(error.value).count("no such image") == 10
    assert "\n  and 3 more\n" in str(error.value)


def test_an_image_with_a_bad_row_is_left_out_whole(source):
    source.image("half.png")
    source.add("half.png", "1", "5 2")
    source.add("half.png", "2", "900 200")
    source.image("torn.png")
    source.rows += [["torn.png", "1", "5 2"], ["torn.png", "5 2"]]
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId\nhalf.png\ntorn.png\n")
    with pytest.raises(LabelError, match=r"2 of 23 rows .*(?s:.*)half.png: (?s:.*)torn.png: "):
        source.prepare(meta=meta)
    summary = source.prepare(meta=meta, skip_bad_rows=True)
    assert (summary.images, summary.rows_used, summary.rows_refused) == (19, 19, 4)
    reasons = [reason for _, reason in source.outcomes()[19:]]
    assert reasons[0] == "line 22 of the same image was refused, so the truth would be incomplete"
    assert reasons[2] == "line 24 of the same image was refused, so the truth would be incomplete"
    assert summary.warnings == ()  # neither good nor unlisted


def test_an_image_whose_only_row_is_bad_does_not_pass_for_an_unlisted_good_one(source):
    source.image("torn.png")
    source.rows.append(["torn.png", "5 2"])
    summary = source.prepare(skip_bad_rows=True, unlisted="good")
    assert (summary.images, summary.rows_refused, summary.warnings) == (19, 1, ())


def test_a_table_of_bad_rows_alone_makes_no_dataset(tmp_path):
    source = Source(tmp_path)
    source.image("a.png")
    source.add("a.png", "1", "0 0")
    with pytest.raises(DatasetError, match=r"no image of .*train\.csv can be used; see .*ledger"):
        source.prepare(skip_bad_rows=True)


def test_ids_come_without_extension_and_text_ids_survive(tmp_path):
    source = Source(tmp_path)
    for name in ("007", "NA", "1e5", "=1+1"):
        source.image(f"{name}.png")
        source.add(name, "1", boxes((1, 1, 2, 2)))
    source.good(4)
    source.prepare()
    rows = {row["image_id"]: row["path"] for row in source.table("images.csv")}
    assert rows["007"] == "../Train/007.png"
    assert rows.keys() >= {"007", "NA", "1e5", "=1+1"}
    assert {row["image_id"] for row in source.table("masks.csv")} == {"007", "NA", "1e5", "=1+1"}


def test_an_id_that_fits_two_files_or_a_file_named_twice_is_refused(source):
    source.image("0.png")
    write_png(source.images / "0.bmp", np.zeros((HEIGHT, WIDTH), np.uint8))
    source.image("9.png")
    for name in ("0", "9", "9.png"):
        source.add(name, "1", "5 2")
    source.prepare(skip_bad_rows=True)
    assert source.outcomes()[19:] == [
        ("refused", "the image id fits several files (0.bmp, 0.png): write which"),
        ("used", ""),
        ("refused", "image id '9' is the same file: write one id for one image"),
    ]


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
    assert read_json(source.folder / "dataset" / "dataset.json")["warnings"] == [warning]
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
    assert summary.warnings == ("1 images that --meta lists have no file: gone.png",)
    info = read_json(source.folder / "dataset" / "dataset.json")
    assert info["meta"] == {"path": "../meta.csv", "sha256": sha256_file(meta)}


def test_base_0_shows_itself_and_is_kept_when_given(source):
    source.image("zero.png")
    source.add("zero.png", "1", "0 3 30 2")
    source.prepare()
    info = read_json(source.folder / "dataset" / "dataset.json")
    assert info["rle"]["base"] == 0
    assert info["rle"]["how_decided"].startswith("base 0: a run in line 21 starts at 0;")
    assert source.table("masks.csv")[-1]["rle"] == "1 3 31 2"
    with pytest.raises(LabelError, match=r"1 of 20 rows .*(?s:.*)zero\.png"):
        source.prepare(rle_base="1")


def test_runs_that_count_from_0_and_from_1_stop_and_name_the_flag(source):
    for name, text in (("zero", "0 3"), ("full", f"{HEIGHT * WIDTH - 1} 2")):
        source.image(f"{name}.png")
        source.add(f"{name}.png", "1", text)
    with pytest.raises(
        LabelError,
        match=r"both from 0 and from 1: base 0: a run in line 21 starts at 0.*line 22 ends at 960.*"
        r"--rle-base 0 or --rle-base 1",
    ):
        source.prepare(skip_bad_rows=True)
    assert source.prepare(rle_base="0", skip_bad_rows=True).rows_refused == 1


def test_row_order_is_obeyed(source):
    mask = mask_of(boxes((2, 3, 7, 4)))
    source.image("row.png")
    source.add("row.png", "1", rle.encode(mask, base=0, order="row"))
    source.prepare(rle_base="0", rle_order="row")
    np.testing.assert_array_equal(mask_of(source.table("masks.csv")[-1]["rle"]), mask)


def groups_of(source: Source) -> dict[str, tuple[str, str]]:
    return {row["image_id"]: (row["group"], row["split"]) for row in source.table("images.csv")}


@pytest.mark.parametrize(
    ("column", "group_by"), [("group", None), ("lot", "lot"), (None, r"(\d)\.png$")]
)
def test_groups_come_from_a_column_or_a_pattern_and_stay_whole(source, column, group_by):
    meta = source.folder / "meta.csv"
    meta.write_text(
        f"ImageId,{column or 'other'}\n"
        + "".join(f"{row[0]},{row[0].removesuffix('.png')[-1]}\n" for row in source.rows[1:])
    )
    summary = source.prepare(meta=meta, group_by=group_by)
    found = groups_of(source)
    assert {group for group, _ in found.values()} == set("0123456789")
    assert len(set(found.values())) == 10  # so no group is in two splits
    assert summary.warnings == ()


def test_a_column_of_the_table_itself_groups_too(tmp_path):
    source = Source(tmp_path)
    source.good(6)
    source.defective(6)
    source.rows = [[*row, "group" if n == 0 else str(n % 5)] for n, row in enumerate(source.rows)]
    source.prepare()
    assert {group for group, _ in groups_of(source).values()} == set("01234")


def test_images_without_a_group_stand_alone_and_are_counted(source):
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,group\ngood0.png,bad0.png\ngood1.png,bad0.png\n")
    summary = source.prepare(meta=meta)
    found = groups_of(source)
    assert found["good0.png"] == found["good1.png"]
    assert found["bad0.png"][0] == "bad0.png_"  # an image, not the group of that name
    assert summary.warnings == ("17 images name no group and stand alone",)


@pytest.mark.parametrize(
    ("group_by", "problem"),
    [("part", "is no column, and as a pattern it fits no image id"), ("(", "is neither a column")],
)
def test_a_grouping_that_fits_nothing_is_refused(source, group_by, problem):
    with pytest.raises(DatasetError, match=rf"--group-by .* {problem}.*The columns are: none"):
        source.prepare(group_by=group_by)


def test_a_given_split_is_honored(source):
    meta = source.folder / "meta.csv"
    names = [row[0] for row in source.rows[1:]]
    wanted = dict(zip(names, ["train", "val", "test", "train"] * 5, strict=False))
    meta.write_text("ImageId,split\n" + "".join(f"{k},{v}\n" for k, v in wanted.items()))
    source.prepare(meta=meta)
    assert {name: split for name, (_, split) in groups_of(source).items()} == wanted


@pytest.mark.check(4)
def test_copies_are_listed_and_share_a_split(source):
    for index in range(9):
        shutil.copy(source.images / f"bad{index}.png", source.images / f"copy{index}.png")
        source.add(f"copy{index}.png", "1", boxes((3 + index, 4, 6, 5)))
    shutil.copy(source.images / "good0.png", source.images / "odd.png")
    source.add("odd.png", "1", "5 2")
    summary = source.prepare()
    assert summary.duplicates == 10
    found = groups_of(source)
    assert all(found[f"bad{index}.png"] == found[f"copy{index}.png"] for index in range(9))
    assert source.table("leaks.csv")[0] == {
        "image_id_a": "bad0.png",
        "image_id_b": "copy0.png",
        "kind": "exact",
        "similarity": "1.0000",
        "joined": "1",
    }
    assert summary.warnings == (
        "10 images are copies of another; leaks.csv names them",
        "1 pairs of copies bear different masks: good0.png and odd.png",
    )


@pytest.mark.check(4)
def test_a_given_split_that_divides_copies_is_refused_with_counts_and_pictures(source):
    shutil.copy(source.images / "bad0.png", source.images / "copy.png")
    source.add("copy.png", "1", boxes((3, 4, 6, 5)))
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,split\nbad0.png,train\ncopy.png,test\n")
    with pytest.raises(
        DatasetError,
        match=r"puts 1 of 1 pairs of images that show the same into different splits \(1 exact\); "
        r"the first is bad0\.png \(train\) and copy\.png \(test\)\. All are in .*leaks\.csv, .*"
        r"preview/leaks\.png\..*give copies the same split.*--allow-leaks",
    ):
        source.prepare(meta=meta)
    assert [(row["image_id_b"], row["joined"]) for row in source.table("leaks.csv")] == [
        ("copy.png", "0")
    ]
    assert read_image(source.folder / "dataset" / "preview" / "leaks.png").ndim == 3
    assert not (source.folder / "dataset" / "dataset.json").exists()

    summary = source.prepare(meta=meta, allow_leaks=True)
    assert "1 of these pairs are in different splits, as given" in summary.warnings
    splits = {row["image_id"]: row["split"] for row in source.table("images.csv")}
    assert (splits["bad0.png"], splits["copy.png"]) == ("train", "test")


@pytest.mark.check(4)
def test_copies_of_a_third_image_are_divided_too(source):
    for name in ("one.png", "other.png"):
        shutil.copy(source.images / "bad0.png", source.images / name)
        source.add(name, "1", boxes((3, 4, 6, 5)))
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,split\none.png,train\nother.png,test\n")
    with pytest.raises(
        DatasetError, match=r"1 of 2 pairs .* bad0\.png \(as another copy\) and other\.png \(test\)"
    ):
        source.prepare(meta=meta)


@pytest.fixture
def textures(tmp_path):
    """Twelve drawn textures, and three images that show one of them anew."""
    source = Source(tmp_path / "textures")
    drawn = [synthesize(index, size=160).image for index in range(12)]
    pictures = {f"{index}.png": image for index, image in enumerate(drawn)}
    pictures["turned.png"] = np.rot90(drawn[2][4:])
    pictures["brighter.png"] = np.minimum(drawn[3], 235) + np.uint8(20)
    pictures["piece.png"] = drawn[4][:, 60:]
    for index, (name, image) in enumerate(pictures.items()):
        write_png(source.images / name, np.ascontiguousarray(image))
        source.add(name, *(("1", "5 2") if index % 2 else ("", "")))
    return source


@pytest.mark.check(4)
def test_near_duplicates_and_overlaps_are_joined_and_shown(textures):
    summary = textures.prepare()
    rows = {row["image_id_b"]: row for row in textures.table("leaks.csv")}
    assert {
        name: (row["image_id_a"], row["kind"], row["joined"]) for name, row in rows.items()
    } == {
        "turned.png": ("2.png", "near", "1"),
        "brighter.png": ("3.png", "near", "1"),
        "piece.png": ("4.png", "overlap", "1"),
    }
    assert all(0.9 < float(row["similarity"]) <= 1 for row in rows.values())
    found = groups_of(textures)
    assert all(found[name] == found[row["image_id_a"]] for name, row in rows.items())
    assert summary.warnings == (
        "2 pairs of images show the same thing in different files; leaks.csv names them",
        "1 pairs of images show the same thing in part; leaks.csv names them",
    )
    preview = textures.folder / "dataset" / "preview"
    assert (preview / "leaks.png").is_file()
    for name in rows:
        (textures.images / name).unlink()
    textures.rows = [row for row in textures.rows if row[0] not in rows]
    assert textures.prepare().duplicates == 0
    assert not (preview / "leaks.png").exists()


@pytest.mark.check(4)
@pytest.mark.parametrize("name", ["turned.png", "brighter.png", "piece.png"])
def test_a_given_split_that_divides_near_duplicates_is_refused(textures, name):
    original = {"turned.png": "2.png", "brighter.png": "3.png", "piece.png": "4.png"}[name]
    meta = textures.folder / "meta.csv"
    textures.folder.mkdir(exist_ok=True)
    meta.write_text(f"ImageId,split\n{name},test\n{original},train\n")
    with pytest.raises(DatasetError, match=rf"1 of 3 pairs .*{original} \(train\) and {name}"):
        textures.prepare(meta=meta)


@pytest.mark.check(4)
def test_a_given_split_that_divides_a_group_is_refused(source, tally):
    names = [row[0] for row in source.rows[1:]]
    for index in range(1, tally.number(short=4, full=len(names))):
        pair = names[0], names[index]
        meta = source.folder / "meta.csv"
        meta.write_text(f"ImageId,group,split\n{pair[0]},g,train\n{pair[1]},g,test\n")
        with tally.case(pair), pytest.raises(DatasetError, match="divides 1 of 18 groups"):
            source.prepare(meta=meta)


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
    assert source.outcomes()[19][1] == "the file is a link to outside the image folder"


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
        OutputError, match=r"holds other files than a dataset's, such as Train\. Choose a new"
    ):
        source.prepare(out=source.folder)
    assert not (source.folder / "images.csv").exists()


def test_a_dataset_is_written_anew_without_leftovers(source):
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


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_processes_change_nothing_and_the_source_stays_as_it_is(source):
    source.image("broken.png")
    source.add("broken.png", "1", "5 2 9")
    source.prepare(skip_bad_rows=True)
    before = digests(source.images)
    alone = digests(source.folder / "dataset")
    shutil.rmtree(source.folder / "dataset")
    source.prepare(skip_bad_rows=True, workers=2)
    assert digests(source.folder / "dataset") == alone
    assert digests(source.images) == before


def test_data_without_a_defect_are_prepared_with_a_warning(tmp_path):
    source = Source(tmp_path)
    source.good(8)
    summary = source.prepare()
    assert summary.classes == ()
    assert summary.warnings == ("the data hold no defective image",)
    assert [path.name for path in (tmp_path / "dataset" / "preview").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("name", "images", "defective"), [("magnetic_tile", 1344, 388), ("dagm_mini", 15, 9)]
)
def test_real_data(tmp_path, name, images, defective):
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
    assert summary.warnings == ()
    rows = read_csv(tmp_path / "out" / "images.csv")
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    shares = {split: count / images for split, count in summary.splits.items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.04)
