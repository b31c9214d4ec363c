import csv
import hashlib
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
        "how_decided": "base 1: line 21 ends at 960, the number of pixels; "
        "order column: 10 of 10 masks that tell are more compact so",
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


MALFORMED = [
    ("1", "odd (1)"), ("1 3 7", "odd (3)"), ("1.5 3", "'1.5' in pair 1"), ("1 3.0", "'3.0' in"),
    ("1 2 1e1 1", "'1e1' in pair 2"), ("0x1 3", "'0x1' in pair 1"), ("1_0 1", "'1_0' in pair 1"),
    ("+1 3", "'+1' in pair 1"), ("nan 3", "'nan' in pair 1"), ("1 inf", "'inf' in pair 1"),
    ("a b", "'a' in pair 1"), ("1,3", "'1,3' in pair 1"), ("1 3;5 2", "'3;5' in pair 1"),
    ("[1 3]", "'[1' in pair 1"), ("1:3", "'1:3' in pair 1"), ("- 3", "'-' in pair 1"),
    ("-1 3", "start -1 in pair 1 is negative"), ("5 -2", "length -2 in pair 1 is negative"),
    ("5 0", "run 5 0 (pair 1) has length 0"), ("1 3 5 0", "run 5 0 (pair 2) has length 0"),
    ("0 5", "run 0 5 (pair 1) starts before the first pixel, 1"), ("961 1", "past the last, 960"),
    ("1 961", "past the last, 960"), ("1 2 959 3", "run 959 3 (pair 2) ends at pixel 961"),
    ("1 3 3 2", "runs 1 3 and 3 2 overlap at pixel 3"), ("1 3 1 3", "overlap at pixel 1"),
    ("9 2 1 9", "runs 1 9 and 9 2 overlap"), ("9" * 40 + " 1", "too large"),
    (f"1 {2**63}", "too large"), (f"{2**63 - 2} 1", "past the last, 960"),
]  # fmt: skip


@pytest.mark.check(1)
def test_a_malformed_encoding_is_named_with_its_file_line_and_reason(source, tally):
    for index, (text, reason) in enumerate(MALFORMED):
        source.image(f"{index}.png")
        source.add(f"{index}.png", "1", text)
        with tally.case(text):
            with pytest.raises(LabelError, match=r"1 of 20 rows") as error:
                source.prepare(rle_base="1")
            assert f"{source.csv}:21: {index}.png: " in str(error.value)
            assert reason in str(error.value)
        source.rows.pop()


KINDS = ("good", "defective", "twice", "odd", "past", "absent", "short", "no id", "unsorted", "..")


@pytest.mark.check(6)
def test_every_row_of_a_random_table_is_accounted_for(tmp_path, tally):
    rng = np.random.default_rng(6)
    for number in range(tally.number(short=4, full=100)):
        source = Source(tmp_path / str(number))
        source.good(3, "sure")
        source.defective(3, prefix="sure-bad")
        drawn = rng.choice(KINDS, 20).tolist()
        for index, kind in enumerate(drawn):
            name = source.image(f"{index}.png").name
            text = boxes((3, 4, 6, 5))
            match kind:
                case "good":
                    source.add(name)
                case "odd":
                    source.add(name, "1", "5 2 9")
                case "past":
                    source.add(name, "1", "5 2 960 2")
                case "absent":
                    source.add(f"no-{name}", "1", text)
                case "short":
                    source.rows.append([name, "1"])
                case "no id":
                    source.add("", "1", text)
                case "..":
                    source.add(f"../{name}", "1", text)
                case _:
                    reordered = " ".join(reversed_pairs(text)) if kind == "unsorted" else text
                    source.add(name, "1", reordered)
            if kind == "twice":
                source.add(name, "1", boxes((20, 4, 6, 5)))
        with tally.case(drawn):
            summary = source.prepare(skip_bad_rows=True, rle_base="1")
            ledger = source.table("ledger.csv")
            lines = [str(line) for line in range(2, len(source.rows) + 1)]
            assert [row["line"] for row in ledger] == lines
            counts = Counter(row["outcome"] for row in ledger)
            used = 6 + sum(drawn.count(kind) for kind in ("good", "defective", "twice", "unsorted"))
            assert (summary.rows_used, summary.rows_merged) == (used, drawn.count("twice"))
            assert counts["refused"] == summary.rows_refused == len(lines) - used - counts["merged"]
            assert all(row["reason"] for row in ledger if row["outcome"] != "used")


@pytest.mark.check(6)
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
    assert summary.warnings == ("1 images that are listed as good have no file: gone.png",)
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


def blobs(count: int, seed: int = 0) -> list[np.ndarray]:
    """Masks of HEIGHT x WIDTH with an ellipse each; in turn they touch one of the borders."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for index in range(count):
        half_y, half_x = rng.uniform(4, HEIGHT / 4), rng.uniform(4, WIDTH / 4)
        y, x = rng.uniform(half_y, HEIGHT - half_y), rng.uniform(half_x, WIDTH - half_x)
        y, x = [(y, x), (0, x), (HEIGHT - 1, x), (y, 0), (y, WIDTH - 1)][index % 5]
        ellipse = ((rows - y) / half_y) ** 2 + ((columns - x) / half_x) ** 2 <= 1
        masks.append(ellipse.astype(np.uint8))
    return masks


def convention_source(folder: Path, masks: Sequence[np.ndarray], base: int, order: str) -> Source:
    source = Source(folder)
    source.good(6)
    for index, mask in enumerate(masks):
        source.image(f"{index}.png")
        source.add(f"{index}.png", str(index % 2 + 1), rle.encode(mask, base=base, order=order))
    return source


def rewritten(source: Source, form: str) -> list[list[str]]:
    """The same rows in another form of table: what they say does not change."""
    header, *rows = source.rows
    match form:
        case "no header, -1 for none":
            return [[name, class_id or "1", text or "-1"] for name, class_id, text in rows]
        case "a row per image and class":
            told = {f"{name}_{class_id}": text for name, class_id, text in rows}
            keys = [f"{row[0]}_{class_id}" for row in rows for class_id in "12"]
            return [["ImageId_ClassId", "EncodedPixels"], *([k, told.get(k, "")] for k in keys)]
        case "unsorted and in pieces":
            return [header, *([a, b, " ".join(in_pieces(text))] for a, b, text in rows)]
        case _:
            return source.rows


def in_pieces(text: str) -> list[str]:
    """Each run in two, the last run first."""
    pieces = []
    for start, length in (map(int, pair.split()) for pair in reversed_pairs(text)):
        half = length // 2
        pieces += [f"{start + half} {length - half}"] + ([f"{start} {half}"] if half else [])
    return pieces


CONVENTIONS = [
    (1, "column", "a row per image and class"),
    (0, "column", "no header, -1 for none"),
    (1, "row", "unsorted and in pieces"),
    (0, "row", "as it is"),
    (1, "column", "as it is"),
]


@pytest.mark.check(19)
def test_one_truth_in_five_conventions_gives_the_same_masks(tmp_path, tally):
    for seed in range(tally.number(short=1, full=20)):
        masks = blobs(10, seed)
        found = {}
        for index, (base, order, form) in enumerate(CONVENTIONS):
            with tally.case((seed, base, order, form)):
                source = convention_source(tmp_path / f"{seed}-{index}", masks, base, order)
                source.rows = rewritten(source, form)
                source.prepare()
                out = source.folder / "dataset"
                info = read_json(out / "dataset.json")["rle"]
                assert (info["base"], info["order"]) == (base, order), info
                assert "assumed" not in info["how_decided"]
                found[base, order, form] = (out / "masks.csv").read_bytes()
                assert found[base, order, form] == next(iter(found.values()))
        rows = source.table("masks.csv")
        for mask, row in zip(masks, rows, strict=True):
            np.testing.assert_array_equal(mask_of(row["rle"]), mask)


@pytest.mark.check(9)
@pytest.mark.parametrize(
    ("base", "order", "given", "flag"),
    [
        (1, "column", {"rle_order": "row"}, "--rle-order row contradicts .* 10 of 10 .*column"),
        (0, "row", {"rle_order": "column"}, "--rle-order column contradicts .* 10 of 10 .*row"),
        (1, "column", {"rle_base": "0"}, "--rle-base 0 contradicts .*Give --rle-base 1"),
        (0, "column", {"rle_base": "1"}, "--rle-base 1 contradicts .*Give --rle-base 0"),
        (0, "row", {"rle_base": "1"}, "--rle-base 1 contradicts .* end of a row .*--rle-base 0"),
    ],
)
def test_a_convention_that_the_data_contradict_stops_and_names_the_flag(
    tmp_path, cli, base, order, given, flag
):
    source = convention_source(tmp_path, blobs(10), base, order)
    source.prepare()
    shutil.rmtree(tmp_path / "dataset")
    flags = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", value)]
    ended = cli("prepare", source.csv, "--out", tmp_path / "dataset", *flags)
    assert ended.code == 2
    assert re.search(flag, ended.err), ended.err
    assert not (tmp_path / "dataset" / "dataset.json").exists()


@pytest.mark.check(9)
def test_turned_images_stop_and_the_flag_is_named(tmp_path):
    source = convention_source(tmp_path, blobs(10), 1, "column")
    for index in range(0, 10, 2):
        path = source.images / f"{index}.png"
        write_png(path, np.ascontiguousarray(read_image(path).T))
    with pytest.raises(LabelError, match=r"Height and width of some images .*--rle-order column"):
        source.prepare()


@pytest.mark.check(9)
def test_a_row_that_fits_the_other_base_alone_names_the_flag(source):
    source.image("last.png")
    source.add("last.png", "1", f"{HEIGHT * WIDTH} 1")
    with pytest.raises(LabelError, match=r"ends at pixel 960, past the last, 959: .*--rle-base 1"):
        source.prepare(rle_base="0")


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
    ("name", "images", "defective", "warnings"),
    [
        # Its column "group" takes two tiles for four.
        ("magnetic_tile", 1344, 388,
         ("15 pairs of images show the same thing in different files; leaks.csv names them",)),
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
