import csv
import errno
import io
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_training import train_tiny

import defectkit
from defectkit import files
from defectkit.config import Config, save_config
from defectkit.control_characters import has_controls
from defectkit.data.images import write_png
from defectkit.errors import DiskFullError, OutputError
from defectkit.files import (
    TEMP_MARK,
    atomic_write,
    check_place,
    ensure_writable,
    read_csv,
    read_json,
    read_limited,
    safe_name,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_csv,
    write_json,
    write_pieces,
    write_text,
)
from defectkit.reporting.drawing.gif import write_gif
from defectkit.results_marker import UNFINISHED

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tricky = st.sampled_from(
    ["=cmd|'/C calc'!A0", "+1", "-1", "@x", "\tx", "\rx", "\n=1", "\uff1d1", "\uff0d1", "'",
     "''=1", "'=1",
     "'x", '"', '""', "a\nb", "a\r\nb",
     "a\rb", ",", "\0", "\ufeff", " ", "", "NA", "007", "1e5", "\x85", "\u2028", "\x1c"]
)  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_and_its_folders_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"\0\1")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\0\1"
    assert names(tmp_path / "a" / "b") == ["c.bin"]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_failed_write_leaves_the_old_file_and_no_stray(failure, tmp_path):
    target = tmp_path / "target"
    target.write_text("old")

    def write() -> None:
        with atomic_write(target) as temp:
            assert temp.parent == tmp_path
            assert TEMP_MARK in temp.name
            temp.write_text("half of the n")
            assert target.read_text() == "old"
            raise failure

    expected = OutputError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["target"]


@pytest.fixture
def watched(monkeypatch):
    """The calls of fsync and rename with their paths, in order."""
    done = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        done.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(("rename", Path(source), Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return done


def in_order(done: list[tuple]) -> set[Path]:
    """Return the files that were renamed, each of which must be synced before, its folder after."""
    synced, renamed = set[Path](), set[Path]()
    for place, call in enumerate(done):
        if call[0] == "fsync":
            synced.add(call[1])
            continue
        _, temp, target = call
        assert temp in synced
        if UNFINISHED in temp.parts and TEMP_MARK not in temp.name:  # one of many results
            assert ("fsync", target.parent) in done[place:]
        else:
            assert TEMP_MARK in temp.name
            assert temp.parent == target.parent
            assert done[place - 1] == ("fsync", temp)
            assert done[place + 1] == ("fsync", target.parent)
        synced.add(target)
        renamed.add(target)
    return renamed


WRITERS = {
    "x.json": lambda path: write_json(path, {"a": 1}),
    "x.csv": lambda path: write_csv(path, ["a"], [[1]]),
    "x.txt": lambda path: write_text(path, "new"),
    "x.png": lambda path: write_png(path, np.zeros((4, 4), np.uint8)),
    "x.gif": lambda path: write_gif(path, [np.zeros((4, 4, 3), np.uint8)] * 2),
    "x.yaml": lambda path: save_config(Config(), path),
}


@pytest.mark.check(24)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="handles cannot be named here")
@pytest.mark.parametrize("name", WRITERS)
def test_bytes_are_on_disk_before_the_rename_and_the_folder_after_it(name, tmp_path, watched):
    WRITERS[name](tmp_path / name)
    assert len(watched) == 3
    assert in_order(watched) == {tmp_path / name}


@pytest.mark.slow
@pytest.mark.check(24)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="handles cannot be named here")
def test_every_file_that_a_command_writes_is_synced_and_renamed(
    source_csv, tmp_path, quiet, watched
):
    dataset, run = tmp_path / "dataset", tmp_path / "run"
    defectkit.prepare(source_csv, out=dataset, split="0.5/0.25/0.25", console=quiet)
    train_tiny(dataset, run, "model.architecture=pixel_net", "data.crop=32", "train.epochs=1")
    defectkit.evaluate(run, device="cpu", console=quiet)
    defectkit.inspect(run, source_csv.parent, out=tmp_path / "seen", device="cpu", console=quiet)
    defectkit.compare(run, out=tmp_path / "compared", device="cpu", console=quiet)
    # A lock holds nothing: another process must find it under its name.
    written = {
        path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    }
    assert {path.suffix for path in written} == {
        *(".json", ".csv", ".png", ".gif", ".yaml", ".html", ".safetensors"),
    }
    assert written <= in_order(watched)


@pytest.mark.check(24)
def test_new_folders_are_on_disk_too(tmp_path, watched):
    write_bytes(tmp_path / "a" / "b" / "x", b"")
    synced = [call[1] for call in watched if call[0] == "fsync"]
    assert synced[:2] == [tmp_path / "a", tmp_path]
    assert in_order(watched) == {tmp_path / "a" / "b" / "x"}


@pytest.mark.slow
@pytest.mark.check(24)
@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
def test_the_kernel_sees_them_in_this_order(tmp_path):
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fsync,rename,renameat,renameat2"]
    command = [sys.executable, "-m", "defectkit.cli", "synth", str(tmp_path / "out")]
    ended = subprocess.run(
        [*strace, *command, "--images", "2", "--size", "128"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in ended.stderr:
        pytest.skip("tracing is not permitted here")
    assert ended.returncode == 0, ended.stderr
    done: list[tuple] = []
    waiting: dict[str, str] = {}  # what another thread interrupts is written in two lines
    for line in trace.read_text().splitlines():
        thread = line.split()[0]
        if begun := re.search(r"fsync\(\d+<(.*)> <unfinished", line):
            waiting[thread] = begun[1]
        elif re.search(r"fsync resumed>\) += 0", line):
            done.append(("fsync", Path(waiting.pop(thread))))
        elif synced := re.search(r"fsync\(\d+<(.*)>\) += 0", line):
            done.append(("fsync", Path(synced[1])))
        elif str(tmp_path) in line and (renamed := re.findall(r'"(.*?)"', line)):
            done.append(("rename", *map(Path, renamed)))
    written = {
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".lock"
    }
    assert {path.suffix for path in written} == {".csv", ".json", ".png"}
    assert written <= in_order(done)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left on device. Free some space or choose another folder."),
     (errno.EROFS, "Read-only file system. Choose another folder."),
     (errno.EACCES, "Permission denied. Choose a folder that you may write to."),
     (errno.ENAMETOOLONG, "File name too long. Choose a shorter name."),
     (errno.ENOLCK, "No locks available. The file system has no locks: choose a folder on a ")],
)  # fmt: skip
def test_a_disk_that_refuses_is_said_with_the_way_out(number, words, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=f"cannot write .*x: {re.escape(words)}") as caught:
        write_bytes(tmp_path / "x", b"new")
    assert isinstance(caught.value, DiskFullError) == (number == errno.ENOSPC)
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.check(12)
def test_a_file_system_that_is_really_full_leaves_the_old_file(tmp_path):
    # A limit on file size is what a full disk is to a write: it fails half-way.
    write_bytes(tmp_path / "x", b"old")
    code = (
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from defectkit.files import write_bytes\n"
        "from defectkit.errors import DiskFullError\n"
        "try: write_bytes(sys.argv[1], bytes(10**6))\n"
        "except DiskFullError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "cannot write" in ended.stdout
    assert "File too large" in ended.stdout
    assert (tmp_path / "x").read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_a_parent_that_is_a_file_is_said_plainly(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot write .*x: (Not a directory|File exists)"):
        write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(OutputError, match=r"cannot write .*x: (Not a directory|File exists)"):
        write_bytes(tmp_path / "file" / "folder" / "x", b"")
    assert (tmp_path / "file").read_text() == "mine"


def test_windows_is_given_time_to_let_go_of_a_file(tmp_path, monkeypatch):
    attempts = []
    replace = os.replace

    def held_twice(source: Path, target: Path) -> None:
        attempts.append(target)
        if len(attempts) < 3:
            raise PermissionError(13, "held by a scanner")
        replace(source, target)

    temp, target = tmp_path / "new", tmp_path / "target"
    temp.write_text("new")
    monkeypatch.setattr(os, "replace", held_twice)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    with pytest.raises(PermissionError):
        files.replace_file(temp, target)
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        files.replace_file(temp, target)
    assert len(attempts) == 3
    assert target.read_text() == "new"


@pytest.mark.check(38)
@given(rows=st.lists(st.tuples(texts | tricky, texts | tricky), max_size=5))
@example(rows=[("=1", "a\rb"), ("", "")])
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_a_csv(rows, tmp_path):
    write_csv(tmp_path / "x.csv", ["first", "second"], rows)
    assert read_csv(tmp_path / "x.csv") == [{"first": a, "second": b} for a, b in rows]


FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.check(38)
@given(cell=texts | tricky | st.tuples(st.sampled_from(FORMULAS), texts).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cell_is_a_formula_to_a_spreadsheet(cell, tmp_path):
    write_csv(tmp_path / "x.csv", ["x", f"{cell}!"], [[cell, 1]])
    raw = (tmp_path / "x.csv").read_bytes().decode()
    for row in csv.reader(io.StringIO(raw, newline="")):
        assert not any(shown.startswith(FORMULAS) for shown in row)
    assert read_csv(tmp_path / "x.csv") == [{"x": cell, f"{cell}!": "1"}]


@pytest.mark.check(38)
def test_numbers_and_nothing_are_written_as_they_are(tmp_path):
    numbers = [-1, None, 2.5, -0.5, np.float32(-0.25), np.int64(-7)]
    write_csv(tmp_path / "x.csv", "abcdef", [numbers])
    assert (tmp_path / "x.csv").read_text() == "a,b,c,d,e,f\n-1,,2.5,-0.5,-0.25,-7\n"
    (row,) = read_csv(tmp_path / "x.csv")
    assert [*row.values()] == ["-1", "", "2.5", "-0.5", "-0.25", "-7"]


def test_cells_may_be_as_long_as_they_like(tmp_path):
    long = "1 2 " * 100_000
    write_csv(tmp_path / "x.csv", ["rle"], [[long]])
    assert read_csv(tmp_path / "x.csv") == [{"rle": long}]


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n"])
def test_a_row_of_another_length_is_refused(text, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=r"x\.csv: line 2 has [13] cells but the header 2"):
        read_csv(tmp_path / "x.csv")


def test_json_is_readable_and_strict(tmp_path):
    content = {"name": "零件", "rate": 0.1, "none": None, "nested": {"list": [1, 2]}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    assert "零件" in (tmp_path / "x.json").read_text(encoding="utf-8")
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range float values"):
            write_json(tmp_path / "x.json", {"x": value})
    assert read_json(tmp_path / "x.json") == content


def test_json_that_none_of_ours_can_be_is_not_read(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="it is nested too deeply"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[1,2]")
    assert read_json(tmp_path / "x.json", 5) == [1, 2]
    (tmp_path / "x.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="it is larger than the limit of 5 bytes"):
        read_json(tmp_path / "x.json", 5)


def test_text_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "x.txt", "a\nb\n")
    assert (tmp_path / "x.txt").read_bytes() == b"a\nb\n"


def test_hashes(tmp_path):
    content = os.urandom(3_000_001)
    write_bytes(tmp_path / "x", content)
    assert sha256_file(tmp_path / "x") == sha256_bytes(content)
    assert sha256_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_ensure_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    folder = ensure_writable(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert names(folder) == []


def test_a_place_is_checked_without_making_it(tmp_path):
    check_place(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputError, match="a is a file, not a folder"):
        check_place(tmp_path / "a" / "b")


def test_ensure_writable_removes_strays_of_killed_writes_only(tmp_path):
    for name in (f"{TEMP_MARK}12-x", "kept.txt"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, time.time() - files.STRAY_SECONDS - 60))
    ensure_writable(tmp_path)
    assert names(tmp_path) == ["kept.txt"]


def test_ensure_writable_removes_every_stray_in_a_folder_of_ones_own(tmp_path):
    (tmp_path / f"{TEMP_MARK}12-x").write_text("x")
    ensure_writable(tmp_path, owned=True)
    assert names(tmp_path) == []


def test_ensure_writable_leaves_the_live_writes_of_others_alone(tmp_path):
    (tmp_path / "inner").mkdir()
    with atomic_write(tmp_path / "x") as mine, atomic_write(tmp_path / "inner" / "y") as other:
        for temp in (mine, other):
            temp.write_text("whole")
        os.utime(other, (0, 0))  # Other folders are no business of this one.
        ensure_writable(tmp_path)
    assert (tmp_path / "x").read_text() == "whole"
    assert (tmp_path / "inner" / "y").read_text() == "whole"


def test_two_may_ensure_writable_at_once(tmp_path, monkeypatch):
    probes = []

    def written(path: Path, content: bytes) -> None:
        probes.append(path)
        if len(probes) == 1:
            ensure_writable(tmp_path)
        write_bytes(path, content)

    monkeypatch.setattr(files, "write_bytes", written)
    ensure_writable(tmp_path)
    assert len({*probes}) == 2
    assert names(tmp_path) == []


def test_a_stray_that_another_process_removes_first_is_no_error(tmp_path, monkeypatch):
    stray = tmp_path / f"{TEMP_MARK}12-x"
    stray.write_text("x")
    os.utime(stray, (0, 0))
    unlink = Path.unlink

    def other_is_first(path: Path, **options: bool) -> None:
        unlink(path)
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", other_is_first)
    ensure_writable(tmp_path)
    assert names(tmp_path) == []


def test_ensure_writable_does_not_touch_a_file_of_the_users(tmp_path):
    (tmp_path / "writable").write_text("mine")
    ensure_writable(tmp_path)
    assert (tmp_path / "writable").read_text() == "mine"


def test_ensure_writable_refuses_a_file_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file is a file, not a folder\. Choose another"):
        ensure_writable(tmp_path / "file")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    told = f"cannot write {tmp_path}: Permission denied. Choose a folder that you may write to."
    with pytest.raises(OutputError, match=f"^{re.escape(told)}$"):
        ensure_writable(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_ensure_writable_sees_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write .*Permission denied"):
        ensure_writable(tmp_path / "run")
    tmp_path.chmod(0o700)


@given(first=st.text(max_size=100), second=st.text(max_size=100))
def test_safe_names_are_safe_and_differ(first, second):
    name = safe_name(first)
    assert re.fullmatch(r"[\w-][\w.-]*", name)
    assert first == second or name != safe_name(second)
    if first != second:
        one, other = (safe_name(text, caseless=True) for text in (first, second))
        assert one.casefold() != other.casefold()


@pytest.mark.parametrize(
    ("one", "other"), [("Scratch", "scratch"), ("LOT", "lot"), ("stra\u00dfe", "strasse")]
)
def test_caseless_names_differ_where_case_does_not_count(one, other):
    assert safe_name(one).casefold() == safe_name(other).casefold()
    assert safe_name(one, caseless=True).casefold() != safe_name(other, caseless=True).casefold()
    assert safe_name(other, caseless=True) == other


@pytest.mark.parametrize("text", ["con", "NUL.png", "com1.jpg", "../../etc/passwd", "..", "C:x"])
def test_safe_names_are_no_devices_and_no_paths(text):
    name = safe_name(text)
    assert Path(name).name == name
    assert name.split(".")[0].lower() not in {"con", "nul", "com1", ""}
    assert not set(name) & set('/\\:*?"<>|')


@pytest.mark.parametrize("letter", ["x", "\u5212", "\U0002070e"])
def test_safe_names_of_long_texts_can_be_written_with_what_is_added(letter, tmp_path):
    name = f"2-overkill-{safe_name(letter * 200)}.png"
    write_bytes(tmp_path / name, b"")
    assert names(tmp_path) == [name]


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path):
    write_text(tmp_path / "x.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == r"caf\udce9"


@pytest.mark.check(59)
def test_json_has_no_control_characters_as_they_are(tmp_path):
    content = {"a\x1b\x7f\x9b": "\u202e\U000e0041\udce9 零件"}
    write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert not has_controls(text.replace("\n", ""))
    assert "零件" in text
    assert read_json(tmp_path / "x.json") == content


@pytest.mark.check(58)
@pytest.mark.skipif(os.name == "nt", reason="devices and pipes as Linux has them")
@pytest.mark.parametrize("read", [read_limited, read_csv, read_json, sha256_file])
def test_what_has_no_end_is_not_read(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(ValueError, match="it is not a regular file, but a device, a pipe"):
            read(path)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    with pytest.raises(ValueError, match="it is larger than the limit of"):
        read(tmp_path / "sparse")


@pytest.mark.check(58)
@pytest.mark.skipif(sys.platform != "linux", reason="files of Linux's kernel")
def test_a_file_that_has_more_than_its_size_is_not_read():
    with pytest.raises(ValueError, match="it has more bytes than its size says"):
        read_limited("/proc/self/pagemap")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_limited(tmp_path, 2**20)


def test_pieces_that_do_not_all_come_leave_the_earlier_file(tmp_path):
    write_pieces(tmp_path / "a", (piece for piece in (b"one ", b"two")))
    assert (tmp_path / "a").read_bytes() == b"one two"

    def broken():
        yield b"three"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_pieces(tmp_path / "a", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"one two"
