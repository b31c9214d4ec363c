from pathlib import Path

import pytest

from defectkit.errors import DatasetError
from defectkit.preparation.open_image_folder import open_image_folder


@pytest.fixture
def make(tmp_path):
    """Make empty files below a folder of its own."""

    def call(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return call


def opened(folder: Path, *ids, **options) -> str:
    found = open_image_folder(folder / "train.csv", options.pop("images", None), ids, **options)
    return found.root.relative_to(folder).as_posix()


@pytest.mark.parametrize("name", ["Train", "TRAIN_IMAGES", "Images", "JPEGImages", "jpegimages"])
def test_folders_of_images_are_known_in_any_case(make, name):
    folder = make(f"{name}/0.png", "train.csv")
    assert opened(folder, "0.png") == name
    assert opened(folder) == name


def test_the_folder_with_most_images_wins_and_images_as_written_count_first(make):
    folder = make("images/0.png", "train/0.png", "train/1.png", "old/2.png")
    assert opened(folder, "0", "1") == "train"
    assert opened(folder, "0.png") == "train"  # The first of equals.
    assert opened(folder, "images/0.png", "old/2.png") == "."
    assert opened(folder, "0.png", "old/2.png") == "train"


def test_labels_may_lie_deeper_and_images_be_called_as_label_files(make):
    folder = make("labels/0.json", "photos/0.png")
    labels = folder / "labels"
    found = open_image_folder(
        labels, None, ["gone.png"], [labels, folder], label_files=["0"],
        not_images=[labels / "0.json"],
    )  # fmt: skip
    assert found.find("0").name == "photos/0.png"


def test_where_no_image_is_each_folder_is_named_once_with_the_way_out(make):
    folder = make("images/part_0001.png", "train.csv")
    with pytest.raises(DatasetError) as error:
        opened(folder, "part_001.jpg", "part_002.jpg", parents=[folder, folder / "images"])
    assert str(error.value) == (
        f"none of the 2 images that {folder / 'train.csv'} names is in {folder / 'images'} or "
        f"{folder}; the first is 'part_001.jpg'; the nearest name is part_0001.png. If they lie "
        "elsewhere, name their folder with --images."
    )
    with pytest.raises(DatasetError, match=r"the first is 'x'\. Name their folder with --images\."):
        opened(folder, "x")
    with pytest.raises(DatasetError, match=r"--images .*none is not a folder"):
        opened(folder, "x", images=folder / "none")


def test_what_is_there_but_cannot_be_told_is_said_row_by_row(make):
    folder = make("images/0.png", "images/0.bmp")
    assert opened(folder, "0") == "images"
    (folder / "elsewhere").mkdir()
    (folder / "photos").mkdir()
    (folder / "photos" / "1.png").symlink_to(folder / "elsewhere" / "1.png")
    assert opened(folder, "1", images=folder / "photos") == "photos"


def test_images_of_other_data_beside_a_label_file_s_folder_are_not_searched(make):
    folder = make("a/coco.json", "b/photos/0.png", "annotations/coco.json", "a/images/9.png")
    own = folder / "a" / "coco.json"
    with pytest.raises(DatasetError, match="none of the 1 images"):
        open_image_folder(own, None, ["0.png"], [own.parent, folder])
    labels = folder / "annotations" / "coco.json"
    found = open_image_folder(labels, None, ["0.png"], [labels.parent, folder])
    assert found.find("0.png").name == "b/photos/0.png"


def test_a_name_is_searched_in_all_folders_before_one_is_chosen(make):
    folder = make("train/good/0.png", "test/crack/0.png", "test/crack/1.png")
    assert opened(folder, "0.png") == "."  # It fits two: that is said row by row.
    assert opened(folder, "0.png", "1.png") == "."
    folder = make("images/lot/5.png", "images/6.PNG", "old/images/6.png")
    assert opened(folder, "5.png") == "images"
    assert opened(folder, "6.Png") == "images"


def test_a_folder_with_images_is_better_than_one_with_several_of_a_name(make):
    folder = make("images/x/0.png", "images/y/0.png", "images/1.png", "labels/coco.json")
    labels = folder / "labels" / "coco.json"
    found = open_image_folder(labels, None, ["C:/0.png", "C:/1.png"], [labels.parent, folder])
    assert found.root == folder / "images"
    assert found.find("C:/1.png").name == "1.png"


def test_a_folder_of_images_may_be_a_link(make):
    folder = make("nas/lot/0.png", "data/coco.json")
    (folder / "data" / "images").symlink_to(folder / "nas")
    labels = folder / "data" / "coco.json"
    found = open_image_folder(labels, None, ["0.PNG"], [labels.parent, folder])
    assert found.find("0.PNG").name == "lot/0.png"


def test_images_are_searched_below_the_labels_before_they_are_around_them(make):
    folder = make("own/img/0.png", "own/json/0.json", "other/0.png")
    found = open_image_folder(folder / "own", None, ["0.jpg"], [folder / "own", folder])
    assert found.root == folder / "own"


@pytest.mark.parametrize(
    ("labels", "folders", "expected"),
    [
        ("val.csv", ["train", "val"], "val"),
        ("test_labels.csv", ["train_images", "test_images"], "test_images"),
        ("train.csv", ["Train", "valid", "test"], "Train"),
        ("instances_val.json", ["images/train", "images/val"], "images/val"),
        ("validation.csv", ["train/images", "valid/images"], "valid/images"),
        ("train.csv", ["images", "train"], "train"),
    ],
)
def test_of_folders_of_splits_with_equal_names_that_of_the_labels_is_taken(
    make, labels, folders, expected
):
    folder = make(*(f"{inner}/{n}.png" for inner in folders for n in range(3)), labels)
    for ids in (["0.png", "1.png", "2.png"], ["0", "1"], ["0.JPG", "1.JPG"]):
        assert open_image_folder(folder / labels, None, ids).root == folder / expected


def test_labels_that_fit_several_folders_are_refused_with_their_names(make):
    folder = make("train/0.png", "val/0.png", "train.csv", "coco.json")
    for labels in ("coco.json", "test.csv"):
        with pytest.raises(DatasetError, match=r"fit several folders \(.*train, .*val\).*--images"):
            open_image_folder(folder / labels, None, ["0.png"])
    assert open_image_folder(folder / "coco.json", folder / "val", ["0.png"]).find("0.png")


def test_labels_that_lie_with_their_images_belong_to_these(make):
    folder = make("train/0.png", "valid/0.png", "valid/_annotations.coco.json")
    labels = folder / "valid" / "_annotations.coco.json"
    found = open_image_folder(labels, None, ["0.png"], [labels.parent, folder])
    assert found.root == folder / "valid"


def test_a_split_s_folder_with_all_images_is_better_than_another_with_some(make):
    folder = make("train/0.png", *(f"val/{n}.png" for n in range(12)), "val.csv")
    ids = [f"{n}.png" for n in range(12)]
    assert open_image_folder(folder / "val.csv", None, ids).root == folder / "val"
