from dataclasses import replace

import pytest

from defectkit.errors import LabelError
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_index import ImageIndex
from defectkit.preparation.label_images import (
    find_uploads,
    join_tables,
    locate_images,
    rename_images,
)


def table_of(tmp_path, *image_ids, kind="masks"):
    rows = [LabelRow(n, name, "1", "", Box(0, 0, 1, 1)) for n, name in enumerate(image_ids, 1)]
    return LabelTable(
        path=tmp_path / "a.json", form="COCO JSON", encoding="utf-8", rows=tuple(rows),
        refused=(RefusedRow(len(rows) + 1, "bad", "", "why"),),
        meta={image_ids[0]: {"lot": "7"}}, unlabeled=("good",), kind=kind,
        files=(tmp_path / "a.json",), notes=("said",),
    )  # fmt: skip


def test_all_names_of_an_image_change(tmp_path):
    table = rename_images(table_of(tmp_path, "a"), "x/{}".format)
    assert [row.image_id for row in table.rows] == ["x/a"]
    assert table.rows[0].label_file == ""
    assert [row.image_id for row in table.refused] == ["x/bad"]
    assert (table.unlabeled, table.meta) == (("x/good",), {"x/a": {"lot": "7"}})


def test_folders_become_those_of_the_image_and_the_name_stays(tmp_path):
    names = ("train/images/a.PNG", "train/images/b.png", "test/images/b.png")
    index = ImageIndex(tmp_path, [tmp_path / name for name in names])
    table = table_of(tmp_path, "train/labels/a.png", "b", "test/b", "none/c")
    located = locate_images(table, index, ())
    assert [row.image_id for row in located.rows] == [
        "train/images/a.png", "b", "test/images/b", "none/c",
    ]  # fmt: skip
    inner = locate_images(table_of(tmp_path, "test/b"), index, ("labels",))
    assert inner.rows[0].image_id == "test/images/b"


def test_two_label_files_stay_two(tmp_path):
    index = ImageIndex(tmp_path, [tmp_path / "images" / name for name in ("a.png", "b.png")])
    rows = [
        LabelRow(n, "a.png", "1", "", Box(0, 0, 1, 1), file)
        for n, file in enumerate(["labels/a", "old_labels/a", "labels/b"])
    ]
    table = replace(table_of(tmp_path, "x"), rows=tuple(rows), empty_files={"labels/old/a": "a"})
    located = locate_images(table, index, ())
    assert {row.label_file for row in located.rows} == {"labels/a", "old_labels/a", "b"}
    assert list(located.empty_files) == ["labels/old/a"]


def test_images_may_be_called_as_their_uploads_to_label_studio(tmp_path):
    files = ["0a1b2c3d-a.png", "lot/0a1b2c3d-good", "b.png", "0a1b2c3d-b.png"]
    files += ["00000000-c.png", "11111111-c.png", "1234567-d.png", "ABCDEF00-d.png"]
    index = ImageIndex(tmp_path, [tmp_path / name for name in files])
    table = find_uploads(table_of(tmp_path, "a.png", "b.png", "c.png", "d.png"), index)
    names = [row.image_id for row in table.rows]
    assert names == ["0a1b2c3d-a.png", "b.png", "c.png", "d.png"]
    assert (table.unlabeled, table.meta) == (("0a1b2c3d-good",), {"0a1b2c3d-a.png": {"lot": "7"}})
    note = "2 images are called as Label Studio's uploads, such as 0a1b2c3d-a.png for a.png"
    assert table.notes == ("said", note)
    unchanged = table_of(tmp_path, "b.png")
    assert find_uploads(unchanged, ImageIndex(tmp_path, [tmp_path / "b.png"])) is unchanged


def test_tables_are_joined_with_their_rows_numbered_on(tmp_path):
    joined = join_tables(tmp_path, [table_of(tmp_path, "a", "b"), table_of(tmp_path, "c")])
    assert [(row.line, row.image_id) for row in joined.rows] == [(1, "a"), (2, "b"), (4, "c")]
    assert [row.line for row in joined.refused] == [3, 5]
    assert joined.form == "COCO JSON, 2 files"
    assert joined.meta == {"a": {"lot": "7"}, "c": {"lot": "7"}}
    assert (joined.path, joined.notes) == (tmp_path, ("said",))


def test_outlines_and_boxes_are_not_joined(tmp_path):
    with pytest.raises(LabelError, match="some files|files with outlines and others with boxes"):
        join_tables(tmp_path, [table_of(tmp_path, "a"), table_of(tmp_path, "b", kind="boxes")])
