import pytest

from defectkit.errors import DatasetError
from defectkit.preparation.file_tree import (
    GOOD_WORDS,
    IMAGE_WORDS,
    MASK_WORDS,
    is_named,
    list_files,
    own_parts,
    split_in,
    split_of,
)


def test_files_of_the_system_and_hidden_ones_are_no_data(tmp_path):
    for name in ("a.png", "b/c.txt", ".hidden", "._a.png", "Thumbs.db", "b/.DS_Store",
                 "b/desktop.ini", "__MACOSX/a.png", ".git/a.png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "folder").symlink_to(tmp_path / "b")
    assert list_files(tmp_path) == [tmp_path / "a.png", tmp_path / "b" / "c.txt"]
    assert tmp_path / "link.png" in list_files(tmp_path, links=True)
    assert list_files(tmp_path / "none") == []


@pytest.mark.parametrize(
    "name", ["masks", "MASKS", "ground_truth", "Label", "train_masks", "GT", "Mask_images"]
)
def test_folders_of_masks_are_known_by_name(name):
    assert is_named(name, MASK_WORDS)
    assert not is_named(name, IMAGE_WORDS)


@pytest.mark.parametrize("name", ["train", "crack", "masks_of_lot_7", "000", "lab"])
def test_other_folders_are_not(name):
    assert not is_named(name, MASK_WORDS)


def test_folders_of_good_images_are_known_by_name():
    assert all(is_named(name, GOOD_WORDS) for name in ("good", "OK", "defect-free", "Normal"))
    assert not is_named("goods_in", GOOD_WORDS)


@pytest.mark.parametrize(
    ("parts", "split"),
    [
        (["train", "images"], "train"), (["images", "valid"], "val"), (["Test"], "test"),
        (["train2017"], "train"), (["val_images"], "val"), (["lot1"], None),
        (["train_station"], None), (["train", "test"], "test"), ([], None),
    ],
)  # fmt: skip
def test_the_split_is_read_from_folders(parts, split):
    assert split_of(parts) == split


def test_the_split_is_read_from_the_names_of_files():
    assert split_in("instances_train2017") == "train"
    assert split_in("_annotations.coco") is split_in("train_and_val") is None


def test_folders_of_images_and_of_their_masks_belong_together():
    same = [["train", "images", "A"], ["images", "train", "a"], ["train_masks", "A"]]
    assert {own_parts(parts) for parts in same} == {("train", "a")}
    assert own_parts(["test", "crack"], with_split=False) == ("crack",)


def test_splits_are_known_by_all_their_words():
    assert [split_in(f"labels_{word}") for word in ("dev", "validation")] == ["val", "val"]
    assert [split_in(f"{word}_labels") for word in ("holdout", "testing")] == ["test", "test"]


@pytest.mark.check(53)
def test_a_folder_that_cannot_be_listed_is_told_where_its_files_count(tmp_path, refuse):
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.png").touch()
    refuse(tmp_path / "shut")
    with pytest.raises(DatasetError, match=r"shut: cannot list the folder: Permission denied\."):
        list_files(tmp_path)
    assert list_files(tmp_path, strict=False) == [tmp_path / "a.png"]
