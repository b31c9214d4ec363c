import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.errors import ImageError
from defectkit.preparation.image_folder import ImageFolder

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
    assert ImageFolder(root).find(image_id) == root / expected


@pytest.mark.parametrize("image_id", ["1.png", "notes", "0.jpg", "line2", "line3/0.png", "line2/"])
def test_what_is_not_there_is_refused(root, image_id):
    with pytest.raises(ImageError, match=f"no such image in {root}"):
        ImageFolder(root).find(image_id)


@pytest.mark.parametrize(
    "image_id",
    [
        "../secret.png", "..", "line2/../../secret.png", "/etc/passwd", "C:\\x.png", "C:x.png",
        "\\\\host\\share\\x.png", "..\\secret.png", "line2\\..\\..\\secret.png", "0.png\0.txt",
    ],
)  # fmt: skip
def test_ids_that_lead_outside_are_refused(root, image_id):
    with pytest.raises(ImageError, match=OUTSIDE):
        ImageFolder(root).find(image_id)


@given(image_id=st.text(alphabet="./\\ab0:\0pngC", max_size=14))
def test_no_id_leads_outside(image_id, tmp_path_factory):
    base = tmp_path_factory.getbasetemp() / "outside"
    (base / "root" / "a").mkdir(parents=True, exist_ok=True)
    for name in ("0.png", "b.png", "root/0.png", "root/a/b.png"):
        (base / name).touch()
    try:
        path = ImageFolder(base / "root").find(image_id)
    except ImageError:
        return
    assert Path(os.path.realpath(path)).is_relative_to(base / "root")


def test_links_may_stay_inside_but_not_lead_outside(root, tmp_path):
    (root / "in.png").symlink_to(root / "0.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(root)
    folder = ImageFolder(tmp_path / "alias")  # the image folder itself may be a link
    assert folder.find("in") == root / "in.png"
    with pytest.raises(ImageError, match="the file is a link to outside the image folder"):
        folder.find("out")
    with pytest.raises(ImageError, match="no such image"):
        folder.find("up/secret.png")
    assert folder.unused_images([root / "0.png", root / "UP.PNG"]) == [
        root / "a.b.jpg",
        root / "in.png",
        root / "中文.png",
    ]


def test_unused_images_are_looked_for_beside_the_used_images_only(root):
    folder = ImageFolder(root)
    assert folder.unused_images([root / "line2" / "0.png"]) == []
    (root / "line2" / "1.png").touch()
    assert ImageFolder(root).unused_images([root / "line2" / "0.png"]) == [root / "line2" / "1.png"]
