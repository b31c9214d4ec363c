"""The main job on real images: magnetic tiles (Huang et al.), grouped split, a given time budget.

    python benchmarks/magnetic_tile.py ../shared/data/magnetic_tile --max-time 25m

Prepares (images of one tile stay in one split), trains, evaluates on the test split and prints the
metrics. Nothing is chosen on the test split.
"""

import argparse
import json
from pathlib import Path

import defectkit


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder with train.csv, images.csv and Train/")
    parser.add_argument("--max-time", default="25m")
    parser.add_argument("--out", type=Path, default=Path("runs/magnetic_tile"))
    parser.add_argument("--config", default=None, help="a configuration, by name or file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()

    data = options.out / "dataset"
    defectkit.prepare(options.source / "train.csv", meta=options.source / "images.csv", out=data)
    defectkit.train(
        config=options.config,
        data=data,
        out=options.out / "run",
        max_time=options.max_time,
        settings=options.set,
    )
    metrics = defectkit.evaluate(options.out / "run")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
