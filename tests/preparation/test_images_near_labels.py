import pytest

from defectkit.preparation.file_tree import list_files
from defectkit.preparation.images_near_labels import index_images_near


@pytest.fixture
def near(tmp_path):
    """Write empty files, and return the folder to compare with and the images near ``source``."""

    def call(source, *names, images=None):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        source = tmp_path / source
        files = list_files(source)
        top, index = index_images_near(source, files, images and tmp_path / images)
        return top, index.root, [image.name for image in index.images]

    return call


def test_images_among_the_files_come_first(near, tmp_path):
    found = near("a", "a/labels/1.txt", "a/images/1.png", "a/masks/1.png", "images/1.png")
    assert found == (tmp_path / "a", tmp_path / "a/images", ["1.png"])


def test_then_images_in_folders_that_are_named_so_and_beside(near, tmp_path):
    found = near("labels", "labels/1.txt", "train/1.png", "2.png", "masks/1.png", "lot/1.png")
    assert found == (tmp_path / "labels", tmp_path, ["2.png", "train/1.png"])


def test_a_split_of_labels_has_its_images_further_up(near, tmp_path):
    found = near("labels/train", "labels/train/1.txt", "images/train/1.png")
    assert found == (tmp_path / "labels", tmp_path / "images/train", ["1.png"])


def test_the_folder_that_is_named_has_all(near, tmp_path):
    found = near("a", "a/1.txt", "a/1.png", "b/2.png", "b/2_mask.png", images="b")
    assert found == (tmp_path / "a", tmp_path / "b", ["2.png"])
