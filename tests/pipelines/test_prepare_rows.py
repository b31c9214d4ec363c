from collections import Counter

import numpy as np
import pytest
from label_source import HEIGHT, WIDTH, Source, boxes, mask_of, reversed_pairs

from defectkit.data.images import write_png
from defectkit.errors import DatasetError, LabelError


def test_rows_of_one_image_and_class_are_united_and_the_ledger_says_how(source):
    first, second = boxes((0, 0, 4, 4)), boxes((2, 2, 4, 4), (20, 0, 2, 2))
    source.image("many.png")
    for text in (first, second, first, ""):
        source.add("many.png", "1", text)
    source.add("many.png", "2", " ".join(reversed_pairs(second)))
    source.prepare()
    assert source.outcomes()[19:] == [
        ("used", ""),
        ("merged", "merged with line 21"),
        ("merged", "repeats line 21"),
        ("merged", "merged with line 21"),
        ("used", "its runs were not sorted and are now"),
    ]
    masks = {
        row["class_id"]: row["rle"]
        for row in source.table("masks.csv")
        if row["image_id"] == "many.png"
    }
    np.testing.assert_array_equal(mask_of(masks["1"]), mask_of(first) | mask_of(second))
    assert masks["2"] == second


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
    with pytest.raises(DatasetError, match=r"no image of .* can be used\. Fix what .*ledger"):
        source.prepare(skip_bad_rows=True)


def test_a_table_without_rows_is_told_as_that(tmp_path):
    source = Source(tmp_path)
    source.image("a.png")
    with pytest.raises(DatasetError, match=r"train\.csv names no image\. Check that it is the one"):
        source.prepare()


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
        ("refused", "the image id fits several files (0.bmp, 0.png): write which one"),
        ("refused", "image id '9.png' names the same file: use one id for each image"),
        ("refused", "image id '9' names the same file: use one id for each image"),
    ]


@pytest.mark.check(40)
def test_a_labeled_defect_never_becomes_good(source):
    source.image("IMG_0001.png")
    source.image("extra.png")
    source.add("IMG_001.png", "1", "5 2")
    with pytest.raises(LabelError) as error:
        source.prepare(unlisted="good")
    _, row, remark, _ = str(error.value).splitlines()
    assert row.endswith("; the nearest name is IMG_0001.png")
    assert remark == (
        "2 images in the folder are not listed (IMG_0001.png, extra.png) and none counts as good, "
        "since 1 labeled images have no file and may be among them (IMG_001.png): correct their "
        "names, or delete their rows."
    )
    summary = source.prepare(unlisted="good", skip_bad_rows=True)
    assert (summary.images, summary.rows_refused) == (19, 1)
    assert summary.warnings == (remark.rstrip("."),)
