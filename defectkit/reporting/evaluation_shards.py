"""Shards of an evaluation.

A shard has the files that an evaluation has until its end (``evaluation_progress.py``). All metrics
are made from these by the merge, as a single process makes them. Times alone differ: of the speed,
and where a page shows it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.numpy import load

from defectkit import shards
from defectkit.deployment.data_to_evaluate import DataToEvaluate
from defectkit.deployment.evaluate_images import Evaluation, Judged, summarize_images
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.evaluation.box_metrics import BoxMetrics
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.files import read_limited
from defectkit.growing_csv import read_whole_rows
from defectkit.reporting.evaluation_folder import evaluation_folder
from defectkit.reporting.evaluation_progress import (
    COLUMNS,
    PIXELS,
    RECORDS,
    STATE,
    WAY_ON,
    EvaluationProgress,
    files_in_progress,
    judge_with_progress,
)
from defectkit.reporting.evaluation_records import KeptImage, read_record
from defectkit.reporting.stopped import tell_if_stopped
from defectkit.results_folder import Results, write_results
from defectkit.shards import Shard, WrittenShard, damaged_shard
from defectkit.tables import make_table
from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays

COMMAND = "evaluate"
KIND = "evaluation"


@contextmanager
def open_shard(
    run: Path, data: DataToEvaluate, shard: Shard, *, resume: bool = False
) -> Iterator[Results]:
    """Lock the folder of a shard of an evaluation; with ``resume`` what one left stays there.

    Raises:
        OutputError: another process writes there, or the folder cannot be written.
    """
    out = evaluation_folder(run, data)
    shards.refuse_replaced(out, kind=KIND, sources=[])
    chosen = (data.records[place] for place in _places(data, shard))
    with write_results(
        shard.folder(out),
        kind=shards.KIND,
        head=shards.HEAD,
        names=files_in_progress(chosen),
        keep=resume,
        otherwise="",
    ) as results:
        yield results


def evaluate_shard(
    results: Results,
    run: Path,
    model: LoadedModel,
    data: DataToEvaluate,
    *,
    shard: Shard,
    same: Mapping[str, str],
    all_regions: bool,
    overlays: Overlays,
    options: Mapping[str, Any],
    resume: bool = False,
    console: Console,
) -> Evaluation:
    """Evaluate a shard of the images, write its files, and return the evaluation of these images.

    Args:
        results: of ``open_shard``.
        run: the run's folder.
        model: the run's model.
        data: what to evaluate on, all of it.
        shard: the part.
        same: of ``describe_evaluation``, with the options that follow.
        all_regions: whether regions of images with the verdict good are listed too.
        overlays: which images are drawn.
        options: ``data`` and ``map_class`` of ``evaluate``, for the merge.
        resume: whether to go on behind the last image that a shard which did not end kept.
        console: where to report.

    Raises:
        ConfigError: what is to be continued is another shard, or damaged.
        DatasetError: an image was changed.
        ImageError: an image cannot be read.
        OutputError: the folder cannot be written.
    """
    chosen = _places(data, shard)
    progress = EvaluationProgress(results, model, data, chosen, overlays=overlays)
    progress.begin(same, resume=resume, console=console)
    with tell_if_stopped(console, results, RECORDS, way_on=WAY_ON), progress:
        judge_with_progress(
            progress,
            model,
            all_regions=all_regions,
            on_image=progress.add,
            title=f"evaluating shard {shard} of {data.folder}",
            console=console,
        )
    progress.check_pictures()
    (results.folder / STATE).unlink()
    shards.write_head(
        results.folder,
        shard,
        command=COMMAND,
        same=same,
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
    console.print(one_line(told), highlight=False)
    return _summarize(model, progress.judged, results.out, all_regions=all_regions)


def finished_shard(
    run: Path,
    model: LoadedModel,
    data: DataToEvaluate,
    shard: Shard,
    same: Mapping[str, str],
    console: Console,
) -> Evaluation | None:
    """Return the evaluation of a shard that is complete already, None if it is not.

    Arguments are as of ``evaluate_shard``.

    Raises:
        ConfigError: it is damaged.
    """
    folder = shard.folder(evaluation_folder(run, data))
    written = shards.read_finished(folder, shard, command=COMMAND, same=same)
    if written is None:
        return None
    told = f"shard {shard} is finished already, in {folder}"
    console.print(one_line(told), highlight=False)
    judged = join_shards([written], read_kept([written], data, _places(data, shard)), model)
    return _summarize(model, judged, folder, all_regions=written.content["all_regions"])


def read_kept(
    written: Sequence[WrittenShard], data: DataToEvaluate, places: Sequence[int]
) -> list[KeptImage]:
    """Return what is kept of the images at these places in the data, in their order.

    Raises:
        ConfigError: an image is missing or in two shards, or a shard is damaged.
    """
    kept: dict[int, KeptImage] = {}
    for one in written:
        try:
            for (place, record), _ in read_whole_rows(one.folder / RECORDS, COLUMNS):
                image = read_record(json.loads(record))
                image_id = image.row["image_id"]
                if image_id != data.records[int(place)].image_id or int(place) in kept:
                    raise ValueError(f"{image_id} is not of this shard, or of another one too")
                kept[int(place)] = image
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise damaged_shard(one.shard, one.folder, error) from error
    missing = [place for place in places if place not in kept]
    if missing:
        one = next(one for one in written if one.shard.takes(missing[0]))
        image_id = data.records[missing[0]].image_id
        raise damaged_shard(one.shard, one.folder, f"the image {image_id} is in no shard")
    return [kept[place] for place in places]


def join_shards(
    written: Sequence[WrittenShard], kept: Sequence[KeptImage], model: LoadedModel
) -> Judged:
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


def _summarize(
    model: LoadedModel, judged: Judged, folder: Path, *, all_regions: bool
) -> Evaluation:
    if not judged.rows:
        none = make_table([])
        return Evaluation(metrics={}, images=none, regions=none, folder=folder)
    return summarize_images(model, judged, folder=folder, all_regions=all_regions)


def _places(data: DataToEvaluate, shard: Shard) -> list[int]:
    return [place for place in range(len(data.records)) if shard.takes(place)]
