"""The approaches on real images, with the same training time, in one table.

    python benchmarks/magnetic_tile.py ../shared/data/magnetic_tile --table benchmarks/tiles.md

The images are the magnetic tiles of Huang et al.; all images of a tile are in the same split.
Trains one run after the other (a name is an approach or a configuration), evaluates all of them on
the test split, on which nothing was chosen, and compares them. Existing runs are not trained again.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import defectkit
from defectkit.reporting.comparison_table import LINES, SECTIONS, Row, make_cells
from defectkit.tables import table_rows

RUNS = ("segment", "patch", "box", "faster_rcnn")
METRICS = (
    *("approach", "network", "epochs", "image_ap", "escape_rate", "overkill_rate"),
    *("pixel_dice", "pixel_ap", "pixel_mean_iou", "region_recall", "false_alarms_per_image"),
    *("box_map_50", "ms_per_image", "parameters"),
)


def main() -> None:
    """Train, compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder with train.csv, images.csv and Train/")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="NAME")
    parser.add_argument("--max-time", default="25m", help="training time of each run")
    parser.add_argument("--out", type=Path, default=Path("runs/magnetic_tile"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", type=Path, help="a Markdown file to write")
    options = parser.parse_args()

    data = options.out / "dataset"
    if not data.exists():
        meta = options.source / "images.csv"
        defectkit.prepare(options.source / "train.csv", meta=meta, out=data)
    runs = [options.out / name for name in options.runs]
    for run in runs:
        if not (run / "model").exists():
            by_approach = run.name in ("patch", "box", "segment")
            defectkit.train(
                approach=run.name if by_approach else None,
                config=None if by_approach else run.name,
                data=data,
                out=run,
                max_time=options.max_time,
                settings=options.set,
            )
    rows = table_rows(defectkit.compare(*runs, out=options.out / "comparison"))
    if options.table:
        n_defective, n_good = rows[0]["n_defective"], rows[0]["n_good"]
        text = (
            f"{options.max_time} of training each on {os.cpu_count()} CPU cores; {n_defective} "
            f"defective and {n_good} good test images. Below a value: its counts and "
            f"its 95 % interval.\n**Bold**: the best. ▼: significantly worse than the best.\n\n"
            f"{table(rows)}"
        )
        options.table.write_text(text, encoding="utf-8")


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with a column per run: values with their counts and intervals."""
    lines = [["", *(row["run"] for row in rows)], ["---", *("---:" for _ in rows)]]
    section = {line.key: name for name, lines in SECTIONS.items() for line in lines}
    for key in METRICS:
        cells = make_cells(LINES[key], rows)
        texts = [
            (f"**{cell.value}**" if cell.best else cell.value) + (" ▼" if cell.worse else "")
            for cell in cells
        ]
        details = ["<br>".join(["", *cell.details]) for cell in cells]
        name = f"{section[key]}: {LINES[key].name}" if LINES[key].better else LINES[key].name
        lines.append([name, *(a + b for a, b in zip(texts, details, strict=True))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
