"""Time and memory of ``inspect`` on one large image, with this checkout and with another.

    python benchmarks/large_images.py RUN [OTHER_CHECKOUT] [--width 16384] [--height 2048]

Each inspection is a process of its own; the memory is its peak above that of loading the model.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from defectkit.data.images import write_png

HERE = Path(__file__).resolve().parents[1]
CHILD = """
import io, resource, sys, time
import defectkit
from rich.console import Console

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

run, image, out = sys.argv[1:]
defectkit.load(run, device="cpu")
base, start, told = peak(), time.perf_counter(), io.StringIO()
done = defectkit.inspect(run, image, out=out, device="cpu", console=Console(file=told))
if done.unreadable:
    sys.exit(told.getvalue())
print(time.perf_counter() - start, peak() - base)
"""


def main() -> None:
    """Inspect the same image with each checkout and print the figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--height", type=int, default=2048)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "large.png"
        rng = np.random.default_rng(0)
        noise = rng.normal(128, 8, (options.height, options.width)).clip(0, 255)
        write_png(image, noise.astype(np.uint8), compress_level=1)
        checkouts = [HERE, *([options.other.resolve()] if options.other else [])]
        results = [measure(one, options.run.resolve(), image) for one in checkouts]
    for checkout, (seconds, megabytes) in zip(checkouts, results, strict=True):
        print(f"{checkout}: {seconds:.1f} s, {megabytes:.0f} MB above the loaded model")
    if len(results) == 2:
        (seconds, megabytes), (other_seconds, other_megabytes) = results
        print(f"ratio: {other_seconds / seconds:.2f} in time, {other_megabytes / megabytes:.2f}")


def measure(checkout: Path, run: Path, image: Path) -> tuple[float, float]:
    """Return seconds and megabytes of an inspection with the code of ``checkout``."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(run), str(image), str(image.parent / "out")],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        sys.exit(f"{checkout}: the image was not inspected.\n{ended.stderr}")
    seconds, megabytes = map(float, ended.stdout.split())
    return seconds, megabytes


if __name__ == "__main__":
    main()
