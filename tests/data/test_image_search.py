"""Nothing in a folder may be lost without a word, and no link may lead out or around in circles."""

import os
import sys
from pathlib import Path

import pytest

from defectkit.data.image_search import ImageFile, search_images
from defectkit.errors import ImageError


def search(*given: Path, results: Path = Path("nowhere"), follow_links: bool = False):
    return search_images(given, results=results, follow_links=follow_links)


def ids(found) -> list[str]:
    return [file.image_id for file in found.files]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_images_of_all_levels_are_found_in_the_order_of_their_paths(tmp_path):
    touch(tmp_path, "b.PNG", "a/2.jpg", "a/1.tif", "c.png/x.bmp")
    assert ids(search(tmp_path)) == ["a/1.tif", "a/2.jpg", "b.PNG", "c.png/x.bmp"]


def test_other_files_are_counted_by_extension_and_hidden_ones_are_not(tmp_path):
    touch(tmp_path, "a.png", "x.json", "b.txt", "in/c.TXT", "d.txt", "README")
    touch(tmp_path, ".hidden", "._a.png", ".git/b.png", "Thumbs.db", "__MACOSX/a.png")
    found = search(tmp_path)
    assert ids(found) == ["a.png"]
    assert found.describe_skipped() == (
        "5 other files skipped: 3 .txt, 1 without extension, 1 .json (README, b.txt, d.txt, …)"
    )
    (tmp_path / "x.json").unlink()
    for name in ("b.txt", "d.txt", "README"):
        (tmp_path / name).unlink()
    assert search(tmp_path).describe_skipped() == "1 other file skipped: 1 .txt (in/c.TXT)"
    assert search(tmp_path / "a.png").describe_skipped() == ""


def test_what_an_inspection_wrote_is_neither_inspected_nor_counted(tmp_path):
    touch(tmp_path, "a.png", "out/findings.csv", "out/errors.csv", "out/overlays/a.png.png")
    touch(tmp_path, "out/overlays/a.png.preview.jpg", "out/mine.png")
    found = search(tmp_path, results=tmp_path / "out")
    assert (ids(found), found.skipped) == (["a.png", "out/mine.png"], [])


def test_without_an_image_the_error_says_what_is_there_instead(tmp_path):
    touch(tmp_path, "a.raw", "b.raw")
    with pytest.raises(
        ImageError, match=r"no image in .* \(2 other files skipped: 2 \.raw \(a\.raw, b\.raw\)\)"
    ):
        search(tmp_path)


@pytest.fixture
def linked(tmp_path) -> Path:
    """A folder with links to a file and a folder outside, one inside, two loops and a dead one."""
    touch(tmp_path / "outside", "x.png", "deep/y.png", "notes.txt")
    folder = touch(tmp_path / "photos", "a.png", "line 1/b.png")
    (folder / "file.png").symlink_to(tmp_path / "outside" / "x.png")
    (folder / "far").symlink_to(tmp_path / "outside" / "deep")
    (folder / "same.png").symlink_to(folder / "a.png")
    (folder / "line 1" / "loop").symlink_to(folder)
    (tmp_path / "outside" / "deep" / "back").symlink_to(folder)
    (folder / "dead.png").symlink_to(folder / "gone.png")
    (folder / "lost.png").symlink_to(tmp_path / "outside" / "gone.png")
    (folder / "notes.txt").symlink_to(tmp_path / "outside" / "notes.txt")
    return folder


def test_a_link_that_leads_out_is_told_with_the_option_that_follows_it(linked):
    found = search(linked)
    problems = {file.image_id: file.problem for file in found.files if file.problem}
    assert set(problems) == {"file.png", "far", "dead.png", "lost.png"}
    for name in ("file.png", "far"):
        assert f"{name} is a link that leads out of {linked}" in problems[name]
        assert "--follow-links" in problems[name]
    assert problems["dead.png"] == problems["lost.png"] == "the link leads nowhere."
    assert [file.image_id for file in found.files if not file.problem] == [
        "a.png", "line 1/b.png", "same.png",
    ]  # fmt: skip
    assert found.skipped == ["notes.txt"]


def test_links_are_followed_when_asked_and_loops_end(linked):
    found = search(linked, follow_links=True)
    assert ids(found) == [
        "a.png", "dead.png", "far/y.png", "file.png", "line 1/b.png", "lost.png",
        "same.png",
    ]  # fmt: skip
    assert [file.image_id for file in found.files if file.problem] == ["dead.png", "lost.png"]


def test_a_given_file_counts_whatever_its_name_and_equal_names_become_paths(tmp_path):
    touch(tmp_path, "one/a.png", "two/a.png", "b.scan")
    given = [tmp_path / "one", tmp_path / "two", tmp_path / "b.scan"]
    assert ids(search(*given)) == [
        (tmp_path / "one/a.png").as_posix(), (tmp_path / "two/a.png").as_posix(), "b.scan",
    ]  # fmt: skip
    assert search(tmp_path / "gone.png").files == [
        ImageFile(image_id="gone.png", path=tmp_path / "gone.png")
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path):
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert ids(search(tmp_path)) == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list all")
def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    touch(tmp_path, "a.png", "shut/b.png")
    (tmp_path / "shut").chmod(0)
    try:
        problems = {file.image_id: file.problem for file in search(tmp_path).files}
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert problems["shut"] == "cannot list the folder: Permission denied."
