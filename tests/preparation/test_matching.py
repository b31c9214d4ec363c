from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.matching import (
    MAX_SAMPLED_IMAGES,
    MAX_SAMPLED_ROWS,
    MatchedImage,
    find_images,
    match_images,
    sample_rows,
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
    return match_images(table, listed or {}, folder, use_unlisted=use_unlisted)


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


def test_images_are_found_near_their_labels(folder, tmp_path):
    labels = table(["a"], path=tmp_path / "train.csv", unlabeled=())
    assert find_images("csv", labels, {}, None, use_unlisted=False).images[0].image_id == "a"
    labels = table(["a"], path=tmp_path / "labels.json", unlabeled=("b",))
    found = find_images("coco", labels, {}, None, use_unlisted=False)
    assert [one.image_id for one in found.images] == ["a.png", "b.png"]


def test_rows_are_sampled_from_all_over_the_table(folder):
    path = folder.root / "a.png"
    rows = tuple(LabelRow(line, "a", "1", "1 2") for line in range(9))
    good = MatchedImage("good", path, (LabelRow(1, "good", "1", ""),))
    boxed = MatchedImage("boxed", path, (LabelRow(1, "boxed", "1", "", Box(0, 0, 1, 1)),))
    many = [good, boxed, *(MatchedImage(f"{n}", path, rows) for n in range(200))]
    samples = sample_rows(many)
    assert 0 < len(samples) <= MAX_SAMPLED_IMAGES * MAX_SAMPLED_ROWS
    assert {shape for _, shape in samples} == {(6, 8)}
    assert all(row.rle for row, _ in samples)
    unreadable = MatchedImage("x", folder.root / "none.png", rows)
    assert sample_rows([unreadable, MatchedImage("a", path, rows)]) == [
        (row, (6, 8)) for row in rows[:MAX_SAMPLED_ROWS]
    ]
