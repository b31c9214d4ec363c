"""What novelty finds of defects that were never labeled, alone and fused with segment.

    python benchmarks/novelty.py ../shared/data/magnetic_tile --max-time 10m
    python benchmarks/novelty.py ../shared/data/magnetic_tile --leave-out

Trains ``novelty`` on the good training images alone and ranks the test images by it; their labels
serve to score it. With ``--leave-out`` a class after the other has all its images removed from
train and val, and ``segment`` learns from the rest. What it finds on test of that class, and of the
classes that it knows, stands beside what it finds when ``novelty`` is fused with it
(``novelty.fuse``), and what ``novelty`` finds alone. Intervals (95 %) are from resampled groups of
images; regions are those found at the thresholds that validation chose. Existing runs are not
trained again.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.evaluate_images import Evaluation
from defectkit.evaluation.bootstrap import (
    bootstrap,
    percentile_interval,
    resampled_auroc,
    resampled_average_precision,
)
from defectkit.evaluation.ranking import auroc, average_precision


def main() -> None:
    """Train, evaluate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder with train.csv, images.csv and Train/")
    parser.add_argument("--leave-out", action="store_true", help="leave out each class in turn")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="leave out these alone")
    parser.add_argument("--max-time", default="10m", help="training time of each segment run")
    parser.add_argument("--out", type=Path, default=Path("runs/novelty"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()

    whole = options.out / "dataset"
    if not whole.exists():
        meta = options.source / "images.csv"
        defectkit.prepare(options.source / "train.csv", meta=meta, out=whole)
    dataset = Dataset.load(whole)
    novelty = evaluated(options.out / "novelty", whole, "novelty", options.set)
    print("| defects on test | run | image AUROC | image AP | regions found |")
    print("| --- | --- | --- | --- | --- |")
    report(dataset, novelty, "novelty", None)
    for class_id in options.classes or (dataset.classes if options.leave_out else ()):
        data = options.out / f"dataset-without-{class_id}"
        if not data.exists():
            leave_out(options.source, dataset, class_id, data)
        run = options.out / f"segment-without-{class_id}"
        segment = evaluated(run, data, "segment", options.set, max_time=options.max_time)
        settings = [*options.set, f"novelty.fuse={run}"]
        fused = evaluated(options.out / f"fused-without-{class_id}", data, "novelty", settings)
        for known in (False, True):
            report(dataset, segment, f"segment without {class_id}", class_id, known=known)
            report(dataset, fused, "fused with novelty", class_id, known=known)
            report(dataset, novelty, "novelty", class_id, known=known)


def evaluated(
    run: Path, data: Path, approach: str, settings: list[str], **options: str
) -> Evaluation:
    """Return the evaluation of a run on test, trained where it is not yet."""
    if not (run / "model").exists():
        defectkit.train(approach=approach, data=data, out=run, settings=settings, **options)
    return defectkit.evaluate(run)


def leave_out(source: Path, dataset: Dataset, class_id: str, out: Path) -> None:
    """Prepare the data without the training and validation images that have a defect of a class."""
    images = dataset.images
    defects = dataset.defects
    with_class = defects.loc[defects["class_id"] == class_id, "image_id"]
    kept = images[~images["image_id"].isin(with_class) | (images["split"] == "test")]
    labels = pd.read_csv(source / "train.csv", dtype=str, keep_default_na=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    files = {name: out.with_name(f"{out.name}-{name}.csv") for name in ("labels", "meta")}
    labels[labels["ImageId"].isin(kept["image_id"])].to_csv(files["labels"], index=False)
    meta = kept[["image_id", "group", "split"]].rename(columns={"image_id": "ImageId"})
    meta.to_csv(files["meta"], index=False)
    defectkit.prepare(
        files["labels"], images=source / "Train", meta=files["meta"], out=out, allow_leaks=True
    )


def report(
    dataset: Dataset,
    evaluation: Evaluation,
    name: str,
    class_id: str | None,
    *,
    known: bool = False,
) -> None:
    """Print a row: all defects on test, or the good images and those with defects of one class.

    With ``known`` it is of the good images and those without a defect of that class.
    """
    images, defects = evaluation.images, dataset.defects
    if class_id is not None:
        with_class = images["image_id"].isin(
            defects.loc[defects["class_id"] == class_id, "image_id"]
        )
        images = images[~with_class if known else ~images["defective"].astype(bool) | with_class]
    truth, scores = images["defective"].to_numpy(bool), images["score"].to_numpy(np.float64)
    groups = np.unique(images["group"], return_inverse=True)[1]
    ranked = [resampled_auroc(truth, scores), resampled_average_precision(truth, scores)]
    cells = []
    for value, resampled in zip(
        (auroc(truth, scores), average_precision(truth, scores)),
        bootstrap(ranked, groups),
        strict=True,
    ):
        low, high = percentile_interval(resampled) or (np.nan, np.nan)
        cells.append(f"{value:.3f} ({low:.3f} to {high:.3f})" if value is not None else "-")
    regions = evaluation.regions
    true = regions[regions["kind"] == "true"]
    shown = "all"
    if class_id is not None:
        true = true[(true["class_id"] == class_id) != known]
        shown = f"all but class {class_id}" if known else f"class {class_id}, never labeled"
    found = int(true["found"].astype(bool).sum())
    print(f"| {shown} | {name} | {' | '.join(cells)} | {found} of {len(true)} |", flush=True)


if __name__ == "__main__":
    main()
