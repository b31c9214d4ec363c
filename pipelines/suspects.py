"""``defectkit suspects``: the labels that a trained model, copies or the pixels contradict."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from defectkit.errors import check_range
from defectkit.files import read_csv, write_text
from defectkit.process_settings import own_torch_settings
from defectkit.results_folder import write_results
from defectkit.tables import make_table, write_table
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import Device, Split

if TYPE_CHECKING:
    import pandas as pd

    from defectkit.data.dataset import Dataset, ImageRecord
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.suspects import Suspect

MAX_IMAGES = 100_000
"""The largest ``--max-images``."""
PRINTED_SUSPECTS = 10
"""Number of suspects that are printed."""


@own_torch_settings()
def run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    max_images: int = 50,
    open_page: bool = False,
    device: Device = "auto",
    console: Console | None = None,
) -> "list[Suspect]":
    """List the labels that a trained model contradicts: a work list for relabeling.

    Inspects the training and validation images, never the test images. Finds defects that the model
    predicts and that are not labeled, labels where it predicts nothing or another class, copies
    that are labeled differently, and regions that have a few pixels only or look like their
    surroundings.
    The model was fitted to the labels of the training images: a label that it still contradicts
    there is probably wrong, but a label that it accepts is not proven right. Changes nothing.

    Examples:
        defectkit suspects runs/segment-1
        defectkit suspects runs/segment-1 --max-images 200 --out relabel

    Args:
        run: The run folder.
        data: The dataset folder; by default the one that the run was trained on.
        out: The folder to write, by default RUN/suspects; an earlier list there is replaced.
        max_images: Maximum number of images to draw; suspects.csv lists all suspects.
        open_page: Open the work list in the browser at the end.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        The suspects image by image, the image with the highest suspicion first.

    Raises:
        DefectkitError: The run or its dataset is missing or does not fit.
    """
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.suspects import rank_suspects
    from defectkit.reporting.html.suspects import suspects_page
    from defectkit.reporting.open_page import open_page as open_in_browser

    console = console or SafeConsole()
    check_range("--max-images", max_images, 1, MAX_IMAGES)
    run = Path(run)
    model = TrainedModel.load(run, device=device)
    dataset = load_dataset_of_run(run, model, Path(data) if data else None)
    out = run / "suspects" if out is None else out
    with write_results(
        out, kind="suspects", head="suspects.csv", names=["suspects.html"]
    ) as results:
        records = [*dataset.split("val"), *dataset.split("train")]
        suspects = rank_suspects(
            [
                *_check_predictions(model, records, console),
                *_check_copies(dataset, records),
            ]
        )
        table = _make_table(suspects, records)
        write_table(results.folder / "suspects.csv", table)
        entries = _draw_pictures(
            model, records, suspects, results.folder, max_images=max_images, console=console
        )
        title = f"{run.resolve().name}: suspect labels"
        page = suspects_page(entries, title=title, total=table["image_id"].nunique())
        write_text(results.folder / "suspects.html", page)
    _print(console, suspects, table, n_images=len(records), out=results.out)
    if open_page:
        open_in_browser(results.out / "suspects.html", console)
    return suspects


def _check_predictions(
    model: "TrainedModel", records: "Sequence[ImageRecord]", console: Console
) -> "Iterator[Suspect]":
    """Yield the labels that the model's predictions or the pixels contradict."""
    from defectkit.evaluation.suspects import suspects_by_model, suspects_by_pixels
    from defectkit.reporting.evaluation_progress import predict_with_progress

    approach = model.approach
    for prediction in predict_with_progress(
        model, records, title="comparing labels", console=console
    ):
        image_id, truth = prediction.record.image_id, prediction.truth
        yield from suspects_by_model(
            prediction.finding,
            truth,
            found_classes=approach.found_classes,
            image_id=image_id,
            pixel_threshold=approach.tuning.pixel_threshold,
        )
        yield from suspects_by_pixels(prediction.image, truth, image_id=image_id)


def _check_copies(dataset: "Dataset", records: "Sequence[ImageRecord]") -> "Iterator[Suspect]":
    """Yield the images whose copies are labeled differently."""
    from defectkit.evaluation.suspects import suspects_by_copies

    labels = {record.image_id: record.rles for record in records}
    leaks = read_csv(dataset.folder / "leaks.csv")
    pairs = [
        (row["image_id_a"], row["image_id_b"])
        for row in leaks
        if row["kind"] == "exact" and {row["image_id_a"], row["image_id_b"]} <= labels.keys()
    ]
    return suspects_by_copies(pairs, labels)


def _make_table(suspects: "Sequence[Suspect]", records: "Sequence[ImageRecord]") -> "pd.DataFrame":
    """Return the rows of ``suspects.csv``."""
    from defectkit.evaluation.suspects import SUSPECT_COLUMNS

    splits = {record.image_id: record.split for record in records}
    cells = (
        suspect.cells(rank, splits[suspect.image_id])
        for rank, suspect in enumerate(suspects, start=1)
    )
    return make_table(
        [dict(zip(SUSPECT_COLUMNS, row, strict=True)) for row in cells], columns=SUSPECT_COLUMNS
    )


def _draw_pictures(
    model: "TrainedModel",
    records: "Sequence[ImageRecord]",
    suspects: "Sequence[Suspect]",
    out: Path,
    *,
    max_images: int,
    console: Console,
) -> "list[tuple[Path, Split, list[Suspect]]]":
    """Draw the first images and return the path, split and suspects of each."""
    from defectkit.reporting.drawing.overlay import overlay_name
    from defectkit.reporting.progress import track

    by_id = {record.image_id: record for record in records}
    by_image = [(name, list(own)) for name, own in groupby(suspects, lambda one: one.image_id)]
    entries = []
    for place, (image_id, own) in enumerate(
        track(by_image[:max_images], "drawing", console=console),
        start=1,
    ):
        path = out / "pictures" / f"{place:03d}-{overlay_name(image_id)}"
        _draw(model, by_id[image_id], own, path)
        entries.append((path, by_id[image_id].split, own))
    return entries


def _draw(
    model: "TrainedModel", record: "ImageRecord", suspects: "Sequence[Suspect]", path: Path
) -> None:
    import numpy as np

    from defectkit.evaluation.verdicts import judge
    from defectkit.reporting.drawing.overlay_files import write_overlay

    image, scope = record.read_image(model.approach.channels), record.read_scope()
    finding = model.find(image, scope)
    write_overlay(
        path,
        record.pixels.show(image),
        finding,
        judge(finding.score, model.thresholds),
        image_id=record.image_id,
        truth=np.asarray(record.read_masks(model.approach.classes).any(axis=0)),
        scope=scope,
        tags=[
            (f"{one.kind} {one.suspicion:.2f}", one.box_xywh) for one in suspects if one.box_xywh
        ],
    )


def _print(
    console: Console,
    suspects: "Sequence[Suspect]",
    table: "pd.DataFrame",
    *,
    n_images: int,
    out: Path,
) -> None:
    from defectkit.evaluation.suspects import KIND_MEANINGS

    counts = table.groupby("kind").size()
    summary = Table(
        title=f"{table['image_id'].nunique()} of {n_images} images have suspect labels",
        title_justify="left",
    )
    summary.add_column("kind")
    summary.add_column("labels", justify="right")
    summary.add_column("meaning", style="dim")
    for kind, meaning in KIND_MEANINGS.items():
        summary.add_row(kind, str(counts.get(kind, 0)), meaning)
    console.print(summary)
    for one in suspects[:PRINTED_SUSPECTS]:
        console.print(
            one_line(f"  {one.image_id}: {one.kind}, {one.reason}"),
            highlight=False,
            soft_wrap=True,
        )
    if len(suspects) > PRINTED_SUSPECTS:
        console.print(f"  and {len(suspects) - PRINTED_SUSPECTS} more", highlight=False)
    console.print(
        one_line(
            f"work list in {out / 'suspects.csv'}, with pictures in {out / 'suspects.html'}. "
            "Nothing was changed: mark there what is wrong, save relabel.csv, and give it to "
            "'defectkit prepare --relabel'; or fix the labels."
        ),
        soft_wrap=True,
    )
