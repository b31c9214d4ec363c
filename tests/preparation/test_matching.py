import csv

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.matching import MatchedImage, find_images, use_paths_as_ids

REFUSED = "a class\twith a tab"


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
    assert [path.name for path in matching.unlisted] == ["extra.png"]
    assert matching.source_format == "csv"


def test_rows_without_an_image_are_refused(match):
    matching = match(["a"], ["none.png"])
    assert [one.image_id for one in matching.images] == ["a"]
    (row,) = matching.ledger
    assert (row.line, row.image_id, row.outcome) == (3, "none.png", "refused")
    assert row.reason.startswith("no such image in")


def test_two_ids_of_one_file_are_refused(match):
    matching = match(["a"], ["a.png"])
    assert [one.image_id for one in matching.images] == ["a"]
    assert "image id 'a' names the same file" in matching.ledger[0].reason


def test_all_rows_of_an_image_are_refused_where_one_is(match):
    matching = match(["a"], ["b"], ["a", REFUSED])
    assert [one.image_id for one in matching.images] == ["b"]
    first, second = matching.ledger
    assert (first.line, first.refused_with_image) == (4, False)
    assert "control character" in first.reason
    assert (second.line, second.refused_with_image) == (2, True)
    assert second.reason.startswith("line 4 of the same image was refused")
    # Nor is it taken as a good image, or under its other name.
    assert "a.png" not in [path.name for path in matching.unlisted]
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
    assert matching.images[-1] == MatchedImage(expected, folder.root / "extra.png")


def test_ids_of_other_formats_become_paths(folder, tmp_path):
    rows = [LabelRow(n, name, "1", "1 2") for n, name in enumerate(["a", "lot/c", "none", "a.png"])]
    table = LabelTable(
        path=tmp_path, form="form", encoding="utf-8", rows=tuple(rows),
        refused=(RefusedRow(9, "b", "1", "it is bad"),), meta={}, unlabeled=("extra",),
    )  # fmt: skip
    named = use_paths_as_ids(table, folder)
    assert [row.image_id for row in named.rows] == ["a.png", "lot/c.png", "none", "a.png"]
    assert named.refused[0].image_id == "b.png"
    assert named.unlabeled == ("extra.png",)


def test_masks_are_matched_by_the_paths_of_their_images(folder, tmp_path):
    write_png(tmp_path / "masks" / "lot" / "c.png", np.eye(6, 8, dtype=np.uint8))
    write_png(tmp_path / "masks" / "b.png", np.zeros((6, 8), np.uint8))
    matching = find_images(tmp_path / "masks", "masks", images=None, meta=None, use_unlisted=False)
    assert [one.image_id for one in matching.images] == ["b.png", "lot/c.png"]
    assert matching.folder.root == folder.root
