from collections import Counter

import pytest

from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.unlisted_images import find_unlisted


@pytest.fixture
def unlisted(tmp_path):
    """Return, of files in a new folder, the names of those that nothing lists."""

    def call(files, *listed, field="images", root="all/images"):
        for name in [*files, *listed]:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        folder = ImageFolder(tmp_path / root)
        found = getattr(find_unlisted(folder, listed), field)
        return [path.relative_to(folder.root).as_posix() for path in found]

    return call


def test_images_beside_the_listed_ones_are_found(unlisted):
    files = ["lot/1.png", "lot/.2.png", "lot/notes.txt", "lot/Thumbs.db", "other/3.png", "4.png"]
    assert unlisted(files, "lot/0.png") == ["lot/1.png"]
    assert unlisted(["5.png"]) == ["4.png", "5.png"]  # Nothing is listed: all in the folder itself.


@pytest.mark.parametrize("name", ["good", "OK", "Normal", "no_defect", "defect-free", "良品"])
def test_folders_of_good_images_beside_the_labeled_ones_are_found(unlisted, name):
    files = [f"{name}/1.png", f"{name}/lot/2.png", "goods/3.png", "__MACOSX/good/1.png"]
    assert unlisted(files, "defect/0.png") == [f"{name}/1.png", f"{name}/lot/2.png"]


def test_good_images_of_splits_are_found(unlisted):
    files = ["train/good/1.png", "test/good/2.png", "test/hole/3.png", "preview/good/4.png"]
    assert unlisted(files, "test/crack/0.png") == ["test/good/2.png", "train/good/1.png"]


@pytest.mark.parametrize("ending", ["_mask", "_GT", "_label", "-seg", ".mask", "_labels"])
def test_masks_beside_images_are_not_taken(unlisted, ending):
    files = ["1.png", f"0{ending}.png", f"1{ending}.png", f"lonely{ending}.png"]
    assert unlisted(files, "0.png") == ["1.png", f"lonely{ending}.png"]
    assert unlisted(files, "0.png", field="doubtful") == [f"0{ending}.png", f"1{ending}.png"]


def test_files_of_one_name_are_not_taken_twice(unlisted):
    files = ["0.png", "1.jpg", "1.png", "2.bmp", "2.tif"]
    assert unlisted(files, "0.jpg") == ["1.jpg", "2.bmp", "2.tif"]
    assert unlisted(files, "0.jpg", field="doubtful") == ["0.png", "1.png"]


def test_good_images_outside_of_the_image_folder_are_named(tmp_path):
    for name in ("defect/0.png", "good/1.png", "other/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert find_unlisted(ImageFolder(tmp_path / "defect"), []).beside == (tmp_path / "good",)
    assert find_unlisted(ImageFolder(tmp_path / "good"), []).beside == ()


def test_links_that_lead_outside_are_left_out(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "1.png").touch()
    (tmp_path / "images" / "1.png").symlink_to(tmp_path / "1.png")
    assert find_unlisted(ImageFolder(tmp_path / "images"), []).images == ()
    followed = ImageFolder(tmp_path / "images", follow_links=True)
    assert find_unlisted(followed, []).images == (tmp_path / "images" / "1.png",)


@pytest.mark.parametrize(
    ("files", "listed", "defects"),
    [
        (["NG/1.png", "OK/2.png"], ["NG/0.png"], ["NG/0.png"]),
        (["defect/1.png"], ["defect/0.png"], ["defect/0.png"]),
        (["scratch/1.png", "good/2.png"], ["scratch/0.png"], ["scratch/0.png"]),
        (["scratch/lot/1.png", "good/2.png"], ["scratch/lot/0.png"], ["scratch/lot/0.png"]),
        (["MT_Hole/1.png"], ["MT_Hole/0.png", "MT_Free/2.png"], ["MT_Hole/0.png"]),
    ],
)
def test_images_in_folders_of_defective_ones_are_no_good_ones(tmp_path, files, listed, defects):
    for name in (*files, *listed):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_unlisted(ImageFolder(tmp_path), listed, defects)
    assert found.defective == (tmp_path / files[0],)
    assert found.images == tuple(tmp_path / name for name in files[1:])


def test_lots_that_all_have_defects_say_nothing_of_their_other_images(tmp_path):
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_unlisted(ImageFolder(tmp_path), ["a/0.png", "b/0.png"], ["a/0.png", "b/0.png"])
    assert found.images == (tmp_path / "a" / "1.png",)


def test_pictures_made_of_images_beside_them_are_not_taken(unlisted):
    files = ["0_overlay.png", "0_pred mask.png", "0_2.png", "00.png", "lonely_left.png"]
    assert unlisted(files, "0.png") == ["00.png", "0_2.png", "lonely_left.png"]
    assert unlisted(files, "0.png", field="doubtful") == ["0_overlay.png", "0_pred mask.png"]


def test_a_folder_of_many_folders_is_not_scanned_for_each(tmp_path, monkeypatch):
    scans = Counter()
    subfolders = ImageFolder.subfolders

    def counted(folder, inner):
        scans[inner] += 1
        return subfolders(folder, inner)

    monkeypatch.setattr(ImageFolder, "subfolders", counted)
    names = [f"lots/{index}/image.png" for index in range(20)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    find_unlisted(ImageFolder(tmp_path), names, names[:1])
    assert max(scans.values()) <= 3
