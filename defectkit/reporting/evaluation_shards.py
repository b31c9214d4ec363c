"""Shards of an evaluation, and their merge: byte for byte what a single process writes.

A shard has the pictures of its images, what is kept of each of them (``records.csv``) and the
counts of their pixels (``pixels.safetensors``). All metrics are made from these by the merge, as a
single process makes them. Times alone differ: of the speed, and where a page shows it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.numpy import load, save

from defectkit import shards
from defectkit.deployment.data_to_evaluate import DataToEvaluate, load_data_to_evaluate
from defectkit.deployment.evaluate_images import (
    Evaluation,
    Judged,
    JudgedImage,
    judge_images,
    summarize_images,
)
from defectkit.deployment.load_model import load_model
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ConfigError, shown
from defectkit.evaluation.box_metrics import BoxMetrics
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.files import read_cells, read_limited, write_bytes
from defectkit.growing_csv import GrowingCsv
from defectkit.reporting.evaluation_folder import (
    evaluation_folder,
    open_evaluation,
    picture_files,
    predict_with_progress,
    write_evaluation,
)
from defectkit.reporting.evaluation_pictures import DrawnImages, EvaluationPictures
from defectkit.reporting.evaluation_records import KeptImage, read_record, write_record
from defectkit.reporting.html.page_images import PICTURES
from defectkit.results_folder import Results, write_results
from defectkit.seals import seal_of
from defectkit.shards import Shard, WrittenShard, damaged_shard
from defectkit.tables import make_table
from defectkit.terminal import one_line
from defectkit.versions import describe_software
from defectkit.vocabulary import Overlays

COMMAND = "evaluate"
KIND = "evaluation"
RECORDS = "records.csv"
PIXELS = "pixels.safetensors"
COLUMNS = ("place", "record")
ONLY_IN_SHARDS = ("the device", "threads (OMP_NUM_THREADS)")
"""What shards have in common, but not with the process that merges them."""


@contextmanager
def open_shard(run: Path, data: DataToEvaluate, shard: Shard) -> Iterator[Results]:
    """Lock the folder of a shard of an evaluation.

    Raises:
        OutputError: another process writes there, or the folder cannot be written.
    """
    out = evaluation_folder(run, data)
    shards.refuse_replaced(out, kind=KIND, sources=[])
    chosen = (data.records[place] for place in _places(data, shard))
    names = [RECORDS, PIXELS, *picture_files(chosen)]
    with write_results(
        shard.folder(out), kind=shards.KIND, head=shards.HEAD, names=names, otherwise=""
    ) as results:
        yield results


def evaluate_shard(
    results: Results,
    run: Path,
    model: LoadedModel,
    data: DataToEvaluate,
    *,
    shard: Shard,
    all_regions: bool,
    overlays: Overlays,
    options: Mapping[str, Any],
    console: Console,
) -> Evaluation:
    """Evaluate a shard of the images, write its files, and return the evaluation of these images.

    Args:
        results: of ``open_shard``.
        run: the run's folder.
        model: the run's model.
        data: what to evaluate on, all of it.
        shard: the part.
        all_regions: whether regions of images with the verdict good are listed too.
        overlays: which images are drawn.
        options: ``data`` and ``map_class`` of ``evaluate``, for the merge.
        console: where to report.

    Raises:
        DatasetError: an image was changed.
        ImageError: an image cannot be read.
        OutputError: the folder cannot be written.
    """
    chosen = _places(data, shard)
    pictures, places = EvaluationPictures(results.folder, overlays), iter(chosen)
    with GrowingCsv(results.folder / RECORDS, COLUMNS) as table:

        def write(judged: JudgedImage) -> None:
            pictures.add(judged)
            page = pictures.page_images[judged.prediction.record.image_id]
            table.append([(next(places), json.dumps(write_record(judged, page)))])

        title = f"evaluating shard {shard} of {data.folder}"
        predictions = predict_with_progress(
            model, [data.records[place] for place in chosen], title=title, console=console
        )
        judged = judge_images(model, predictions, all_regions=all_regions, on_image=write)
    write_bytes(results.folder / PIXELS, save(judged.pixels.arrays()))
    shards.write_head(
        results.folder,
        shard,
        command=COMMAND,
        same=_describe(model, data, all_regions=all_regions, overlays=overlays),
        tables=[RECORDS, PIXELS],
        content={
            "run": str(run),
            "split": data.split,
            **options,
            "all_regions": all_regions,
            "overlays": overlays,
            "device": model.device_name,
            "threads": model.threads,
        },
    )
    told = (
        f"shard {shard} is finished, {len(chosen)} images; with all {shard.count}: defectkit merge "
        f"{evaluation_folder(run, data)}"
    )
    console.print(one_line(told), soft_wrap=True, highlight=False)
    if not chosen:
        none = make_table([])
        return Evaluation(metrics={}, images=none, regions=none, folder=results.out)
    return summarize_images(model, judged, folder=results.out, all_regions=all_regions)


def merge_evaluation(out: Path, written: Sequence[WrittenShard], console: Console) -> Evaluation:
    """Write the evaluation in ``out`` that the shards are of, and return it.

    Args:
        out: the folder of the evaluation in its run.
        written: all shards, by their numbers.
        console: where to report.

    Raises:
        ConfigError: an image is missing or in two shards, a shard is damaged, or model or data were
            changed since.
        OutputError: the folder cannot be written.
        DefectkitError: the run or its dataset is missing.
    """
    content = written[0].content
    run = _run_of(out, content["run"])
    model = load_model(run, device="cpu")
    data = load_data_to_evaluate(
        run,
        model,
        data=Path(content["data"]) if content["data"] else None,
        split=content["split"],
        map_class=content["map_class"],
    )
    all_regions, overlays = content["all_regions"], content["overlays"]
    _check_unchanged(written[0], _describe(model, data, all_regions=all_regions, overlays=overlays))
    kept = _read_records(written, data)
    drawn = DrawnImages(overlays)
    for image in kept:
        drawn.take(image.row["image_id"], image.row["outcome"])
    with open_evaluation(run, data) as results, shards.remove_if_failed(results, [PICTURES]):
        for one in written:
            for name in one.files:
                folder, _, file = name.partition("/")
                whole = file.removesuffix(".preview.jpg") + ".png"
                if folder == PICTURES or file in drawn.names or whole in drawn.names:
                    shards.link_file(one.folder / name, results.folder / name)
        return write_evaluation(
            results,
            run,
            model,
            data,
            _join(written, kept, model),
            page_images={image.row["image_id"]: image.page for image in kept},
            n_overlays=len(drawn.names),
            all_regions=all_regions,
            console=console,
        )


def _places(data: DataToEvaluate, shard: Shard) -> list[int]:
    return [place for place in range(len(data.records)) if shard.takes(place)]


def _describe(
    model: LoadedModel, data: DataToEvaluate, *, all_regions: bool, overlays: Overlays
) -> dict[str, str]:
    """Return what the shards of an evaluation must have in common."""
    images = hashlib.sha256()
    for record in data.records:
        images.update(json.dumps([record.image_id, record.sha256]).encode())
    return {
        **describe_software(),
        "the model": seal_of(model.info),
        "what is evaluated": json.dumps(data.describe(model.info), sort_keys=True),
        "images": f"{len(data.records)} images, {images.hexdigest()[:16]}",
        "--all-regions": str(all_regions),
        "--overlays": overlays,
        **dict(zip(ONLY_IN_SHARDS, (model.device_name, str(model.threads)), strict=True)),
    }


def _run_of(out: Path, recorded: str) -> Path:
    """Return the run that an evaluation is in, by the path that ``evaluate`` got where it fits."""
    run = Path(recorded)
    own = out.parent.parent
    try:
        return run if run.samefile(own) else own
    except OSError:
        return own


def _check_unchanged(one: WrittenShard, now: Mapping[str, str]) -> None:
    for name, value in now.items():
        if name not in ONLY_IN_SHARDS and one.same.get(name) != value:
            raise ConfigError(
                f"the shards cannot be merged: {name} is {shown(value)} now, and was "
                f"{shown(one.same.get(name, ''))} when they were written. Evaluate all shards "
                "again, or merge with what they were written with."
            )


def _read_records(written: Sequence[WrittenShard], data: DataToEvaluate) -> list[KeptImage]:
    """Return what is kept of all images, in the order of the data.

    Raises:
        ConfigError: an image is missing or in two shards, or a shard is damaged.
    """
    kept: dict[int, KeptImage] = {}
    for one in written:
        try:
            rows = read_cells(one.folder / RECORDS)
            next(rows)
            for number, (place, record) in enumerate(rows):
                image = read_record(json.loads(record), is_first=number == 0)
                image_id = image.row["image_id"]
                if image_id != data.records[int(place)].image_id or int(place) in kept:
                    raise ValueError(f"{image_id} is not of this shard, or of another one too")
                kept[int(place)] = image
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise damaged_shard(one.shard, one.folder, error) from error
    missing = [place for place in range(len(data.records)) if place not in kept]
    if missing:
        one = next(one for one in written if one.shard.takes(missing[0]))
        image_id = data.records[missing[0]].image_id
        raise damaged_shard(one.shard, one.folder, f"the image {image_id} is in no shard")
    return [kept[place] for place in range(len(data.records))]


def _join(written: Sequence[WrittenShard], kept: Sequence[KeptImage], model: LoadedModel) -> Judged:
    """Return what all shards judged, as a single process has it."""
    classes, threshold = model.found_classes, model.tuning.pixel_threshold
    pixels = PixelMetrics(classes=classes, threshold=threshold)
    for one in written:
        try:
            arrays = load(read_limited(one.folder / PIXELS))
            pixels.merge(PixelMetrics.from_arrays(arrays, classes=classes, threshold=threshold))
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise damaged_shard(one.shard, one.folder, error) from error
    content = written[0].content
    judged = Judged(
        pixels=pixels,
        boxes=BoxMetrics(classes=classes),
        device=content["device"],
        threads=content["threads"],
    )
    for image in kept:
        judged.add(image.row, image.matches, image.boxes, image.seconds, is_first=image.is_first)
    return judged
