"""Results are replaced as a whole, and nothing of the user's is touched."""

import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest
from file_hashes import hashes_of, mark, mark_unfinished
from killing import is_killed

from defectkit.errors import ConfigError, DiskFullError, OutputError
from defectkit.files import write_csv, write_text
from defectkit.results_folder import hold_lock, write_results
from defectkit.results_marker import LOCK, MARKER, UNFINISHED, Marker

HEAD = "findings.csv"
FIRST = {HEAD: "1", "overlays/a.png": "1a", "overlays/b.png": "1b"}
SECOND = {HEAD: "2", "overlays/b.png": "2b", "overlays/deep/c.png": "2c"}

pytestmark = pytest.mark.check(52)


def write(out, files, **options):
    with write_results(out, kind="inspection", head=HEAD, **options) as results:
        for name, text in files.items():
            write_text(results.folder / name, text)
    return results


def content(folder):
    """The texts of the files in a folder, by name, without the marker and the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MARKER, LOCK)
    }


def test_new_results_take_the_place_of_earlier_ones(tmp_path):
    write(tmp_path / "out", FIRST)
    assert content(tmp_path / "out") == FIRST
    sizes = {name: len(text) for name, text in FIRST.items()}
    assert Marker.read(tmp_path / "out") == Marker("inspection", True, sizes)
    write(tmp_path / "out", SECOND)
    assert content(tmp_path / "out") == SECOND
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [MARKER, LOCK, HEAD, "overlays"]
    )


def test_folders_that_became_empty_are_removed(tmp_path):
    write(tmp_path, SECOND)
    (tmp_path / "empty").mkdir()
    write(tmp_path, {HEAD: "3"})
    assert not (tmp_path / "overlays").exists()
    assert (tmp_path / "empty").exists()


def test_files_of_the_user_stay(tmp_path):
    write_text(tmp_path / "overlays" / "mine.png", "mine")
    for files in (FIRST, SECOND):
        write(tmp_path, files)
        assert content(tmp_path) == {**files, "overlays/mine.png": "mine"}


def test_a_file_of_the_user_in_the_way_is_refused_before_any_work(tmp_path):
    for name in (HEAD, "overlays/a.png"):
        out = tmp_path / Path(name).stem
        write_text(out / name, "mine")
        before = hashes_of(out)
        with pytest.raises(OutputError, match=rf"{name} is not a file that this .* another folder"):
            write(out, {}, names=FIRST)
        assert {path: value for path, value in hashes_of(out).items() if path != LOCK} == before


def test_a_file_of_the_user_in_the_way_is_seen_at_the_end_at_last(tmp_path):
    write_text(tmp_path / "overlays" / "a.png", "mine")
    message = r"a\.png is not a file that this command wrote.* The results are in .*unfinished"
    with pytest.raises(OutputError, match=message):
        write(tmp_path, FIRST)
    assert content(tmp_path)["overlays/a.png"] == "mine"
    assert content(tmp_path / UNFINISHED) == FIRST


def test_a_file_that_is_the_same_is_in_nobodys_way(tmp_path):
    write_text(tmp_path / "overlays" / "a.png", FIRST["overlays/a.png"])
    write(tmp_path, FIRST)
    assert content(tmp_path) == FIRST


def test_a_file_that_was_changed_is_the_user_s(tmp_path):
    write(tmp_path, FIRST)
    write_text(tmp_path / "overlays" / "a.png", "my photo")
    write(tmp_path, {HEAD: "2"})
    assert content(tmp_path) == {HEAD: "2", "overlays/a.png": "my photo"}
    write_text(tmp_path / HEAD, "my notes")
    with pytest.raises(OutputError, match=r"csv was changed since this .* it\. Move it away, or"):
        write(tmp_path, FIRST)
    assert content(tmp_path) == {HEAD: "my notes", "overlays/a.png": "my photo"}


def test_files_may_be_adopted(tmp_path):
    write_text(tmp_path / HEAD, "mine")
    write_text(tmp_path / "overlays" / "old.png", "mine")
    write(tmp_path, FIRST, adopt=[HEAD, "overlays/old.png"])
    assert content(tmp_path) == FIRST


def test_results_of_an_earlier_version_are_replaced(tmp_path):
    write_csv(tmp_path / HEAD, ["image_id", "verdict", "score", "class_id", "rle"], [["a"] * 5])
    for name in ("regions.csv", "overlays/a.png", "overlays/mine.png"):
        write_text(tmp_path / name, "old")
    write(tmp_path, FIRST)
    assert content(tmp_path) == {**FIRST, "overlays/mine.png": "old"}


def test_no_source_is_replaced(tmp_path):
    write(tmp_path, FIRST)
    (tmp_path / "link").symlink_to("overlays")
    mine = tmp_path / "overlays" / "mine.png"
    write_text(mine, "mine")
    for folder in ("overlays", "link"):
        with pytest.raises(OutputError, match=r"b\.png is an earlier result, which this would"):
            write(tmp_path, SECOND, sources=[mine, tmp_path / folder / "b.png"])
    assert content(tmp_path / "overlays") == {"a.png": "1a", "b.png": "1b", "mine.png": "mine"}
    write(tmp_path, SECOND, sources=[mine])


def test_a_damaged_marker_is_told(tmp_path):
    write(tmp_path, FIRST)
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(OutputError, match=r"is damaged\.\)"):
        write(tmp_path, SECOND)
    assert content(tmp_path) == FIRST


def test_no_link_is_followed(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    write(out, FIRST)
    (out / "overlays").rename(elsewhere)
    (out / "overlays").symlink_to(elsewhere)
    write(out, {HEAD: "3"})
    with pytest.raises(OutputError, match="overlays is no folder"):
        write(out, SECOND, names=SECOND)
    assert content(elsewhere) == {"a.png": "1a", "b.png": "1b"}
    assert (out / "overlays").is_symlink()
    (out / HEAD).unlink()
    (out / HEAD).symlink_to(elsewhere / "a.png")
    with pytest.raises(OutputError, match=rf"{HEAD} is not a file"):
        write(out, {HEAD: "4"})
    assert (out / HEAD).is_symlink()


def test_a_folder_of_the_user_called_unfinished_stays(tmp_path):
    write_text(tmp_path / UNFINISHED / "photo.png", "mine")
    with pytest.raises(OutputError, match="unfinished is not a folder of defectkit"):
        write(tmp_path, FIRST)
    assert content(tmp_path) == {"unfinished/photo.png": "mine"}


def test_a_file_of_the_user_among_unfinished_results_stays(tmp_path):
    mark_unfinished(tmp_path / UNFINISHED)
    write_text(tmp_path / UNFINISHED / "overlays" / "a.png", "half")
    write_text(tmp_path / UNFINISHED / "notes.txt", "mine")
    with pytest.raises(OutputError, match=r"notes\.txt is not a file that this command wrote"):
        write(tmp_path, FIRST, names=FIRST)
    assert content(tmp_path / UNFINISHED) == {"overlays/a.png": "half", "notes.txt": "mine"}
    (tmp_path / UNFINISHED / "notes.txt").unlink()
    write(tmp_path, FIRST, names=FIRST)
    assert content(tmp_path) == FIRST


@pytest.mark.parametrize("kind", ["inspection", "suspects"])
def test_complete_results_and_those_of_another_command_are_no_unfinished_ones(tmp_path, kind):
    write_text(tmp_path / UNFINISHED / HEAD, "theirs")
    if kind == "inspection":
        mark(tmp_path / UNFINISHED, [HEAD])
    else:
        mark_unfinished(tmp_path / UNFINISHED, kind)
    with pytest.raises(OutputError, match="unfinished is not a folder of defectkit"):
        write(tmp_path, FIRST)
    assert content(tmp_path / UNFINISHED) == {HEAD: "theirs"}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(143)])
def test_after_a_failure_the_earlier_results_are_whole(tmp_path, error):
    def fail():
        with write_results(tmp_path, kind="inspection", head=HEAD) as results:
            write_text(results.folder / HEAD, "half")
            seen.append(results.if_failed(HEAD))
            raise error

    seen = []
    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == {HEAD: "half"}  # Where people look.
    assert Marker.read(tmp_path) == Marker("inspection", False, {HEAD: 4})
    write(tmp_path, FIRST)
    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == {**FIRST, f"{UNFINISHED}/{HEAD}": "half"}
    assert seen == [tmp_path / HEAD, tmp_path / UNFINISHED / HEAD]
    write(tmp_path, SECOND)
    assert content(tmp_path) == SECOND


def test_a_failure_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"):  # noqa: SIM117
        with write_results(tmp_path / "out", kind="inspection", head=HEAD):
            raise ValueError("no")
    assert content(tmp_path / "out") == {}
    assert not (tmp_path / "out" / UNFINISHED).exists()


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [FIRST, {}], ids=["second", "first"])
def test_killed_at_any_point_no_head_lies_beside_other_files(tmp_path, earlier, tally, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # It matters to a loss of power alone.
    mine = {"overlays/mine.png": "mine"}
    for last in range(1, 200):
        out = tmp_path / str(last)
        write_text(out / "overlays" / "mine.png", "mine")
        if earlier:
            write(out, earlier)
        killed = is_killed(partial(write, out, SECOND), at=last)
        with tally.case(last):
            now = {
                name: text
                for name, text in content(out).items()
                if not name.startswith((UNFINISHED, "."))
            }
            if HEAD in now:
                assert now in ({**earlier, **mine}, {**SECOND, **mine})
            assert now["overlays/mine.png"] == "mine"
            write(out, FIRST, names=FIRST)
            assert {
                name: text for name, text in content(out).items() if not name.startswith(".")
            } == {**FIRST, **mine}
        if not killed:
            break
    assert 12 < last < 199


def hold(out, entered, leave):
    with write_results(out, kind="inspection", head=HEAD) as results:
        write_text(results.folder / HEAD, "held")
        entered.set()
        leave.wait(60)


def test_a_second_writer_is_refused_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    entered, leave = spawn.Event(), spawn.Event()
    writer = spawn.Process(target=hold, args=(tmp_path, entered, leave))
    writer.start()
    try:
        assert entered.wait(60)
        with pytest.raises(OutputError, match=r"another process is writing to .*another folder"):
            write(tmp_path, FIRST)
    finally:
        leave.set()
        writer.join(60)
    assert content(tmp_path) == {HEAD: "held"}
    write(tmp_path, FIRST)
    assert content(tmp_path) == FIRST


def test_a_lock_is_free_again_after_an_error(tmp_path):
    busy = ConfigError("busy")
    with pytest.raises(ValueError, match="no"), hold_lock(tmp_path / "l", busy=busy):  # noqa: PT012
        with pytest.raises(ConfigError, match="busy"), hold_lock(tmp_path / "l", busy=busy):
            pass
        raise ValueError("no")
    with hold_lock(tmp_path / "l", busy=busy):
        pass


def test_a_lock_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "l").mkdir()
    with (
        pytest.raises(OutputError, match=r"cannot write .*l: "),
        hold_lock(tmp_path / "l", busy=ConfigError("busy")),
    ):
        pass


def test_a_disk_that_is_full_at_the_end_leaves_the_earlier_results(tmp_path, monkeypatch):
    write(tmp_path, FIRST)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError):  # noqa: PT012, SIM117
        with write_results(tmp_path, kind="inspection", head=HEAD) as results:
            write_text(results.folder / HEAD, "2")
            monkeypatch.setattr(os, "fsync", full)
    assert content(tmp_path)[HEAD] == "1"
