import json
from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.matching import (
    MatchedImage,
    find_images,
    match_images,
    use_paths_as_ids,
)


@pytest.fixture
def folder(tmp_path):
    """Four images, one of them in a subfolder."""
    for name in ("a.png", "b.png", "lot/c.png", "extra.png"):
        write_png(tmp_path / "images" / name, np.zeros((6, 8), np.uint8))
    return ImageFolder(tmp_path / "images")


def table(rows=(), refused=(), path=Path("train.csv"), **changes):
    made = [LabelRow(line, image_id, "1", "1 2") for line, image_id in enumerate(rows, start=2)]
    bad = [RefusedRow(line, image_id, "1", "it is bad") for line, image_id in refused]
    options = {"form": "form", "encoding": "utf-8", "meta": {}, **changes}
    return LabelTable(path=path, rows=tuple(made), refused=tuple(bad), **options)


def match(table, folder, listed=None, *, use_unlisted=False):
    return match_images("csv", table, listed or {}, folder, use_unlisted=use_unlisted)


def test_rows_are_gathered_by_image_and_ids_may_lack_the_extension(folder):
    matching = match(table(["a", "b.png", "a", "lot/c"], meta={"a": {"lot": "7"}}), folder)
    assert [(one.image_id, one.path.name, len(one.rows)) for one in matching.images] == [
        ("a", "a.png", 2), ("b.png", "b.png", 1), ("lot/c", "c.png", 1),
    ]  # fmt: skip
    assert matching.cells == {"a": {"lot": "7"}, "b.png": {}, "lot/c": {}}
    assert matching.ledger == []
    assert [path.name for path in matching.unlisted] == ["extra.png"]


def test_rows_without_an_image_are_refused(folder):
    matching = match(table(["a", "none.png"]), folder)
    assert [one.image_id for one in matching.images] == ["a"]
    (row,) = matching.ledger
    assert (row.line, row.image_id, row.outcome) == (3, "none.png", "refused")
    assert row.reason.startswith("no such image in")


def test_two_ids_of_one_file_are_refused(folder):
    matching = match(table(["a", "a.png"]), folder)
    assert [one.image_id for one in matching.images] == ["a"]
    assert "image id 'a' is the same file" in matching.ledger[0].reason


def test_all_rows_of_an_image_are_refused_where_one_is(folder):
    matching = match(table(["a", "b"], refused=[(9, "a")]), folder)
    assert [one.image_id for one in matching.images] == ["b"]
    first, second = matching.ledger
    assert (first.line, first.reason, first.refused_with_image) == (9, "it is bad", False)
    assert (second.line, second.refused_with_image) == (2, True)
    assert second.reason.startswith("line 9 of the same image was refused")
    # Nor is it taken as a good image, or under its other name.
    assert "a.png" not in [path.name for path in matching.unlisted]
    listed = match(table(["b"], refused=[(9, "a")]), folder, {"a.png": {}})
    assert [one.image_id for one in listed.images] == ["b"]


def test_listed_images_are_good_ones_and_their_cells_are_added(folder):
    listed = {"a.png": {"group": "x"}, "b.png": {"group": "y"}, "none": {"group": "z"}}
    matching = match(table(["a"], meta={"a": {"lot": "7"}}), folder, listed)
    assert [(one.image_id, one.rows == ()) for one in matching.images] == [
        ("a", False), ("b.png", True),
    ]  # fmt: skip
    assert matching.cells == {"a": {"lot": "7", "group": "x"}, "b.png": {"group": "y"}}
    assert list(matching.missing) == ["none"]


@pytest.mark.parametrize(("given", "expected"), [("a", "extra"), ("a.png", "extra.png")])
def test_unlisted_images_are_named_as_the_listed_ones_are(folder, given, expected):
    matching = match(table([given, "b", "lot/c"]), folder, use_unlisted=True)
    assert matching.images[-1] == MatchedImage(expected, folder.root / "extra.png")


def test_ids_of_other_formats_become_paths(folder):
    named = use_paths_as_ids(
        table(["a", "lot/c", "none"], refused=[(9, "b")], unlabeled=("extra",)), folder
    )
    assert [row.image_id for row in named.rows] == ["a.png", "lot/c.png", "none"]
    assert named.refused[0].image_id == "b.png"
    assert named.unlabeled == ("extra.png",)
    twice = use_paths_as_ids(table(["a", "a.png"]), folder)
    assert [row.image_id for row in twice.rows] == ["a.png", "a.png"]


@pytest.mark.parametrize("name", ["train.csv", "labels.json"])
def test_labels_are_read_and_their_images_found_near_them(folder, tmp_path, name):
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na,1 2\nb,\n")
    images = [{"id": n, "file_name": name} for n, name in enumerate(["a", "b"])]
    box = {"image_id": 0, "category_id": 5, "bbox": [0, 0, 2, 2]}
    document = {"images": images, "categories": [{"id": 5, "name": "1"}], "annotations": [box]}
    (tmp_path / "labels.json").write_text(json.dumps(document))
    (tmp_path / "meta.csv").write_text("ImageId,lot\nb.png,7\n")
    found = find_images(
        tmp_path / name, "auto", images=None, meta=tmp_path / "meta.csv", use_unlisted=False
    )
    assert found.folder.root == folder.root
    assert found.source_format == ("csv" if name == "train.csv" else "coco")
    # In a CSV the ids stay as they are; others become paths.
    ids = ["a", "b"] if name == "train.csv" else ["a.png", "b.png"]
    assert [one.image_id for one in found.images] == ids
    assert found.cells[ids[1]] == {"lot": "7"}
