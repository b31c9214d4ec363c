"""``defectkit suspects``: the labels that a trained model, or the pixels themselves, contradict."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from defectkit.devices import let_idle_threads_sleep
from defectkit.errors import ConfigError
from defectkit.files import ensure_writable, read_csv, write_csv, write_text
from defectkit.vocabulary import Device

if TYPE_CHECKING:
    from defectkit.data.dataset import Dataset, ImageRecord
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.suspects import Suspect


def run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    max_images: int = 50,
    device: Device = "auto",
    console: Console | None = None,
) -> "list[Suspect]":
    """List the labels that a trained model contradicts: a work list for relabeling.

    Inspects the training and validation images, never the test images. Finds defects that the model
    predicts and nobody labeled, labels where it predicts nothing or another class, copies that are
    labeled differently, regions of a few pixels or that look like their surroundings. The model was
    fitted to the labels of the training images: what it contradicts there is telling, and what it
    does not is no proof. Changes nothing.

    Examples:
        defectkit suspects runs/segment-1
        defectkit suspects runs/segment-1 --max-images 200 --out relabel

    Args:
        run: The run folder.
        data: The dataset folder; by default the one that the run was trained on.
        out: The folder to write; by default RUN/suspects.
        max_images: Number of images to draw; suspects.csv lists all of them.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        The suspects, the images with the worst first.

    Raises:
        DefectkitError: The run or its dataset is missing or does not fit.
    """
    let_idle_threads_sleep()
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.evaluation.suspects import SUSPECT_COLUMNS, rank_suspects
    from defectkit.reporting.drawing.overlay import overlay_name
    from defectkit.reporting.html.suspects import suspects_page

    console = console or Console(stderr=True)
    if max_images < 1:
        raise ConfigError(f"--max-images is {max_images}. Give at least 1.")
    run = Path(run)
    model = TrainedModel.load(run, device=device)
    dataset = load_dataset_of_run(run, model, Path(data) if data else None)
    out = ensure_writable(out or run / "suspects")
    records = [*dataset.split("val"), *dataset.split("train")]
    found = rank_suspects([*_contradicted(model, records, console), *_copies(dataset, records)])
    splits = {record.image_id: record.split for record in records}
    write_csv(
        out / "suspects.csv",
        SUSPECT_COLUMNS,
        (one.cells(number, splits[one.image_id]) for number, one in enumerate(found, start=1)),
    )
    for old in (out / "pictures").glob("*.png"):
        old.unlink()
    images = [(image_id, list(own)) for image_id, own in groupby(found, lambda one: one.image_id)]
    by_id = {record.image_id: record for record in records}
    entries = []
    for place, (image_id, own) in enumerate(
        track(images[:max_images], "drawing", console=console, disable=not console.is_terminal),
        start=1,
    ):
        path = out / "pictures" / f"{place:03d}-{overlay_name(image_id)}"
        _draw(model, by_id[image_id], own, path)
        entries.append((path, splits[image_id], own))
    page = suspects_page(entries, title=f"{run.resolve().name}: suspect labels", total=len(images))
    write_text(out / "suspects.html", page)
    _print(console, found, images=len(images), looked_at=len(records), out=out)
    return found


def _contradicted(
    model: "TrainedModel", records: "Sequence[ImageRecord]", console: Console
) -> "Iterator[Suspect]":
    from defectkit.evaluation.prediction import predict
    from defectkit.evaluation.suspects import suspects_by_model, suspects_by_pixels

    approach = model.approach
    looks = predict(approach, model.network, records)
    for look in track(
        looks,
        "comparing labels",
        total=len(records),
        console=console,
        disable=not console.is_terminal,
    ):
        image_id = look.record.image_id
        yield from suspects_by_model(
            look.finding,
            look.truth.masks,
            image_id=image_id,
            classes=approach.classes,
            pixel_threshold=approach.pixel_threshold,
            min_area=approach.config.infer.min_area,
        )
        yield from suspects_by_pixels(
            look.image, look.truth.masks, image_id=image_id, classes=approach.classes
        )


def _copies(dataset: "Dataset", records: "Sequence[ImageRecord]") -> "Iterator[Suspect]":
    from defectkit.evaluation.suspects import suspects_by_copies

    labels = {record.image_id: record.rles for record in records}
    leaks = read_csv(dataset.folder / "leaks.csv")
    pairs = [
        (row["image_id_a"], row["image_id_b"])
        for row in leaks
        if row["kind"] == "exact" and {row["image_id_a"], row["image_id_b"]} <= labels.keys()
    ]
    return suspects_by_copies(pairs, labels)


def _draw(
    model: "TrainedModel", record: "ImageRecord", own: "Sequence[Suspect]", path: Path
) -> None:
    import numpy as np

    from defectkit.data.images import write_png
    from defectkit.evaluation.verdicts import judge
    from defectkit.reporting.drawing.overlay import draw_overlay

    image = record.read_image(model.approach.channels)
    finding = model.find(image)
    picture = draw_overlay(
        image,
        finding,
        judge(finding.score, model.thresholds),
        image_id=record.image_id,
        truth=np.asarray(record.read_masks(model.approach.classes).any(axis=0)),
        tags=[(f"{one.kind} {one.suspicion:.2f}", one.box_xywh) for one in own if one.box_xywh],
    )
    write_png(path, picture, compress_level=1)


def _print(
    console: Console, found: "Sequence[Suspect]", *, images: int, looked_at: int, out: Path
) -> None:
    from defectkit.evaluation.suspects import KIND_MEANINGS

    table = Table(title=f"{images} of {looked_at} images have suspect labels", title_justify="left")
    table.add_column("kind")
    table.add_column("labels", justify="right")
    table.add_column("what it means", style="dim")
    for kind, meaning in KIND_MEANINGS.items():
        table.add_row(kind, str(sum(one.kind == kind for one in found)), meaning)
    console.print(table)
    for one in islice(found, 10):
        console.print(
            f"  {one.image_id}: {one.kind} {one.suspicion:.2f}, {one.reason}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"work list in {out / 'suspects.csv'}, with pictures in {out / 'suspects.html'}. "
        "Nothing was changed: mend the labels and run 'defectkit prepare' again.",
        markup=False,
        soft_wrap=True,
    )
