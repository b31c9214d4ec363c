"""How time and memory grow with the number of images.

    python benchmarks/scale.py prepare --images 100 1000 10000 --processes 1 2
    python benchmarks/scale.py load --images 10000 100000 1000000
    python benchmarks/scale.py candidates --images 10000 100000
    python benchmarks/scale.py inspect --images 100 1000 --run runs/segment-1
    python benchmarks/scale.py evaluate --images 100 1000 --run runs/segment-1

``prepare`` runs the command on so many images. They are ``synth`` images, or with ``--tiny`` small
ones of smoothed noise, which are drawn in a tenth of the time and have fewer keypoints. Half of
them are defective, and one in a hundred is a brighter copy of the one before it. ``load`` times
``Dataset.load`` on tables that are made up, with encodings of ``--runs`` runs and no images.
``candidates`` times the search for pairs with keypoints in common, on keypoints that are made up
from those of ``sample_data`` as in ``benchmarks/leaks.py``. ``inspect`` and ``evaluate`` run these
commands with a model on the same images as ``prepare``, without overlays; ``evaluate`` takes all of
them, as another lot.

Each measurement is a process of its own. Memory is the highest sum of the proportional set sizes
(PSS, where pages that processes share count once) of the process and its workers, looked at two
times a second; where the system does not tell it, it is 0. The exponents are those of each size and
the one before it, of the time of processors and of memory; start-up and imports, about 100 MB and 2
seconds, are in both, so those of small sizes are too low. What is said of a million images is
extrapolated from the last two sizes, by a line or by their exponent, whichever gives more.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from defectkit.arrays import Image
from defectkit.vocabulary import SPLITS

MILLION = 1_000_000
POLL_SECONDS = 0.5
TINY_SIDE, SYNTH_SIDE = 48, 128
COPY_EVERY = 100
"""One image in so many is a copy of the one before it."""
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """Time and memory of one size."""

    images: int
    processes: int
    seconds: float
    processor_seconds: float
    peak_bytes: int
    told: str = ""


def main() -> None:
    """Measure one part at all sizes and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=sorted(CHILDREN))
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--tiny", action="store_true", help="small images of noise")
    parser.add_argument("--runs", type=int, default=60, help="of an encoding, for load")
    parser.add_argument("--run", type=Path, help="a run of the two classes of synth images")
    parser.add_argument("--folder", type=Path, help="where to work; images there are used again")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part in ("inspect", "evaluate") and not options.run:
        parser.error(f"{options.part} needs a model: --run RUN")
    if options.child:
        CHILDREN[options.part](options.child, options)
        return
    with tempfile.TemporaryDirectory() as name:
        place = options.folder or Path(name)
        for processes in options.processes if options.part == "prepare" else [1]:
            rows = []
            for count in options.images:
                make, kind = MAKERS.get(options.part, (make_images, "images"))
                folder = place / f"{kind}-{count}{'-tiny' * options.tiny}"
                make(folder, count, options)
                rows.append(measure(options, folder, count, processes))
                print(f"{rows[-1]}", file=sys.stderr, flush=True)
            print(table_of(options.part, rows), flush=True)


def measure(options: argparse.Namespace, folder: Path, count: int, processes: int) -> Measured:
    """Run one measurement as a process of its own, and watch its memory."""
    command = [sys.executable, __file__, options.part, "--child", str(folder)]
    command += ["--images", str(count), "--processes", str(processes)]
    command += ["--run", str(options.run)] if options.run else []
    start, before = time.perf_counter(), processor_seconds()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        peak = 0
        while child.poll() is None:
            peak = max(peak, tree_bytes(child.pid))
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        assert child.stdout
        lines = child.stdout.read().strip().splitlines()
    if child.returncode:
        raise SystemExit(f"{options.part} of {count} images failed")
    told = json.loads(lines[-1])
    seconds, own = told.pop("seconds", seconds), told.pop("processor", processor_seconds() - before)
    what = ", ".join(f"{value} {key}" for key, value in told.items())
    return Measured(count, processes, seconds, own, peak, what)


def processor_seconds() -> float:
    """Return the time that processors have worked for the processes that have ended."""
    used = os.times()
    return float(used.children_user + used.children_system)


def tree_bytes(process: int) -> int:
    """Return the memory of a process and its descendants in bytes, 0 where it is not told."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, ValueError):  # It has ended, or this is not Linux.
            continue
    return total


def table_of(part: str, rows: Sequence[Measured]) -> str:
    """Return the table of a part: each size, the exponents, and the cost of a million."""
    lines = [
        f"{part}, {rows[0].processes} process{'es' * (rows[0].processes > 1)}",
        "",
        "| images | s | s of processors | exponent | peak MB | exponent | kB an image more | |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for before, row in zip([None, *rows], rows, strict=False):
        growth = _growth(before, row) if before else ("", "", "")
        lines.append(
            f"| {row.images:,} | {row.seconds:.1f} | {row.processor_seconds:.1f} | {growth[0]} | "
            f"{row.peak_bytes / 2**20:.0f} | {growth[1]} | {growth[2]} | {row.told} |"
        )
    last = rows[-1]
    if len(rows) > 1 and last.images < MILLION:
        seconds, peak = (
            _at_a_million(rows[-2:], [getattr(row, name) for row in rows[-2:]])
            for name in ("processor_seconds", "peak_bytes")
        )
        lines += [
            "",
            "A million images, extrapolated from the last two sizes and not measured: "
            f"{seconds:.0f} s of processors, {peak / GIB:.1f} GiB.",
        ]
    return "\n".join(lines) + "\n"


def _growth(before: Measured, row: Measured) -> tuple[str, str, str]:
    """Return the exponents of time and memory, and the memory for each further image in kB."""
    ratio = math.log(row.images / before.images)
    time_growth = math.log(row.processor_seconds / before.processor_seconds) / ratio
    if not row.peak_bytes:
        return f"{time_growth:.2f}", "", ""
    memory_growth = math.log(row.peak_bytes / before.peak_bytes) / ratio
    more = (row.peak_bytes - before.peak_bytes) / (row.images - before.images) / 1024
    return f"{time_growth:.2f}", f"{memory_growth:.2f}", f"{more:.2f}"


def _at_a_million(rows: Sequence[Measured], values: Sequence[float]) -> float:
    """Return the larger of what a line and a power of the number of images make of two values."""
    (few, many), (low, high) = [row.images for row in rows], values
    line = high + (high - low) / (many - few) * (MILLION - many)
    power = math.log(max(high, 1) / max(low, 1)) / math.log(many / few)
    return float(max(line, high * (MILLION / many) ** power))


def make_images(folder: Path, count: int, options: argparse.Namespace) -> None:
    """Write ``count`` images and their labels, unless they are there."""
    table = folder / "train.csv"
    if table.exists():
        return
    (folder / "Train").mkdir(parents=True, exist_ok=True)
    with (folder / "unfinished.csv").open("w", encoding="utf-8") as handle:
        handle.write("ImageId,ClassId,EncodedPixels\n")
        for index, (image, classes) in enumerate(draw(count, tiny=options.tiny)):
            name = f"{index:07d}.png"
            done, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            assert done
            (folder / "Train" / name).write_bytes(content.tobytes())
            runs = " ".join(f"{1 + 8 * len(image) + row * len(image)} 6" for row in range(6))
            handle.writelines(f"{name},{one},{runs}\n" for one in classes)
            if not classes:
                handle.write(f"{name},,\n")
    (folder / "unfinished.csv").rename(table)


def draw(count: int, *, tiny: bool) -> Iterator[tuple[Image, tuple[int, ...]]]:
    """Yield images and the classes of their defects."""
    from defectkit.synthesis.generator import synthesize

    image = np.empty((0, 0), np.uint8)
    for index in range(count):
        if index % COPY_EVERY == COPY_EVERY - 1:
            image = np.clip(image.astype(np.int16) + 9, 0, 255).astype(np.uint8)
        elif tiny:
            noise = np.random.default_rng([0, index]).integers(0, 256, (TINY_SIDE, TINY_SIDE))
            image = cv2.GaussianBlur(noise.astype(np.uint8), (0, 0), 1.5)
        else:
            image = synthesize(index, size=SYNTH_SIDE, levels=64).image
        yield image, (1 + index % 4 // 2,) if index % 2 else ()


def prepare_child(folder: Path, options: argparse.Namespace) -> None:
    """Prepare the images, and tell what came out."""
    processes = options.processes[0]
    from rich.console import Console

    from defectkit.pipelines import prepare

    start = time.perf_counter()
    summary = prepare.run(
        folder / "train.csv",
        out=folder / "dataset",
        workers=processes if processes > 1 else 0,
        console=Console(quiet=True),
    )
    told = {"seconds": time.perf_counter() - start, "leaks found": summary.leaks}
    print(json.dumps(told), flush=True)


def make_dataset(folder: Path, count: int, options: argparse.Namespace) -> None:
    """Write the tables of a dataset of ``count`` images that are nowhere."""
    from defectkit.data.dataset import TABLES
    from defectkit.files import sha256_bytes
    from defectkit.seals import add_seal, hash_tables

    if (folder / "dataset.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = " ".join(f"{1 + 300 * run} 30" for run in range(options.runs))
    box, area = "0,0,100,30", 30 * options.runs
    with (
        (folder / "images.csv").open("w") as images,
        (folder / "masks.csv").open("w") as masks,
        (folder / "defects.csv").open("w") as defects,
    ):
        images.write("image_id,path,height,width,channels,sha256,group,split,defective\n")
        masks.write("image_id,class_id,rle\n")
        defects.write("image_id,class_id,defect_id,x,y,width,height,area\n")
        for index in range(count):
            name, split = f"{index:07d}.png", ("train", "val", "train", "test")[index % 4]
            digest = sha256_bytes(name.encode())
            images.write(f"{name},../Train/{name},300,300,1,{digest},{name},{split},{index % 2}\n")
            if index % 2:
                masks.write(f"{name},{1 + index % 4 // 2},{text}\n")
                defects.write(f"{name},{1 + index % 4 // 2},1,{box},{area}\n")
    info = {"classes": ["1", "2"], "tables": hash_tables(folder, TABLES)}
    (folder / "dataset.json").write_text(
        json.dumps(add_seal(info), indent=2, ensure_ascii=False) + "\n"
    )


def load_child(folder: Path, options: argparse.Namespace) -> None:
    """Load the dataset, and look at each record once, as a training does."""
    from defectkit.data.dataset import Dataset

    start, used = time.perf_counter(), time.process_time()
    dataset = Dataset.load(folder)
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    again = time.process_time()
    defective = sum(record.defective for name in SPLITS for record in dataset.split(name))
    assert defective == options.images[0] // 2
    told = {
        "seconds": seconds,
        "processor": processor,
        "s for a look at each record": f"{time.process_time() - again:.1f}",
    }
    print(json.dumps(told), flush=True)


def make_nothing(folder: Path, count: int, options: argparse.Namespace) -> None:
    """Make nothing: the keypoints are made up by the process that is measured."""


def candidates_child(_: Path, options: argparse.Namespace) -> None:
    """Search among made up keypoints."""
    from leaks import print_scale

    print_scale(Path(__file__).parents[1] / "sample_data" / "Train", options.images[0], 0)
    print("{}", flush=True)


def inspect_child(folder: Path, options: argparse.Namespace) -> None:
    """Inspect the images."""
    from rich.console import Console

    from defectkit.pipelines import inspect

    with tempfile.TemporaryDirectory() as out:
        inspect.run(
            options.run, folder / "Train", out=out, overlays="none", console=Console(quiet=True)
        )
    print("{}", flush=True)


def make_prepared(folder: Path, count: int, options: argparse.Namespace) -> None:
    """Write images and prepare them, unless they are there."""
    from rich.console import Console

    from defectkit.pipelines import prepare

    make_images(folder, count, options)
    if not (folder / "dataset" / "dataset.json").exists():
        prepare.run(
            folder / "train.csv", out=folder / "dataset", workers=0, console=Console(quiet=True)
        )


def evaluate_child(folder: Path, options: argparse.Namespace) -> None:
    """Evaluate a copy of the run on all images."""
    from rich.console import Console

    from defectkit.pipelines import evaluate

    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        shutil.copytree(options.run, run)
        evaluate.run(run, data=folder / "dataset", overlays="none", console=Console(quiet=True))
    print("{}", flush=True)


MAKERS = {
    "load": (make_dataset, "dataset"),
    "candidates": (make_nothing, "nothing"),
    "evaluate": (make_prepared, "images"),
}
CHILDREN = {
    "prepare": prepare_child,
    "load": load_child,
    "candidates": candidates_child,
    "inspect": inspect_child,
    "evaluate": evaluate_child,
}


if __name__ == "__main__":
    main()
