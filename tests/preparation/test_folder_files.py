import sys

import pytest

from defectkit.preparation.folder_files import LocalFiles, subfolders


@pytest.fixture
def root(tmp_path):
    for name in ("a/1.png", "a/b/2.png", ".hidden/3.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    return tmp_path / "root"


def test_files_and_folders_are_listed_without_those_that_are_no_images(root):
    (root / "a" / "labels.png").touch()
    files = LocalFiles(root, follow_links=False, not_images=[root / "a" / "labels.png"])
    assert (files.problems("a"), files.problems("none")) == ({"1.png": ""}, {})
    assert (files.subfolders(""), files.subfolders("none")) == (["a"], [])
    assert files.path("a/1.png") == root.resolve() / "a" / "1.png"
    assert subfolders(root / "a") == ["b"]


def test_the_folders_beside_are_all_but_the_folder_itself(root):
    (root.parent / "good").mkdir()
    files = LocalFiles(root, follow_links=False, not_images=[])
    assert files.beside() == [root.parent.resolve() / "good"]


@pytest.mark.skipif(sys.platform == "win32", reason="links")
@pytest.mark.parametrize("follow_links", [False, True])
def test_links_out_of_the_folder_are_followed_if_asked_for(root, follow_links):
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "4.png").touch()
    (root / "out").symlink_to(root.parent / "outside")
    (root / "in").symlink_to(root / "a")
    (root / "a" / "link.png").symlink_to(root.parent / "outside" / "4.png")
    files = LocalFiles(root, follow_links=follow_links, not_images=[])
    assert files.is_searched("a")
    assert not files.is_searched("in")
    assert files.real("in") == files.real("a")
    assert (files.is_searched("out"), files.leads_outside("out")) == (
        follow_links,
        not follow_links,
    )
    assert ("4.png" in files.problems("out")) == follow_links
    assert bool(files.problems("a")["link.png"]) != follow_links
