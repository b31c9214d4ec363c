"""Nothing in a folder may be lost without a word, and no link may lead out or around in circles."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from file_hashes import mark, mark_unfinished

from defectkit.data.image_search import search_images
from defectkit.data.images import write_png
from defectkit.errors import ImageError


def search(*given: Path | str, follow_links: bool = False, is_mask=lambda _: False):
    return search_images(given, follow_links=follow_links, is_mask=is_mask)


def ids(found) -> list[str]:
    return [file.image_id for file in found.files]


def problems(found) -> dict[str, str]:
    return {file.image_id: file.problem for file in found.files if file.problem}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_images_of_all_levels_are_found_in_the_order_of_their_paths(tmp_path):
    touch(tmp_path, "b.PNG", "a/2.jpg", "a/1.tif", "c.png/x.bmp")
    assert ids(search(tmp_path)) == ["a/1.tif", "a/2.jpg", "b.PNG", "c.png/x.bmp"]


@pytest.mark.check(53)
def test_documents_and_hidden_files_are_counted_by_kind(tmp_path):
    touch(tmp_path, "a.png", "x.json", "b.txt", "in/c.TXT", "d.txt", "README")
    touch(tmp_path, ".hidden", "._a.png", ".git/b.png", "Thumbs.db", "__MACOSX/a.png")
    found = search(tmp_path)
    assert ids(found) == ["a.png"]
    assert found.skipped == 10
    assert found.describe_skipped() == (
        "10 other files skipped: 5 hidden or of the system, 3 .txt, 1 without extension, 1 .json "
        "(._a.png, .git, .hidden, …)"
    )
    assert search(tmp_path / "a.png").describe_skipped() == ""
    assert search(tmp_path / "in", tmp_path / "a.png").describe_skipped() == (
        "1 other file skipped: 1 .txt (c.TXT)"
    )


@pytest.mark.check(53)
def test_a_file_of_no_known_kind_is_listed_and_one_that_is_an_image_is_inspected(tmp_path):
    touch(tmp_path, "a.png", "b.heic", "part", "c.zip")
    for name in ("scan", "scan.raw", "scan.txt"):
        write_png(tmp_path / name, np.zeros((8, 8), np.uint8))
    way_out = "Save the images that it has as PNG or TIFF, or move it away."
    assert problems(search(tmp_path)) == {
        name: f"unknown kind of file ({kind}). {way_out}"
        for name, kind in {"b.heic": ".heic", "c.zip": ".zip", "part": "without extension"}.items()
    }
    assert ids(search(tmp_path)) == [
        "a.png", "b.heic", "c.zip", "part", "scan", "scan.raw", "scan.txt",
    ]  # fmt: skip


@pytest.mark.check(53)
def test_what_a_command_wrote_is_counted_and_what_lies_beside_is_inspected(tmp_path):
    touch(tmp_path, "a.png", "out/findings.csv", "out/overlays/a.png.png", "out/mine.png")
    touch(tmp_path, "out/overlays/mine.png", "out/overlays/a.png.preview.jpg")
    touch(tmp_path, "out/unfinished/overlays/b.png")
    of_out = ["findings.csv", "overlays/a.png.png", "overlays/a.png.preview.jpg"]
    mark(tmp_path / "out", of_out)
    mark_unfinished(tmp_path / "out" / "unfinished")
    found = search(tmp_path)
    assert ids(found) == ["a.png", "out/mine.png", "out/overlays/mine.png"]
    assert found.describe_skipped().startswith("6 other files skipped: 6 results of defectkit (")


@pytest.mark.check(52)
def test_results_are_known_where_the_given_folder_lies_among_them(tmp_path):
    touch(tmp_path, "line/overlays/a.png", "line/overlays/a.png.png", "line/findings.csv")
    mark(tmp_path / "line", ["findings.csv", "overlays/a.png.png"])
    found = search(tmp_path / "line" / "overlays")
    assert ids(found) == ["a.png"]
    assert found.others == {"results of defectkit": ["a.png.png"]}


@pytest.mark.check(53)
def test_masks_are_counted_and_are_images_where_they_are_given_themselves(tmp_path):
    touch(tmp_path, "masks/a.png", "masks/b.png", "c.png")

    def find(*given: Path):
        return search(*given, is_mask=lambda path: path.parent.name == "masks")

    found = find(tmp_path)
    assert ids(found) == ["c.png"]
    assert found.others == {"masks of --roi": ["masks/a.png", "masks/b.png"]}
    assert ids(find(tmp_path, tmp_path / "masks" / "a.png")) == ["c.png", "a.png"]
    touch(tmp_path, "masks/c.zip")
    with pytest.raises(ImageError, match=r"2 other files skipped: 2 masks of --roi"):
        search(tmp_path / "masks", is_mask=lambda path: path.suffix == ".png")


@pytest.mark.check(53)
def test_without_an_image_the_error_says_what_is_there_instead(tmp_path):
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(
        ImageError, match=r"no image in .* \(2 other files skipped: 2 \.txt \(a\.txt, b\.txt\)\)"
    ):
        search(tmp_path)
    touch(tmp_path, "a.raw", "b.raw", "c.raw", "d.raw")
    with pytest.raises(ImageError, match=r"/a\.raw: unknown kind of file .* and 1 more\."):
        search(tmp_path)


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone.png", r"cannot find .*gone\.png \(No such file or directory\): check the path"),
        ("*.bmp", r"cannot find .*\*\.bmp \(No such file .*: no file fits the pattern"),
        ("dead.png", r"cannot find .*dead\.png"),
        ("a\0.png", "cannot find .*null"),
    ],
)
def test_what_is_given_must_be_there(given, message, tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=message):
        search(tmp_path / "a.png", f"{tmp_path}/{given}")
    with pytest.raises(ImageError, match="an empty text is no path of images"):
        search(tmp_path / "a.png", "")


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
    told = problems(found)
    assert set(told) == {"file.png", "far", "dead.png", "lost.png"}
    for name in ("file.png", "far"):
        assert told[name].startswith(f"the link leads out of {linked}. Give")
        assert "--follow-links" in told[name]
    assert told["dead.png"] == told["lost.png"] == "the link leads nowhere."
    assert [file.image_id for file in found.files if not file.problem] == [
        "a.png", "line 1/b.png", "same.png",
    ]  # fmt: skip
    assert found.others == {
        ".txt": ["notes.txt"],
        "links to folders that were searched": ["line 1/loop"],
    }


def test_links_are_followed_when_asked_and_loops_end(linked):
    found = search(linked, follow_links=True)
    assert ids(found) == [
        "a.png", "dead.png", "far/y.png", "file.png", "line 1/b.png", "lost.png",
        "same.png",
    ]  # fmt: skip
    assert [file.image_id for file in found.files if file.problem] == ["dead.png", "lost.png"]


@pytest.mark.check(53)
def test_ids_are_unique_and_as_short_as_can_be(tmp_path, monkeypatch):
    touch(tmp_path, "one/a.png", "two/a.png", "b.scan", "two/c.png", "one/one/a.png")
    monkeypatch.chdir(tmp_path)
    given = [Path(name) for name in ("one", "two", "b.scan", "one/../two/c.png")]
    # one/a.png is the path of one file as given, and of the other below the folder one.
    assert ids(search(*given)) == [
        (tmp_path / "one/a.png").as_posix(), "one/one/a.png", "two/a.png",
        "c.png", "b.scan",
    ]  # fmt: skip
    assert ids(search(Path("one"), Path("one/one"), Path("one/one/a.png"))) == [
        "a.png", "one/a.png",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.check(53)
def test_a_pipe_is_listed_and_not_waited_for(tmp_path):
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    why = "it is no file, but a pipe, a socket or a device."
    assert problems(search(tmp_path)) == {"pipe": why, "pipe.png": why}


@pytest.mark.check(53)
def test_folders_and_files_that_cannot_be_read_are_listed(tmp_path, refuse):
    touch(tmp_path, "a.png", "shut/b.png", "deep/c.png", "no.scan")
    refuse(tmp_path / "shut", tmp_path / "deep", tmp_path / "no.scan")
    why = "cannot list the folder: Permission denied."
    assert problems(search(tmp_path)) == {
        "deep": why, "no.scan": "cannot be read: Permission denied.", "shut": why,
    }  # fmt: skip
    with pytest.raises(ImageError, match=r"no image in .*shut: cannot list the folder"):
        search(tmp_path / "shut")
