"""Every entry of a folder is given, and no walk ends in a circle or on a long path."""

import os
from pathlib import Path

import pytest

from defectkit.data.folder_walk import walk_folder


def kinds(folder: Path, **options) -> dict[str, str]:
    return {entry.name: entry.kind for entry in walk_folder(folder, **options)}


@pytest.mark.check(53)
def test_links_in_circles_are_given_and_followed_nowhere(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    for follow_links in (False, True):
        entries = {one.name: one for one in walk_folder(tmp_path, follow_links=follow_links)}
        assert entries["a"].problem == entries["b"].problem == "the link leads in a circle."
        assert entries["inner/up"].kind == "seen"
        assert len(entries) == 3


@pytest.mark.check(53)
def test_thousands_of_nested_folders_are_walked_through(tmp_path):
    folder = tmp_path
    for _ in range(1200):
        folder /= "f"
        folder.mkdir()
    (folder / "a.png").touch()
    try:
        assert kinds(tmp_path) == {"f/" * 1200 + "a.png": "file"}
    finally:  # shutil cannot remove them all.
        (folder / "a.png").unlink()
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


@pytest.mark.check(53)
def test_a_folder_whose_path_is_too_long_is_given_as_one_that_cannot_be_listed(tmp_path):
    name, depth = "f" * 200, 0
    handle = os.open(tmp_path, os.O_RDONLY)
    while depth < 25:  # Paths have up to 4,096 bytes: deeper folders are made one in the other.
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle, depth = inner, depth + 1
    os.close(handle)
    (entry,) = walk_folder(tmp_path)
    assert (entry.kind, entry.problem) == (
        "not listed",
        "cannot list the folder: File name too long.",
    )


@pytest.mark.check(53)
def test_a_folder_is_entered_once_by_its_own_path(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "b.png").touch()
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / ".store").mkdir()
    (tmp_path / ".store" / "c.png").touch()
    (tmp_path / "kept").symlink_to(tmp_path / ".store")
    (tmp_path / "same.png").symlink_to(tmp_path / "z" / "b.png")
    assert kinds(tmp_path) == {
        "z/b.png": "file", "a": "seen", ".store": "hidden", "kept/c.png": "file",
        "same.png": "file",
    }  # fmt: skip
