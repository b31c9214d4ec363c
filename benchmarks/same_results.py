"""Whether two checkouts of defectkit compute the same: weights and pictures to the last bit.

    python benchmarks/same_results.py ../defectkit-before
    python benchmarks/same_results.py ../defectkit-before --data ../tiles --epochs 3

runs the same commands with the code of the other checkout and with that of this one, on one thread
and from one seed: ``prepare`` on ``sample_data/`` and on each further folder (which has a
``train.csv`` and may have an ``images.csv``), then ``train``, ``evaluate`` and ``inspect`` for each
approach. It compares every table and picture byte for byte, every weight, and every number of
``metrics.json`` to a relative 1e-12. Times, versions and paths are left out. For changes that
shall move code and change nothing else.
"""

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "sample_data"
RECIPES = ("segment", "patch", "box")
TIMES = {"train_seconds", "seconds", "ms_per_image", "device", "threads"}
"""Columns of tables that differ from one run to the next."""
COMPARED_JSON = ("metrics.json",)
"""The other JSON files hold versions, times and names of settings."""
LEFT_OUT = ("curves.png", "report.html", "progress.gif")
"""Pictures and pages that hold times or words."""


def main() -> None:
    """Run both checkouts, compare what they wrote, and exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="the other checkout of defectkit")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="further data to prepare")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--recipes", nargs="+", default=RECIPES, help="approaches or configurations"
    )
    parser.add_argument("--keep", type=Path, help="keep the results in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        results = {name: folder / name for name in ("other", "this")}
        for name, checkout in (("other", options.other.resolve()), ("this", ROOT)):
            run_checkout(checkout, results[name], options)
        found = list(differences(results["other"], results["this"]))
    print("\n".join([*found, f"{len(found)} differences"]))
    sys.exit(bool(found))


def run_checkout(checkout: Path, folder: Path, options: argparse.Namespace) -> None:
    """Prepare, train, evaluate and inspect with the code of ``checkout``, into ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}

    def defectkit(*arguments: object) -> None:
        print(f"{checkout.name}: defectkit {' '.join(map(str, arguments))}", flush=True)
        command = [sys.executable, "-m", "defectkit.cli", *map(str, arguments)]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if ended.returncode:
            sys.exit(ended.stderr)

    for data in (SAMPLES, *(path.resolve() for path in options.data)):
        meta = ("--meta", data / "images.csv") if (data / "images.csv").is_file() else ()
        defectkit("prepare", data / "train.csv", *meta, "--out", data.name)
    for recipe in options.recipes:
        named = ("--approach", recipe) if recipe in RECIPES else ("--config", recipe)
        settings = ("--set", "data.workers=0", "--set", "train.samples_per_epoch=64")
        length = ("--epochs", options.epochs, "--seed", 0, "--device", "cpu")
        where = ("--data", SAMPLES.name, "--out", recipe)
        defectkit("train", *named, *where, *length, *settings)
        defectkit("evaluate", recipe)
        images = sorted((SAMPLES / "Train").glob("*.png"))[:8]
        defectkit("inspect", recipe, *images, "--out", f"{recipe}-inspection")


def differences(other: Path, this: Path) -> Iterator[str]:
    """Yield a line for each file in which the two folders differ."""
    for path in sorted(path for path in other.rglob("*") if path.is_file()):
        name = path.relative_to(other)
        twin = this / name
        if path.name in LEFT_OUT or path.suffix not in (".csv", ".png", ".safetensors", ".json"):
            continue
        if not twin.is_file():
            yield f"{name} is missing"
        elif path.suffix == ".json":
            if path.name in COMPARED_JSON:
                yield from unequal(read_json(path), read_json(twin), str(name))
        elif path.suffix == ".csv":
            if table(path) != table(twin):
                yield f"{name}: the tables differ"
        elif path.read_bytes() != twin.read_bytes():
            yield f"{name}: the bytes differ"


def unequal(one: Any, other: Any, where: str) -> Iterator[str]:
    """Yield where two JSON values differ by more than a relative 1e-12."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted((one.keys() | other.keys()) - {"speed"}):
            yield from unequal(one.get(key), other.get(key), f"{where}: {key}")
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12):
            yield f"{where}: {one} and {other}"
    elif one != other:
        yield f"{where}: {one} and {other}"


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(path: Path) -> list[list[str]]:
    """Read a CSV file without its columns of times."""
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    kept = [place for place, name in enumerate(rows[0]) if name not in TIMES] if rows else []
    return [[row[place] for place in kept] for row in rows]


if __name__ == "__main__":
    main()
