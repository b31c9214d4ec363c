import os
from pathlib import Path

import pytest
from file_hashes import mark
from hypothesis import given
from hypothesis import strategies as st

from defectkit.errors import DefectkitWarning, ImageError
from defectkit.preparation.image_folder import FoundImage, ImageFolder
from defectkit.preparation.image_names import NoSuchImageError

OUTSIDE = "the image id leads outside the image folder"


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "root"
    (root / "line2").mkdir(parents=True)
    for name in ("0.png", "a.b.jpg", "plain", "UP.PNG", "notes.txt", "line2/0.png", "中文.png"):
        (root / name).touch()
    (tmp_path / "secret.png").touch()
    return root


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("0.png", "0.png"),
        ("0", "0.png"),
        ("a.b", "a.b.jpg"),
        ("plain", "plain"),
        ("UP", "UP.PNG"),
        ("line2/0", "line2/0.png"),
        ("中文", "中文.png"),
        ("notes.txt", "notes.txt"),  # is found; that it is no image is said when it is read
    ],
)
def test_files_are_found_with_and_without_their_extension(root, image_id, expected):
    found = FoundImage(root / expected, expected)
    assert ImageFolder(root).find(image_id) == ImageFolder(root).find_as_written(image_id) == found


@pytest.mark.parametrize(
    ("image_id", "expected", "how"),
    [
        ("up.png", "UP.PNG", "another case"),
        ("line2\\0.png", "line2/0.png", "other slashes"),
        ("C:\\data\\a.b.tif", "a.b.jpg", "part of the path, another extension"),
        ("%E4%B8%AD%E6%96%87.png", "中文.png", "URL-encoded"),
        (".hidden.png", ".hidden.png", ""),
    ],
)
def test_files_are_found_under_another_name_and_it_is_said(root, image_id, expected, how):
    (root / ".hidden.png").touch()
    assert ImageFolder(root).find(image_id) == FoundImage(root / expected, expected, how)


def test_files_below_are_found_where_one_fits(root):
    (root / "lot" / "1").mkdir(parents=True)
    (root / "lot" / "1" / "x.png").touch()
    (root / "lot" / "1" / "._y.png").touch()
    folder = ImageFolder(root)
    assert folder.find_as_written("x") is None
    assert folder.find("x").name == folder.find("1/x.png").name == "lot/1/x.png"
    for missing in ("y", "hidden"):
        with pytest.raises(NoSuchImageError):
            folder.find(missing)
    with pytest.raises(ImageError, match=r"fits several files \(0\.png, line2/0\.png\)"):
        folder.find("/data/0.png")


@pytest.mark.parametrize("image_id", ["1.png", "notes", "line2", "line2/"])
def test_what_is_not_there_is_refused(root, image_id):
    with pytest.raises(NoSuchImageError, match=f"no such image in {root}"):
        ImageFolder(root).find(image_id)


def test_the_nearest_name_is_said_of_a_missing_image(root):
    folder = ImageFolder(root)
    assert folder.hint_at_nearest("line3/UP_1.PNG") == "; the nearest name is UP.PNG"
    for image_id in ("quite-different", "UP.PNG", "../UP.PNG"):
        assert folder.hint_at_nearest(image_id) == ""


def test_files_of_the_labels_are_no_images(root):
    (root / "0.json").touch()
    labels = [root / "0.json", root / "line2" / ".." / "a.b.jpg"]
    folder = ImageFolder(root, not_images=labels)
    for image_id in ("a.b.jpg", "a.b"):
        with pytest.raises(NoSuchImageError):
            folder.find(image_id)
    with pytest.raises(ImageError):
        folder.find("0.json")


@pytest.mark.parametrize(
    "image_id",
    ["../secret.png", "..", "line2/../../secret.png", "..\\secret.png",
     "line2\\..\\..\\secret.png", "C:\\..\\secret.png", "0.png\0.txt"],
)  # fmt: skip
def test_ids_that_lead_outside_are_refused(root, image_id):
    with pytest.raises(ImageError, match=OUTSIDE):
        ImageFolder(root).find(image_id)


@pytest.mark.parametrize(
    "image_id",
    ["/etc/passwd", "C:\\secret.png", "C:secret.png", "\\\\host\\share\\secret.png",
     "%2e%2e/secret.png", "..%2fsecret.png"],
)  # fmt: skip
def test_of_other_paths_only_the_end_counts(root, image_id):
    with pytest.raises(NoSuchImageError):
        ImageFolder(root).find(image_id)


@given(image_id=st.text(alphabet="./\\ab0:\0%2epngC", max_size=14))
def test_no_id_leads_outside(image_id, tmp_path_factory):
    base = tmp_path_factory.getbasetemp() / "outside"
    (base / "root" / "a").mkdir(parents=True, exist_ok=True)
    for name in ("0.png", "b.png", "root/0.png", "root/a/b.png"):
        (base / name).touch()
    try:
        path = ImageFolder(base / "root").find(image_id).path
    except ImageError:
        return
    assert Path(os.path.realpath(path)).is_relative_to(base / "root")


def test_links_may_stay_inside_but_not_lead_outside(root, tmp_path):
    (root / "in.png").symlink_to(root / "0.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    (tmp_path / "alias").symlink_to(root)
    folder = ImageFolder(tmp_path / "alias")  # the image folder itself may be a link
    assert folder.find("in").path == root / "in.png"
    with pytest.raises(ImageError, match="is a link to outside .* --follow-links reads it"):
        folder.find("out")
    with pytest.raises(NoSuchImageError, match="the folder up is a link: --follow-links reads it"):
        folder.find("up/secret.png")
    assert [*folder.folders()] == ["", "line2"]


def test_links_out_are_followed_where_that_is_asked_for(root, tmp_path):
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "far.png").touch()
    (tmp_path / "nas" / "back").symlink_to(root)
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "nas").symlink_to(tmp_path / "nas")
    (root / "loop").symlink_to(root)
    folder = ImageFolder(root, follow_links=True)
    assert folder.find("out").path == root / "out.png"
    assert folder.find("nas/far").name == folder.find("far").name == "nas/far.png"
    assert [*folder.folders()] == ["", "line2", "nas"]


def test_a_broken_link_is_said_to_be_one(root):
    (root / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(ImageError, match="the file is a link to one that does not exist"):
        ImageFolder(root).find("gone")


def test_pictures_that_were_made_of_images_are_not_taken_for_them(root):
    made = ["line2/overlays/x.png", "masks/x.png", "labels/x.png", "@eaDir/x.png"]
    for name in made:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    with pytest.raises(NoSuchImageError):
        ImageFolder(root).find("x.png")
    assert ImageFolder(root / "masks").find("x").name == "x.png"  # That is the one that was named.
    assert ImageFolder(root).find("masks/x").name == "masks/x.png"


@pytest.mark.check(52)
def test_results_of_a_command_are_no_images_and_what_lies_beside_them_is(root):
    for name in ("line3/findings.csv", "line3/drawn.png", "line3/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    mark(root / "line3", ["findings.csv", "drawn.png"])
    assert ImageFolder(root).find("x").name == "line3/x.png"
    with pytest.raises(NoSuchImageError):
        ImageFolder(root).find("drawn")


@pytest.mark.check(53)
def test_a_folder_that_cannot_be_listed_is_told(root, refuse):
    refuse(root / "line2")
    with pytest.warns(DefectkitWarning, match=r"line2: Permission denied; no image in it is found"):
        assert list(ImageFolder(root).folders()) == [""]
    with pytest.raises(ImageError, match=r"cannot list the folder .*line2: Permission denied"):
        ImageFolder(root).find("line2/0.png")


def test_a_folder_that_was_forgotten_is_listed_again(root):
    folder = ImageFolder(root)
    assert folder.find("up.png").name == "UP.PNG"
    (root / "new.png").touch()
    with pytest.raises(NoSuchImageError):
        folder.find("new")
    folder.forget()
    assert folder.find("new").name == "new.png"
    assert folder.find("NEW.PNG").how == "another case"
