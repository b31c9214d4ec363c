import sys

import pytest

from defectkit.preparation.image_index import ImageIndex


@pytest.fixture
def index(tmp_path):
    """Index files that need not be there."""

    def call(*names):
        return ImageIndex(tmp_path, [tmp_path / name for name in names])

    return call


def found(index, *path):
    *parts, name = path
    image, folder = index.find(parts, name)
    return (image.name if image else None), folder


def test_the_root_is_the_folder_of_images_that_has_all(index, tmp_path):
    assert index("images/a.png", "images/lot/b.png").root == tmp_path / "images"
    assert index("images/lot/a.png", "images/lot/b.png").root == tmp_path / "images"
    assert index("train/images/a.png", "test/images/b.png").root == tmp_path
    assert index("a.png", "images/b.png").root == tmp_path
    assert index().root == tmp_path


def test_folders_for_images_and_labels_and_for_splits_go_together(index):
    images = index("train/images/0.png", "test/images/0.png")
    assert found(images, "train", "labels", "0") == ("train/images/0.png", "")
    assert found(images, "labels", "test", "0.png") == ("test/images/0.png", "")
    assert found(images, "labels", "0") == (None, "")


def test_the_split_may_stand_on_one_side_alone(index):
    images = index("test/crack/0.png", "test/good/0.png", "train/good/0.png")
    assert found(images, "ground_truth", "crack", "0") == ("test/crack/0.png", "")
    assert found(images, "ground_truth", "good", "0") == (None, "")


def test_a_folder_that_images_do_not_have_is_a_class(index):
    assert found(index("images/0.png"), "masks", "Dent", "Label", "0") == ("0.png", "Dent")


def test_images_may_lie_deeper_and_never_in_another_folder(index):
    images = index("images/lot1/0.png", "images/lot1/7.png", "images/lot2/7.png")
    assert found(images, "masks", "0") == ("lot1/0.png", "")
    assert found(images, "masks", "lot2", "0") == (None, "")
    assert found(images, "masks", "7") == (None, "")


def test_names_may_have_the_suffix_another_case_and_an_ending(index):
    images = index("A.PNG", "b.1.jpg", "c_img.png", "d.png", "d_img.png", "image_e.png")
    assert found(images, "a.png")[0] == "A.PNG"
    assert found(images, "a.jpg")[0] == "A.PNG"
    assert found(images, "b.1")[0] == "b.1.jpg"
    assert found(images, "c")[0] == "c_img.png"
    assert found(images, "d")[0] == "d.png"
    assert found(images, "e")[0] == "image_e.png"
    assert found(index("e\u0301.png"), "\u00c9")[0] == "e\u0301.png"
    two = index("a.png", "a.jpg")
    assert found(two, "a.jpg")[0] == "a.jpg"
    assert found(two, "a")[0] is None
    similar = index("a.tif", "a.tiff")
    assert found(similar, "a.tif")[0] == "a.tif"


def test_images_of_one_name_in_folders_of_their_own_are_not_all_compared(index):
    folders = [f"part{number:04d}" for number in range(500)]
    images = index(*(f"{folder}/image.png" for folder in folders))
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        names = [found(images, folder, "image.png")[0] for folder in folders]
    finally:
        sys.setprofile(before)
    assert names == [f"{folder}/image.png" for folder in folders]
    assert calls < 200 * len(folders)
