"""Names that would lead out of the folders: nothing outside is read, listed or written."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import defectkit
from defectkit.data.images import write_png
from defectkit.errors import ConfigError, LabelError, OutputError
from defectkit.files import read_csv, safe_name
from defectkit.labels import rle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as Linux has them")

SIDE = 96
MASK = rle.encode(np.eye(SIDE))
TOUCHING = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
            "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime")  # fmt: skip
"""Audit events whose first arguments are paths."""

Watched = Callable[[], list[Path]]
_touched: list[Path] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _touched is not None and event in TOUCHING:
        for given in arguments[:2]:
            if isinstance(given, (str, bytes, os.PathLike)) and given:
                _touched.append(Path(os.path.realpath(os.fsdecode(given))))


@pytest.fixture(scope="module", autouse=True)
def _watching() -> None:
    sys.addaudithook(_note)  # cannot be removed again; it rests where nothing is watched


@contextmanager
def watched() -> Iterator[list[Path]]:
    """Collect every path that is opened, listed, made, renamed or removed meanwhile."""
    global _touched
    _touched = []
    try:
        yield _touched
    finally:
        _touched = None


def outside(touched: list[Path], folder: Path, *allowed: Path) -> list[Path]:
    """The touched paths in ``folder`` but in none of the ``allowed`` ones, and the system's."""
    roots = [Path(os.path.realpath(root)) for root in allowed]
    folder = Path(os.path.realpath(folder))
    secrets = {Path("/etc/passwd"), Path("/etc/shadow"), Path("/dev/zero")}
    return [
        path
        for path in touched
        if path in secrets
        or (path.is_relative_to(folder) and not any(path.is_relative_to(root) for root in roots))
    ]


def hostile(trap: Path) -> list[str]:
    """100 names that lead to ``trap``, an image outside the image folder, or elsewhere."""
    name = trap.name
    ways = [
        f"../{name}", f"../../{name}", f"line2/../../{name}", f"./../{name}",
        f"line2/./../../{name}", str(trap), f"/{trap}", f"//{trap}", f"file://{trap}",
        f"~/{name}", "~root/.bashrc", f"C:\\{name}", f"C:{name}", f"c:/{name}",
        f"\\\\host\\share\\{name}", f"//host/share/{name}", f"..\\{name}",
        f"line2\\..\\..\\{name}", f"\\\\?\\C:\\{name}", f"\\\\.\\pipe\\{name}", f"{name}\0.png",
        f"../{name}\0", "\0", f"..\0/{name}", f"http://127.0.0.1/{name}", "link.png", "link",
        "up/" + name, f"up/up/{name}", f"up/../{name}", "loop/loop/x.png", "fifo.png",
        "folder.png", "..", ".", "/", "//", "./", "../", "/etc/passwd", "/etc/shadow",
        "../../../../../../../../etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/environ",
        f"%2e%2e/{name}", f"..%2f{name}", f"..%5c{name}", f"..;/{name}", f"....//{name}",
        f".../{name}", f"\u2025/{name}", f"\uff0e\uff0e/{name}", f"..\u2215{name}",
        f"..\u29f5{name}", f"\u202e../{name}", f" ../{name}", f"../{name} ", f"\t../{name}",
        f"\r../{name}", f"\n../{name}", "CON", "con.png", "NUL", "nul.png", "aux.png", "COM1.png",
        "lpt9.png", "PRN", "CLOCK$", "a" * 300 + ".png", "a/" * 200 + "x.png", "../" * 300 + name,
        "-rf", "--out=/tmp/x", "$(touch x).png", "`touch x`.png", ";touch x;.png", "|touch x",
        "&& touch x", "$HOME/x.png", "{0.__class__}", "%s%n", "x.png:stream", "x.png::$DATA",
        "x?.png", "*", "*.png", "**/*.png", "[a-z].png", "x.png/", f"line2//../..//{name}",
        f"line2/{'../' * 5}{name}",
    ]  # fmt: skip
    more = [f"line2/{way}" for way in ways[:6]] + [f"{way}/x.png" for way in ways[:4]]
    names = list(dict.fromkeys([*ways, *more]))
    assert len(names) >= 100
    return names


@pytest.fixture
def place(tmp_path) -> Path:
    """``place/source/Train`` with images, links and pipes, and a trap in ``place``."""
    folder = tmp_path / "source" / "Train"
    rng = np.random.default_rng(16)
    for name in ["trap.png", *(f"source/Train/{n}.png" for n in range(12))]:
        write_png(tmp_path / name, rng.integers(90, 130, (SIDE, SIDE), np.uint8))
    (tmp_path / "beyond").mkdir()
    write_png(tmp_path / "beyond" / "trap.png", rng.integers(0, 9, (SIDE, SIDE), np.uint8))
    (folder / "line2").mkdir()
    (folder / "link.png").symlink_to(tmp_path / "trap.png")
    (folder / "up").symlink_to(tmp_path / "beyond")
    (folder / "loop").symlink_to(folder)
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "fifo.png")
    return tmp_path


def made(folder: Path) -> Path:
    """Make ``folder`` before anything is watched: its entry is synced in the folder above it."""
    folder.mkdir()
    return folder


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(rows)


def silent() -> Console:
    return Console(file=io.StringIO())


def test_the_watch_sees(place):
    with watched() as touched:
        (place / "source" / "Train" / "link.png").read_bytes()
        list((place / "source" / "Train" / "up").iterdir())
    seen = outside(touched, place, place / "source")
    assert [path.name for path in seen] == ["trap.png", "beyond"]


@pytest.mark.check(16)
def test_no_name_in_a_label_table_leads_outside(place, tally):
    source, out = place / "source", made(place / "dataset")
    good = [[f"{n}.png", "", ""] for n in range(6)]
    classes = ["../../x", "/etc/passwd", "CON", "..", "a/b", "C:\\x"]  # name files of the preview
    bad = [[f"{n}.png", name, MASK] for n, name in enumerate(classes, start=6)]
    names = hostile(place / "trap.png")
    rows = [[name, "1", MASK] for name in names]
    write_rows(source / "train.csv", [["ImageId", "ClassId", "EncodedPixels"], *good, *bad, *rows])
    with watched() as touched:
        summary = defectkit.prepare(
            source / "train.csv", out=out, skip_bad_rows=True, workers=0, console=silent()
        )
    ledger = {row["image_id"]: row["outcome"] for row in read_csv(out / "ledger.csv")}
    for name in names:
        with tally.case(name):
            assert ledger.get(name.strip(), "refused") == "refused"
    assert (summary.images, summary.rows_refused) == (12, len(names))
    assert outside(touched, place, source, out) == []
    assert {path.name for path in place.iterdir()} == {"source", "dataset", "trap.png", "beyond"}


@pytest.mark.check(16)
def test_no_name_in_meta_leads_outside(place, tally):
    source, out = place / "source", made(place / "dataset")
    rows = [[f"{n}.png", "1", MASK if n % 2 else ""] for n in range(12)]
    write_rows(source / "train.csv", [["ImageId", "ClassId", "EncodedPixels"], *rows])
    for name in hostile(place / "trap.png"):
        with tally.case(name):
            write_rows(source / "meta.csv", [["ImageId", "group"], ["0.png", name], [name, "g"]])
            # Refused, or what --meta alone lists is warned of.
            with watched() as touched, suppress(LabelError):
                summary = defectkit.prepare(
                    source / "train.csv", meta=source / "meta.csv", out=out, workers=0,
                    console=silent(),
                )  # fmt: skip
                assert summary.images == 12
            assert outside(touched, place, source, out) == []
        if not tally.full and tally.tried >= 12:
            break


@pytest.mark.check(16)
def test_no_name_in_a_folder_to_inspect_leads_outside(place, run_folder, tally):
    folder, out = place / "source" / "Train", made(place / "out")
    image = np.full((64, 64), 100, np.uint8)
    names = hostile(place / "trap.png")
    for name in names[:: tally.number(short=9, full=1)]:
        try:
            path = folder / f"{name}.png"
            if name.startswith("/") or ".." in path.parts or len(name.encode()) > 200:
                continue
            if not path.is_symlink():
                write_png(path, image)
        except (ValueError, OutputError):
            continue  # no file system has such a name
    with watched() as touched:
        summary = defectkit.inspect(
            run_folder, folder, out=out, overlays="all", device="cpu", console=silent()
        )
    unread = {row["image_id"]: row["error"] for row in read_csv(out / "errors.csv")}
    assert unread.keys() == {"link.png", "device.png", "up", "fifo.png"}
    assert "it is no file, but a pipe" in unread.pop("fifo.png")
    assert all("the link leads out of" in error for error in unread.values())
    assert summary.unreadable == 4
    for row in read_csv(out / "findings.csv"):
        with tally.case(row["image_id"]):
            assert (out / "overlays" / f"{safe_name(row['image_id'])}.png").is_file()
    assert tally.tried >= tally.number(short=10, full=50)
    model = run_folder / "model"
    assert outside(touched, place, folder, out, model) == []
    assert {path.name for path in place.iterdir()} == {"source", "out", "trap.png", "beyond"}


@pytest.mark.check(16)
def test_no_name_of_a_configuration_leads_outside(place, tally):
    from defectkit.configs import path_of

    for name in hostile(place / "trap.png"):
        with tally.case(name), watched() as touched, pytest.raises(ConfigError):
            path_of(name)
        assert outside(touched, place) == []


@pytest.mark.check(16)
def test_every_hostile_name_becomes_a_file_name_of_its_own(place, tally):
    made = set()
    for name in hostile(place / "trap.png"):
        with tally.case(name):
            safe = safe_name(name)
            assert (place / "out" / safe).resolve().parent == place.resolve() / "out"
            assert len(safe.encode()) <= 200
            assert safe not in made
            made.add(safe)
