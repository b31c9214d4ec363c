"""The place of the fuzz: sources, photos, hostile files, and an output of every command.

Whose each file is, is known, and so is the truth: the masks of every image, and what each model
says of it.
"""

import csv
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from label_forms import BOX_FORMS, FORMS, TRUTH, class_masks, write_images
from label_forms import name as form_image
from PIL import Image
from small_sources import draw_image

from defectkit.data.images import write_png
from defectkit.files import read_csv, sha256_file
from defectkit.labels import rle

USER = "user"
COUNT = 12
"""Images of each source."""
SOURCES = {"source": 0, "other": 100}
"""Folders of images of equal names, and the index of their first image."""
RUNS = {"runs/a": "dataset", "runs/b": "dataset", "runs/c": "dataset2"}
"""Each run, and the dataset that it was trained on."""
TINY = (
    *("--device", "cpu", "--approach", "patch", "--epochs", "1"),
    *("--set", "model.architecture=lenet", "--set", "model.weights=none"),
    *("--set", "patch.tile=32", "--set", "patch.tiles_per_image=2", "--set", "data.workers=0"),
    *("--set", "train.samples_per_epoch=2", "--set", "train.batch_size=2"),
)
HOSTILE_NAMES = (
    "new\nline", "\x1b]0;title\x07\x1b[31mred", "a" * 200, "bytes-\udcff", "=cmd|' C calc'!A0",
    "\N{FIRE}", "-rf", "[red]markup", " lead", "trail ", 'a,b"c', "$x$", "CON", "\u202egnp.exe",
    "#2", "good-0.png#2", "..x", "%s%n", "tab\tname", "nul\u0001",
)  # fmt: skip

EXPORTED = "runs/a/exported"
HALVES = "halves"
"""Where ``inspect runs/a lot`` is, by two shards that were not merged."""

Run = Callable[..., None]


class Entry(NamedTuple):
    """What must not change of a file: its kind and mode, size, time, and content."""

    mode: int
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""


@dataclass
class Place:
    """A folder with the pristine place in ``base``; a case works on a copy in ``case``.

    ``owners`` has the command that wrote a file, by its path in the place; all others are the
    user's. ``truth`` has the masks by class and ``verdicts`` for each run verdict and score, both
    by the SHA-256 of the image file; ``lots`` the SHA-256 of the images of each source.
    """

    folder: Path
    owners: dict[str, str] = field(default_factory=dict)
    truth: dict[str, dict[str, str]] = field(default_factory=dict)
    lots: list[frozenset[str]] = field(default_factory=list)
    forms: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    results: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def case(self) -> Path:
        """Where the place was made, so that absolute paths in its files hold in each copy.

        It is not beside ``base``: a call may write to its parent.
        """
        return self.folder / "world" / "case"

    def renew(self) -> None:
        """Make ``case`` a fresh copy of the place."""
        remove(self.case.parent)
        copy_tree(self.base, self.case)


def build_place(place: Place, run: Run) -> None:
    """Make the place; ``run(*arguments)`` runs a command in ``case`` and raises if it fails."""
    case = place.case
    for name, first in SOURCES.items():
        _write_source(place, case / name, first)
    _write_forms(place, case / "forms")
    _write_photos(case / "photos", case / "source" / "Train")
    _write_odd_source(case / "odd", case / "photos")
    _write_mine(case / "mine", case / "source" / "Train")
    shutil.copytree(case / "source" / "Train", case / "lot")
    before = set(snapshot(case))
    for number, name in enumerate(SOURCES):
        out = "dataset" + "2" * number
        run("prepare", f"{name}/train.csv", "--out", out, "--split", "0.5/0.25/0.25",
            "--workers", 0)  # fmt: skip
        before |= _own(place, "prepare", before)
    for out, dataset in RUNS.items():
        seed = ord(out[-1])
        run("train", *TINY, "--data", dataset, "--out", out, "--seed", seed)
        before |= _own(place, "train", before)
        run("evaluate", out)
        before |= _own(place, "evaluate", before)
        _know_verdicts(place, out, run)
        place.results[out] = read_csv(case / out / "evaluation" / "test" / "images.csv")
    run("export", "runs/a")
    before |= _own(place, "export", before)
    _know_verdicts(place, EXPORTED, run)
    run("inspect", "runs/a", "lot", "--out", "inspection")
    for shard in ("1/2", "2/2"):
        run("inspect", "runs/a", "lot", "--out", HALVES, "--shard", shard)
    before |= _own(place, "inspect", before)
    run("compare", "runs/a", "runs/b")
    before |= _own(place, "compare", before)
    place.results["comparison"] = read_csv(case / "comparison" / "comparison.csv")
    run("suspects", "runs/b", "--data", "dataset")
    before |= _own(place, "suspects", before)
    run("synth", "drawn", "--images", 2, "--size", 128)
    before |= _own(place, "synth", before)
    run("labels", "convert", "dataset", "--to", "masks", "--out", "masks")
    _own(place, "labels convert", before)
    case.rename(place.base)


def _know_verdicts(place: Place, model: str, run: Run) -> None:
    """Keep what a model says of the images of both sources."""
    case = place.case
    run("inspect", model, "lot", "other/Train", "--out", "known")
    shas = {one.as_posix(): sha256_file(case / one) for one in _images(case, "lot", "other")}
    place.verdicts[model] = {
        shas[_given(row["image_id"], case)]: (row["verdict"], row["score"])
        for row in read_csv(case / "known" / "findings.csv")
    }
    remove(case / "known")


def _own(place: Place, command: str, before: set[str]) -> set[str]:
    new = set(snapshot(place.case)) - before
    place.owners |= dict.fromkeys(new, command)
    return new


def _images(case: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path.relative_to(case) for path in (case / folder).rglob("*.png"))


def _given(image_id: str, case: Path) -> str:
    """The path of an image that was given with its folder, ``lot`` or ``other/Train``."""
    return image_id if "/" in image_id else f"lot/{image_id}"


def _write_source(place: Place, folder: Path, first: int) -> None:
    rows = []
    for index in range(COUNT):
        image, masks = draw_image(first + index)
        name = f"part-{index:02d}.png"
        write_png(folder / "Train" / name, image)
        texts = {class_id: rle.encode(mask) for class_id, mask in masks.items()}
        place.truth[sha256_file(folder / "Train" / name)] = texts
        rows += [[name, *pair] for pair in texts.items()] or [[name, "", ""]]
    place.lots.append(frozenset(sha256_file(path) for path in (folder / "Train").iterdir()))
    _write_rows(folder / "train.csv", [["ImageId", "ClassId", "EncodedPixels"], *rows])
    groups = [[f"part-{index:02d}.png", f"lot-{index // 3}"] for index in range(COUNT)]
    _write_rows(folder / "meta.csv", [["ImageId", "group"], *groups])


def _write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
        csv.writer(handle).writerows(rows)


def _write_forms(place: Place, folder: Path) -> None:
    forms = {**{name: write for name, (_, write) in FORMS.items()}, **BOX_FORMS}
    for number, (name, write) in enumerate(forms.items()):
        own = folder / f"{number:02d}"
        own.mkdir(parents=True)
        write_images(own)
        path = write(own)
        place.forms[path.relative_to(place.case).as_posix()] = name
        images = [own / "images" / form_image(index) for index in range(len(TRUTH))]
        place.truth |= {
            sha256_file(path): {c: rle.encode(mask) for c, mask in class_masks(index).items()}
            for index, path in enumerate(images)
        }
    place.lots.append(frozenset(map(sha256_file, images)))


def _write_photos(folder: Path, good: Path) -> None:
    """Good images, odd and broken ones, hostile names, links, pipes, and what nobody may read."""
    (folder / "sub" / "deep").mkdir(parents=True)
    files = sorted(good.iterdir())
    for index, name in enumerate(("good-0.png", "good-1.png", "sub/good-0.png", "sub/deep/x.PNG")):
        shutil.copy(files[index], folder / name)
    shutil.copy(files[0], folder / "noext")
    shutil.copy(files[0], folder / "misnamed.jpg")
    shutil.copy(files[0], folder / ".hidden.png")
    for name in HOSTILE_NAMES:
        shutil.copy(files[0], folder / f"{name}.png")
    content = files[0].read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    (folder / "Thumbs.db").write_bytes(b"\0" * 9)
    (folder / "giga.png").write_bytes(content[:16] + b"\x7f" * 8 + content[24:])
    pixels, rng = np.array(Image.open(files[0])), np.random.default_rng(3)
    color = Image.fromarray(rng.integers(0, 255, (40, 70, 3), np.uint8))
    gray = Image.fromarray(pixels)
    write_png(folder / "one.png", np.zeros((1, 1), np.uint8))
    write_png(folder / "deep.png", (pixels.astype(np.uint16) * 200))
    color.save(folder / "color.png")
    color.quantize(16).save(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    color.save(folder / "turned.jpg", exif=exif)
    color.convert("CMYK").save(folder / "cmyk.jpg")
    color.convert("RGBA").save(folder / "alpha.webp")
    for name in ("frames.png", "frames.gif", "frames.webp", "pages.tif"):
        gray.save(folder / name, save_all=True, append_images=[gray.rotate(90), gray.rotate(180)])
    np.save(folder / "numbers.npy", pixels)
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    (folder / "link-in.png").symlink_to("good-1.png")
    (folder / "link-out.png").symlink_to("../source/Train/part-00.png")
    (folder / "dead.png").symlink_to("nowhere.png")
    (folder / "self.png").symlink_to("self.png")
    (folder / "loop").symlink_to(".")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    shutil.copy(files[1], folder / "folder.png" / "inside.png")
    os.mkfifo(folder / "pipe.png")
    for name in ("locked.png", "locked/inside.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(files[1], folder / name)
    (folder / "locked.png").chmod(0)
    (folder / "locked").chmod(0)


def _write_odd_source(folder: Path, photos: Path) -> None:
    """A label table of images with hostile names."""
    names = [f"{name}.png" for name in HOSTILE_NAMES if name.isprintable() or name.isascii()]
    (folder / "Train").mkdir(parents=True)
    for index, name in enumerate(names):
        image, _ = draw_image(200 + index)
        write_png(folder / "Train" / name, image)
    mask = np.zeros((96, 96), bool)
    mask[10:30, 20:40] = True
    rows = [[name, "1", rle.encode(mask) if n % 2 else ""] for n, name in enumerate(names)]
    _write_rows(folder / "train.csv", [["ImageId", "ClassId", "EncodedPixels"], *rows])


def _write_mine(folder: Path, good: Path) -> None:
    """The user's own files, called as those of outputs are."""
    for name in ("overlays/part-00.png", "Train/0000.png", "preview/good.png", "holiday.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(good / "part-01.png", folder / name)
    for name in ("findings.csv", "train.csv", "ledger.csv", "comparison.csv", "suspects.csv"):
        (folder / name).write_text("mine\n")
    (folder / "dataset.json").write_text('{"mine": true}\n')
    (folder / "settings.yaml").write_text("approach: patch\ntrain:\n  lr: 0.01\n")


def snapshot(folder: Path) -> dict[str, Entry]:
    """All below ``folder`` by path: what it is and the content of files; links are not followed."""
    found = {}
    for path in _walk(folder):
        status = path.lstat()
        name = path.relative_to(folder).as_posix()
        if stat.S_ISREG(status.st_mode):
            size, time = status.st_size, status.st_mtime_ns
            found[name] = Entry(status.st_mode, size, time, sha256_file(path))
        elif stat.S_ISLNK(status.st_mode):
            found[name] = Entry(status.st_mode, sha256=os.readlink(path))  # noqa: PTH115
        else:
            found[name] = Entry(status.st_mode)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        yield from (Path(base, name) for name in (*folders, *names))


def copy_tree(source: Path, target: Path) -> None:
    """Copy with times and modes; links and pipes as what they are."""

    def copy(one: str, other: str) -> None:
        if stat.S_ISFIFO(os.lstat(one).st_mode):
            os.mkfifo(other)
        else:
            shutil.copy2(one, other, follow_symlinks=False)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def remove(folder: Path) -> None:
    """Remove a folder, also one with folders that nobody may read."""
    for path in _walk(folder) if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
