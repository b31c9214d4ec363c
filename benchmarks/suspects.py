"""The number of planted wrong labels that ``suspects`` finds.

    python benchmarks/suspects.py --max-time 150s

Changes the labels of ``sample_data/``: of every eighth defective image the labels are deleted, of
the next one the class is changed, and every eighth good image gets the mask of a defective one.
Trains on these labels, and prints the places of the wrong labels in the work list.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import defectkit
from defectkit.labels.formats.csv_table import read_table

STEP = 8
"""Every STEP-th image gets a wrong label of each kind."""


def main() -> None:
    """Plant wrong labels, train, search for suspects and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, default=Path("sample_data"))
    parser.add_argument("--max-time", default="150s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = plant_wrong_labels(options.source / "train.csv", folder / "train.csv")
        defectkit.prepare(
            folder / "train.csv", images=options.source / "Train", out=folder / "dataset"
        )
        run = defectkit.train(
            data=folder / "dataset", out=folder / "run", max_time=options.max_time
        ).run
        suspects = defectkit.suspects(run)
        rows = (folder / "dataset" / "images.csv").read_text(encoding="utf-8").splitlines()
    searched = {row.split(",")[0] for row in rows[1:] if ",test," not in row}
    ranked = list(dict.fromkeys(one.image_id for one in suspects))
    print(f"{len(searched)} training and validation images, {len(ranked)} with suspect labels")
    for kind in ("deleted", "class", "invented"):
        of_kind = [image_id for image_id, planted_kind in planted.items() if planted_kind == kind]
        places = [
            ranked.index(image_id) + 1 if image_id in ranked else None
            for image_id in of_kind
            if image_id in searched
        ]
        print(f"{kind}: at places {places} of the list")


def plant_wrong_labels(source: Path, target: Path) -> dict[str, str]:
    """Write a label file with wrong labels; return the image ids of these and their kinds."""
    planted: dict[str, str] = {}
    with target.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["ImageId", "ClassId", "EncodedPixels"])
        for image_id, class_id, rle, kind in change_labels(source):
            writer.writerow([image_id, class_id, rle])
            if kind:
                planted[image_id] = kind
    return planted


def change_labels(source: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield image id, class, encoding and the kind of error ("" where the label is right)."""
    rows = read_table(source).rows
    classes = sorted({row.class_id for row in rows if row.rle})
    other = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    defective = [row for row in rows if row.rle]
    ids = dict.fromkeys(row.image_id for row in defective)
    order = {image_id: place for place, image_id in enumerate(ids)}
    goods = 0
    for row in rows:
        place = order.get(row.image_id, 0) % STEP
        if not row.rle:
            goods += 1
            if goods % STEP == 0:
                copied = defective[goods]
                yield row.image_id, copied.class_id, copied.rle, "invented"
            else:
                yield row.image_id, row.class_id, "", ""
        elif place == 1:
            yield row.image_id, row.class_id, "", "deleted"
        elif place == 2:
            yield row.image_id, other[row.class_id], row.rle, "class"
        else:
            yield row.image_id, row.class_id, row.rle, ""


if __name__ == "__main__":
    main()
