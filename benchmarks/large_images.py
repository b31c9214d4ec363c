"""Time and memory of ``inspect`` on one large image, with this checkout and with another.

    python benchmarks/large_images.py RUN [OTHER_CHECKOUT] [--width 16384] [--height 2048]
        [--tiles FOLDER]

The image is noise, or the gray images of a folder side by side. Each inspection is a process of its
own; its peak of memory is told, and that above loading the model.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from defectkit.arrays import Image
from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.data.images import convert_channels, read_image, write_png
from defectkit.data.strips import row_slices

HERE = Path(__file__).resolve().parents[1]
TILE_ROWS = 220
"""Rows that are taken of each image of a folder; where one has fewer, black follows."""

CHILD = """
import io, resource, sys, time
import defectkit
from rich.console import Console

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 10**6

run, image, out = sys.argv[1:]
defectkit.load(run, device="cpu")
base, start, told = peak(), time.perf_counter(), io.StringIO()
done = defectkit.inspect(run, image, out=out, device="cpu", console=Console(file=told))
if done.unreadable:
    sys.exit(told.getvalue())
print(time.perf_counter() - start, peak() - base, peak())
"""


def main() -> None:
    """Inspect the same image with each checkout and print the figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--height", type=int, default=2048)
    parser.add_argument("--tiles", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "large.png"
        write_png(image, draw(options), compress_level=1)
        checkouts = [HERE, *([options.other.resolve()] if options.other else [])]
        results = [measure(one, options.run.resolve(), image) for one in checkouts]
    for checkout, (seconds, megabytes, whole) in zip(checkouts, results, strict=True):
        told = f"{megabytes:.0f} MB above the loaded model, {whole:.0f} MB in all"
        print(f"{checkout}: {seconds:.1f} s, {told}")
    if len(results) == 2:
        (seconds, megabytes, _), (other_seconds, other_megabytes, _) = results
        print(f"ratio: {other_seconds / seconds:.2f} in time, {other_megabytes / megabytes:.2f}")


def draw(options: argparse.Namespace) -> Image:
    """Return the image, (H, W) uint8."""
    rng = np.random.default_rng(0)
    canvas = np.zeros((options.height, options.width), np.uint8)
    if not options.tiles:
        for rows in row_slices(options.height):
            noise = rng.normal(128, 8, canvas[rows].shape)
            canvas[rows] = noise.clip(0, 255)
        return canvas
    paths = sorted(path for path in options.tiles.iterdir() if path.suffix in IMAGE_SUFFIXES)
    for top in range(0, options.height, TILE_ROWS):
        left = 0
        while left < options.width:
            tile = convert_channels(read_image(rng.choice(paths)), 1)[:TILE_ROWS, :, 0]
            place = canvas[top : top + len(tile), left : left + tile.shape[1]]
            place[...] = tile[: place.shape[0], : place.shape[1]]
            left += tile.shape[1]
    return canvas


def measure(checkout: Path, run: Path, image: Path) -> tuple[float, float, float]:
    """Return seconds and megabytes of an inspection with the code of ``checkout``."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(run), str(image), str(image.parent / "out")],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        sys.exit(f"{checkout}: the image was not inspected.\n{ended.stderr}")
    seconds, megabytes, whole = map(float, ended.stdout.split())
    return seconds, megabytes, whole


if __name__ == "__main__":
    main()
