import csv
import subprocess
import sys

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.labels.outlines import Box, RleMask
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.matching import MatchedImage, find_images, match_images

BOX = Box(0, 0, 1, 1)
REFUSED = "a class\0with a NUL"


@pytest.fixture
def folder(tmp_path):
    """Four images, one of them in a subfolder."""
    for name in ("a.png", "b.png", "lot/c.png", "extra.png"):
        write_png(tmp_path / "images" / name, np.zeros((6, 8), np.uint8))
    return ImageFolder(tmp_path / "images")


@pytest.fixture
def match(folder, tmp_path):
    """Match a table of (image id, class) and a ``--meta`` of (image id, group) with the images."""

    def write(name, head, rows):
        with (tmp_path / name).open("w", newline="") as handle:
            csv.writer(handle).writerows([head, *rows])
        return tmp_path / name

    def call(*rows, meta=None, use_unlisted=False):
        cells = [(image_id, "1 2", *(class_id or ["1"])) for image_id, *class_id in rows]
        return find_images(
            write("train.csv", ("ImageId", "EncodedPixels", "ClassId"), cells),
            "auto",
            images=None,
            meta=write("meta.csv", ("ImageId", "group"), meta) if meta else None,
            use_unlisted=use_unlisted,
        )

    return call


def test_rows_are_gathered_by_image_and_ids_may_lack_the_extension(match):
    matching = match(["a"], ["b.png"], ["a", "2"], ["lot/c"])
    assert [(one.image_id, one.path.name, len(one.rows)) for one in matching.images] == [
        ("a", "a.png", 2), ("b.png", "b.png", 1), ("lot/c", "c.png", 1),
    ]  # fmt: skip
    assert matching.cells == {"a": {}, "b.png": {}, "lot/c": {}}
    assert matching.ledger == []
    assert [path.name for path in matching.unlisted.images] == ["extra.png"]
    assert matching.source_format == "csv"


def test_rows_without_an_image_are_refused(match):
    matching = match(["a"], ["none.png"])
    assert [one.image_id for one in matching.images] == ["a"]
    (row,) = matching.ledger
    assert (row.line, row.image_id, row.outcome) == (3, "none.png", "refused")
    assert row.reason.startswith("no such image in")


def test_two_ids_of_one_file_are_refused(match):
    matching = match(["a"], ["b"], ["a.png"])
    assert [one.image_id for one in matching.images] == ["b"]  # All that is said of it would count.
    first, second = matching.ledger
    assert (first.line, second.line) == (2, 4)
    assert "image id 'a.png' names the same file" in first.reason
    assert "image id 'a' names the same file" in second.reason


def test_all_rows_of_an_image_are_refused_where_one_is(match):
    matching = match(["a"], ["b"], ["a", REFUSED])
    assert [one.image_id for one in matching.images] == ["b"]
    first, second = matching.ledger
    assert (first.line, first.refused_with_image) == (4, False)
    assert "control character" in first.reason
    assert (second.line, second.refused_with_image) == (2, True)
    assert second.reason.startswith("line 4 of the same image was refused")
    # Nor is it taken as a good image, or under its other name.
    assert "a.png" not in [path.name for path in matching.unlisted.images]
    listed = match(["b"], ["a", REFUSED], meta=[["a.png", "x"]])
    assert [one.image_id for one in listed.images] == ["b"]


def test_listed_images_are_good_ones_and_their_cells_are_added(match):
    matching = match(["a"], meta=[["a.png", "x"], ["b.png", "y"], ["none", "z"]])
    assert [(one.image_id, one.rows == ()) for one in matching.images] == [
        ("a", False), ("b.png", True),
    ]  # fmt: skip
    assert matching.cells == {"a": {"group": "x"}, "b.png": {"group": "y"}}
    assert list(matching.missing) == ["none"]


@pytest.mark.parametrize(("given", "expected"), [("a", "extra"), ("a.png", "extra.png")])
def test_unlisted_images_are_named_as_the_listed_ones_are(match, folder, given, expected):
    matching = match([given], ["b"], ["lot/c"], use_unlisted=True)
    assert matching.images[-1] == MatchedImage(expected, str(folder.root / "extra.png"))


def test_ids_of_other_formats_become_paths(folder, tmp_path):
    rows = [LabelRow(n, name, "1", "1 2") for n, name in enumerate(["a", "lot/c", "none"])]
    table = LabelTable(
        path=tmp_path, form="form", encoding="utf-8", rows=tuple(rows),
        refused=(RefusedRow(9, "b", "1", "it is bad"),), meta={}, unlabeled=("extra",),
    )  # fmt: skip
    matching = match_images("coco", table, {}, folder, use_unlisted=False)
    assert [image.image_id for image in matching.images] == ["a.png", "lot/c.png", "extra.png"]
    assert [image.rows[0].image_id for image in matching.images[:2]] == ["a.png", "lot/c.png"]
    assert [row.image_id for row in matching.ledger] == ["none", "b.png"]


def test_masks_are_matched_by_the_paths_of_their_images(folder, tmp_path):
    write_png(tmp_path / "masks" / "lot" / "c.png", np.eye(6, 8, dtype=np.uint8))
    write_png(tmp_path / "masks" / "b.png", np.zeros((6, 8), np.uint8))
    matching = find_images(tmp_path / "masks", "masks", images=None, meta=None, use_unlisted=False)
    assert [one.image_id for one in matching.images] == ["b.png", "lot/c.png"]
    assert matching.folder.root == folder.root


def test_the_ledger_says_how_an_image_was_found(match):
    matching = match(["A.PNG"], ["A.PNG", "2"], ["C:\\x\\lot\\c"], meta=[["B.png", "x"]])
    assert [one.image_id for one in matching.images] == ["a.png", "lot/c.png", "b.png"]
    assert [(row.image_id, row.note) for one in matching.images for row in one.rows] == [
        ("A.PNG", "found as a.png (another case)"),
        ("A.PNG", "found as a.png (another case)"),
        ("C:\\x\\lot\\c", "found as lot/c.png (part of the path)"),
    ]
    assert matching.found_otherwise == {"another case": 2, "part of the path": 1}
    assert matching.cells["b.png"] == {"group": "x"}


def table_of(tmp_path, *rows, **changes):
    named = [
        LabelRow(n, image_id, "1", "", BOX, label_file)
        for n, (image_id, label_file) in enumerate(rows)
    ]
    sources = {"form": "", "encoding": "", "refused": (), "meta": {}} | changes
    return LabelTable(path=tmp_path, rows=tuple(named), **sources)


@pytest.mark.check(39)
def test_rows_of_copied_label_files_go_to_their_own_images(folder, tmp_path):
    table = table_of(tmp_path, ("a.png", "a"), ("a.png", "b"), empty_files={"extra": "a.png"})
    matching = match_images("labelme", table, {}, folder, use_unlisted=False)
    assert [(one.image_id, len(one.rows)) for one in matching.images] == [
        ("a.png", 1), ("b.png", 1), ("extra.png", 0),
    ]  # fmt: skip
    (row,) = matching.images[1].rows
    assert row.note == ("found as b.png (by the name of the label file; inside it names 'a.png')")
    assert matching.found_otherwise["by the name of the label file"] == 2


def test_a_good_image_that_cannot_be_told_is_left_out(folder, tmp_path):
    table = table_of(tmp_path, ("a.png", "a"), empty_files={"copy": "a.png"})
    matching = match_images("labelme", table, {}, folder, use_unlisted=False)
    assert [(one.image_id, len(one.rows)) for one in matching.images] == [("a.png", 1)]
    assert "are about one image, a.png" in matching.missing["a.png"]


def test_an_image_that_is_listed_once_more_without_labels_keeps_its_labels(folder, tmp_path):
    table = table_of(tmp_path, ("a.png", ""), unlabeled=("./a.png", "b.png", "./b.png"))
    matching = match_images("coco", table, {}, folder, use_unlisted=False)
    assert [(one.image_id, len(one.rows)) for one in matching.images] == [
        ("a.png", 1), ("b.png", 0),
    ]  # fmt: skip


def test_files_of_labels_are_never_images(folder, tmp_path):
    table = table_of(tmp_path, ("a.png", ""))
    masks = ImageFolder(folder.root, not_images=[folder.root / "b.png", folder.root / "extra.png"])
    assert match_images("masks", table, {}, masks, use_unlisted=True).unlisted.images == ()


@pytest.mark.check(40)
@pytest.mark.parametrize("lost", [["gone.png"], ["", "1"], ["b", REFUSED], ["two.png"]])
def test_no_unlisted_image_becomes_good_while_a_labeled_one_is_lost(match, folder, lost):
    for name in ("two.bmp", "two.tif"):
        (folder.root / name).touch()
    matching = match(["a"], lost, use_unlisted=True)
    assert "extra.png" in [path.name for path in matching.unlisted.images]
    is_lost = lost[0] != "b"  # Its row is refused too, but which image it is about is known.
    assert len(matching.lost) == is_lost
    assert ("extra" in [one.image_id for one in matching.images]) == (not is_lost)
    assert "b" not in [one.image_id for one in matching.images]


def test_a_lost_image_that_is_said_to_be_good_does_no_harm(folder, tmp_path):
    table = table_of(tmp_path, ("a.png", ""), unlabeled=("gone.png",))
    matching = match_images("coco", table, {}, folder, use_unlisted=True)
    assert list(matching.missing) == ["gone.png"]
    assert [one.image_id for one in matching.images] == ["a.png", "b.png", "extra.png"]


@pytest.mark.check(40)
@pytest.mark.parametrize("lost", ["A_01.png", "x\\a-001.bmp", ""])
def test_an_image_without_rows_is_not_good_where_a_lost_one_may_be_meant(match, folder, lost):
    (folder.root / "a_1.png").touch()
    matching = match(["b"], [lost], meta=[["a_1.png", "x"], ["extra.png", "y"]])
    assert matching.doubted == (["a_1.png", "extra.png"] if not lost else ["a_1.png"])
    assert [one.image_id for one in matching.images] == ["b", *([] if not lost else ["extra.png"])]


def test_an_unlabeled_image_of_a_lost_annotation_is_not_good(folder, tmp_path):
    refused = (RefusedRow(2, "", "", "its image_id is not the id of a listed image"),)
    table = table_of(tmp_path, ("a.png", ""), refused=refused, unlabeled=("b.png",))
    matching = match_images("coco", table, {}, folder, use_unlisted=False)
    assert ([one.image_id for one in matching.images], matching.doubted) == (["a.png"], ["b.png"])


def test_an_unlisted_image_among_defective_ones_is_no_good_one(tmp_path):
    for name in ("hole/a.png", "hole/b.png", "free/c.png", "free/d.png"):
        write_png(tmp_path / "images" / name, np.zeros((6, 8), np.uint8))
    rows = (
        LabelRow(1, "hole/a.png", "hole", "", RleMask("1 2", (6, 8))),
        LabelRow(2, "free/c.png", "", "", RleMask("", (6, 8))),
    )
    table = LabelTable(tmp_path, "masks", "utf-8", rows, (), {})
    folder = ImageFolder(tmp_path / "images")
    matching = match_images("masks", table, {}, folder, use_unlisted=True)
    assert [one.image_id for one in matching.images] == ["hole/a.png", "free/c.png", "free/d.png"]
    assert [path.name for path in matching.unlisted.defective] == ["b.png"]


MEASURE = """
import sys, tracemalloc
from pathlib import Path
from defectkit.preparation.matching import find_images

def match(name, count):
    folder = Path(sys.argv[1], name)
    (folder / "Train").mkdir(parents=True)
    with (folder / "train.csv").open("w") as table:
        table.write("ImageId,ClassId,EncodedPixels\\n")
        for number in range(count):
            (folder / "Train" / f"{number:07}.png").touch()
            table.write(f"{number:07}.png,1,{number + 1} 5 {number + 300} 5\\n")
    return find_images(folder / "train.csv", "auto", images=None, meta=None, use_unlisted=False)

match("a", 2000)  # What is made once, as tables that grow, is no memory of an image.
tracemalloc.start()
matching = match("b", 2000)
print(tracemalloc.get_traced_memory()[0] / 2000)
"""


def test_an_image_and_its_row_take_little_memory(tmp_path):
    words = [sys.executable, "-c", MEASURE, str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 950  # Measured: 700; with all that is listed meanwhile 1,190.
