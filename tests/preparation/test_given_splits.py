import pytest

from defectkit.errors import LabelError
from defectkit.labels.outlines import RleMask
from defectkit.labels.table import LabelRow, LabelTable
from defectkit.preparation.given_splits import give_splits, read_split_folders


def table_of(tmp_path, defective, good=(), meta=None):
    rows = [LabelRow(n, name, "1", "", RleMask("1 1", (2, 2))) for n, name in enumerate(defective)]
    rows += [LabelRow(n, name, "", "", RleMask("", (2, 2))) for n, name in enumerate(good)]
    return LabelTable(tmp_path, "masks", "utf-8", tuple(rows), (), meta or {})


def splits_of(table):
    return {image_id: cells.get("split") for image_id, cells in table.meta.items()}


def test_folders_of_two_splits_give_the_split(tmp_path):
    table = table_of(tmp_path, ["train/a", "valid/b", "test/c", "d"], ["test/f"])
    given = give_splits(table, ["train/e.png", "val/g.png"], {})
    assert splits_of(given) == {
        "train/a": "train", "valid/b": "val", "test/c": "test", "train/e.png": "train",
        "test/f": "test", "val/g.png": "val",
    }  # fmt: skip
    assert given.notes == ("the split is that of the folders: train, val, test",)


def test_one_split_gives_none(tmp_path):
    table = table_of(tmp_path, ["train/a"], ["train/b"])
    assert give_splits(table, [], {}) is table


@pytest.mark.check(43)
@pytest.mark.parametrize(
    ("defective", "good", "lack"),
    [
        (["test/a"], ["train/b", "test/c"], "train has no defects"),
        (["train/a"], ["train/b", "test/c"], "test has no defects"),
        (["train/a", "test/b"], ["train/c"], "test has no good images"),
    ],
)
def test_folders_that_lack_defects_or_good_images_give_none(tmp_path, defective, good, lack):
    given = give_splits(table_of(tmp_path, defective, good), ["train/d"], {})
    assert given.meta == {}
    assert given.notes == (f"the split of the folders is not taken: {lack}",)


def test_what_is_known_of_an_image_and_named_folders_come_first(tmp_path):
    table = table_of(tmp_path, ["one/a", "two/b"], meta={"two/b": {"split": "val", "lot": "7"}})
    given = give_splits(table, [], {"one": "train", "two": "test"})
    assert given.meta == {"one/a": {"split": "train"}, "two/b": {"split": "val", "lot": "7"}}


def test_folders_are_named_in_yaml(tmp_path):
    (tmp_path / "data.yaml").write_text(
        "path: ../data\ntrain: ../first/images\nval: [second/images/, ./third]\ntest:\nnc: 2\n"
        "train: first\nnames: [a, b]\n"
    )
    assert read_split_folders(tmp_path / "data.yaml", tmp_path) == {
        "first/images": "train", "second/images": "val", "third": "val",
    }  # fmt: skip
    assert read_split_folders(tmp_path / "data.yaml", tmp_path / "first") == {"images": "train"}
    (tmp_path / "data.yaml").write_text("train: images\nval: images\n")
    assert read_split_folders(tmp_path / "data.yaml", tmp_path) == {}
    assert read_split_folders(None, tmp_path) == {}
    (tmp_path / "data.yaml").write_text("[")
    with pytest.raises(LabelError, match="data.yaml is not readable YAML"):
        read_split_folders(tmp_path / "data.yaml", tmp_path)


def test_yaml_may_name_lists_of_images(tmp_path):
    (tmp_path / "data.yaml").write_text("train: ./train.txt\nval: val.txt\n")
    (tmp_path / "train.txt").write_text("./images/a.png\n\n../images/b.png\n")
    (tmp_path / "val.txt").write_text("images\\c.png\n")
    folders = read_split_folders(tmp_path / "data.yaml", tmp_path / "images")
    assert folders == {"a.png": "train", "b.png": "train", "c.png": "val"}
    given = give_splits(table_of(tmp_path, ["a", "c"], ["b"]), ["d"], folders)
    assert splits_of(given) == {}  # val has no good images.
    given = give_splits(table_of(tmp_path, ["a", "c"]), [], folders)
    assert splits_of(given) == {"a": "train", "c": "val"}
