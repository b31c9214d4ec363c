"""Speed and memory of ``inspect``, trained and exported, beside the bare network and other loops.

    python benchmarks/inspection.py RUN FOLDER [--exported BUNDLE ...] [--images 24] [--turns 3]

``RUN`` is a run of ``segment``, ``FOLDER`` has its images; give ``--exported`` what ``defectkit
export RUN`` wrote, once for each precision. All ways take the same images in turn, each in a
process of its own:

- ``inspect RUN`` and ``inspect BUNDLE``: the whole command, overlays and tables included;
- ``network of BUNDLE``: the network alone on one image in memory, as often as there are images (not
  of a cascade, which has two);
- ``smp``: the usual loop of segmentation_models_pytorch, which reads an image, resizes it to
  512x512, predicts and writes a mask (untrained: this changes no time);
- ``mask_rcnn``: the same with torchvision's Mask R-CNN, on a tenth of the images.

Images per second are those beyond the first: (N - 1) / (time of N - time of 1). Beside them is told
how long a person waits for the first verdict: until its row is in ``findings.csv``, or the other
loops have ended with one image. Processor time is that of all threads, which other work on the
machine changes less. Peak memory is the largest resident set of the process; ranges in parentheses
are the lowest and the highest of all turns.

The code is compiled to bytecode before, as that of an installed package is: each way has a first
turn that does not count, and Python keeps what it compiles even where the environment says that it
should not.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

from defectkit.data.images import convert_channels, read_image
from defectkit.files import read_json

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
SLOW_PART = 10
"""By how many times fewer images the slowest loop gets."""
WATCH = 0.002
"""Seconds between two looks at a table that grows."""


class Cost(NamedTuple):
    """What a process took: seconds on the clock, of all processors, and its peak memory.

    ``first`` is when its first verdict was written, or it ended.
    """

    seconds: float
    processor: float
    megabytes: float
    first: float


def main() -> None:
    """Measure and print; with ``--child`` be one of the loops."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exported", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", choices=sorted(LOOPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        LOOPS[options.child](options.run, sorted(options.folder.iterdir()))
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure(options, Path(temporary))


def measure(options: argparse.Namespace, work: Path) -> None:
    """Let all ways take turns, and print what each does beside the first."""
    files = sorted(options.folder.iterdir())
    counts = {"one": 1, "few": max(options.images // SLOW_PART, 2), "many": options.images}
    for name, count in counts.items():
        (work / name).mkdir()
        for number in range(count):
            source = files[number % len(files)]
            shutil.copyfile(source, work / name / f"{number:04}{source.suffix}")
    ways = commands(options.run.resolve(), [one.resolve() for one in options.exported])
    costs: dict[str, list[tuple[Cost, Cost, int]]] = {name: [] for name in ways}
    helps = []

    def cost_on(command: list[str], folder: str) -> Cost:
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        if "inspect" not in command:
            return cost_of([*command, str(work / folder)])
        return cost_of([*command, str(work / folder), "--out", str(out)], out)

    for command in ways.values():
        cost_on(command, "one")
    for turn in range(1, options.turns + 1):
        helps.append(cost_of(["-m", "defectkit.cli", "--help"]))
        for name, command in ways.items():
            rest = "few" if name == "mask_rcnn" else "many"
            first, whole = cost_on(command, "one"), cost_on(command, rest)
            costs[name].append((first, whole, counts[rest] - 1))
        told = ", ".join(f"{name} {_speeds(values)[-1]:.1f}" for name, values in costs.items())
        print(f"turn {turn}: images/s: {told}", file=sys.stderr, flush=True)
    print_table(costs)
    seconds, processor = ([getattr(one, name) for one in helps] for name in Cost._fields[:2])
    print(
        f"\n`defectkit --help`: {spread(seconds, '.2f')} s, of these {spread(processor, '.2f')} s "
        f"of the processor. {options.turns} turns, {options.images} images."
    )


def commands(run: Path, exported: Sequence[Path]) -> dict[str, list[str]]:
    """Return the arguments of Python for each way, to which the folder of images is added."""
    ways: dict[str, list[str]] = {}
    for model in (run, *exported):
        ways[f"inspect {model.name}"] = ["-m", "defectkit.cli", "inspect", str(model)]
    for model in exported:
        if read_json(model / "model.json")["exported"].get("first"):
            continue
        ways[f"network of {model.name}"] = [str(HERE), "--child", "network", str(model)]
    for name in ("smp", "mask_rcnn"):
        ways[name] = [str(HERE), "--child", name, str(run)]
    return ways


def print_table(costs: dict[str, list[tuple[Cost, Cost, int]]]) -> None:
    """Print a row for each way; the ratios are those of the same turn."""
    reference = next(iter(costs))
    columns = [
        *("", "images/s", f"beside `{reference}`", "ms of the processor an image"),
        *("s to the first verdict", "of the processor, for one image", "peak MB"),
    ]
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join(["---"] * len(columns)) + " |")
    for name, values in costs.items():
        pairs = zip(_speeds(values), _speeds(costs[reference]), strict=True)
        cells = [
            name,
            spread(_speeds(values), ".1f"),
            spread([a / b for a, b in pairs], ".2f"),
            f"{1000 * statistics.median(_processor_seconds(values)):.0f}",
            spread([one.first for one, _, _ in values], ".2f"),
            f"{statistics.median(first.processor for first, _, _ in values):.2f}",
            f"{max(whole.megabytes for _, whole, _ in values):.0f}",
        ]
        print("| " + " | ".join(cells) + " |")


def _speeds(values: Sequence[tuple[Cost, Cost, int]]) -> list[float]:
    return [count / (whole.seconds - first.seconds) for first, whole, count in values]


def _processor_seconds(values: Sequence[tuple[Cost, Cost, int]]) -> list[float]:
    return [(whole.processor - first.processor) / count for first, whole, count in values]


def spread(values: Sequence[float], form: str) -> str:
    """Return the median of values with the lowest and the highest of them."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def cost_of(arguments: Sequence[str], out: Path | None = None) -> Cost:
    """Return what Python takes with these arguments, and when the first verdict is in ``out``."""
    command = [sys.executable, *arguments]
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    # Set to nothing, it has no effect: the code of a checkout is not compiled again each time.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryFile() as told:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=told
        )
        while out and not _has_verdict(out) and not os.waitid(os.P_PID, process.pid, ended):
            time.sleep(WATCH)
        first = time.perf_counter() - start
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{told.read().decode()}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(
        seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / unit, first if out else seconds
    )


def _has_verdict(out: Path) -> bool:
    """Return whether findings.csv has a row below its header, while it grows or at its end."""
    for folder in (out / "unfinished", out):
        with suppress(FileNotFoundError):
            if (folder / "findings.csv").read_bytes().count(b"\n") > 1:
                return True
    return False


def run_network(bundle: Path, files: list[Path]) -> None:
    """Run an exported network alone, on as many images at once as the machine takes."""
    from defectkit.deployment.engines import import_openvino, openvino_core

    info = read_json(bundle / "model.json")
    precision = "bf16" if info["exported"]["precision"] == "bf16" else "f32"
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
    core = openvino_core()
    model = core.read_model(bundle / "model.xml")
    image = convert_channels(read_image(files[0]), info["channels"])
    one_shape = model.clone()
    one_shape.reshape([1, *image.shape])
    try:
        compiled = core.compile_model(one_shape, "CPU", hints)
    except RuntimeError:  # as of some graphs in 16 bits, which inspection then takes for all shapes
        compiled = core.compile_model(model, "CPU", hints)
    queue = import_openvino("this benchmark").AsyncInferQueue(compiled)
    for _ in files:
        queue.start_async([image[None]])
    queue.wait_all()


def loop_over_masks(predict: Callable[[np.ndarray], np.ndarray], files: list[Path]) -> None:
    """Read images (H, W, 3), predict masks of them and write these, one after the other."""
    with tempfile.TemporaryDirectory() as out:
        for path in files:
            image = np.asarray(Pillow.open(path).convert("RGB"))
            mask = predict(image).astype(np.uint8) * 255
            cv2.imwrite(str(Path(out) / f"{path.stem}.png"), mask)


def run_smp(_: Path, files: list[Path]) -> None:
    """Be the loop of segmentation_models_pytorch."""
    sys.path.append(str(HERE.parent / "competitors"))
    import script
    import torch

    model = script.build_model(2).eval()
    torch.set_flush_denormal(True)

    def predict(image: np.ndarray) -> np.ndarray:
        return script.predict_resized(model, image).max(axis=0) > 0.5

    loop_over_masks(predict, files)


def run_mask_rcnn(_: Path, files: list[Path]) -> None:
    """Be the same loop with Mask R-CNN."""
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.set_flush_denormal(True)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3).eval()

    def predict(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = model([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
        if not len(found["masks"]):
            return np.zeros(image.shape[:2], bool)
        return found["masks"].amax(dim=(0, 1)).numpy() > 0.5

    loop_over_masks(predict, files)


LOOPS = {"network": run_network, "smp": run_smp, "mask_rcnn": run_mask_rcnn}

if __name__ == "__main__":
    main()
