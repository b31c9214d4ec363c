"""Shards of a preparation: the facts of a part of the images, for ``prepare`` to take them over.

What depends on all images, such as groups, splits and the search for images that show the same, is
left to the process that joins the shards; so is the second reading of images of more than 8 bits,
whose window depends on all of them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from defectkit import shards
from defectkit.continued_results import bring_back, keep_alone
from defectkit.data.pixel_format import PixelFormat
from defectkit.errors import ConfigError, shown
from defectkit.preparation.kept_facts import FACTS, KeptFacts
from defectkit.preparation.matching import Matching
from defectkit.preparation.worker_pool import open_worker_pool
from defectkit.preparation.write_dataset import KIND
from defectkit.reporting.progress import track
from defectkit.reporting.stopped import tell_if_stopped
from defectkit.results_folder import write_results
from defectkit.shards import Shard, WrittenShard
from defectkit.terminal import one_line
from defectkit.versions import describe_software

COMMAND = "prepare"
WAY_ON = "The same command with --resume reads only the images that are left."


def prepare_shard(
    out: Path,
    shard: Shard,
    matching: Matching,
    kept: KeptFacts,
    pixels: PixelFormat,
    *,
    workers: int | None,
    resume: bool,
    console: Console,
) -> int:
    """Write the facts of a shard of the images, and return their number.

    Args:
        out: the folder of the whole dataset.
        shard: the part.
        matching: all images.
        kept: examines images.
        pixels: how images are read.
        workers: number of worker processes.
        resume: whether to go on with a shard that was stopped.
        console: where to report.

    Raises:
        OutputError: the folder cannot be written, or has other results.
        WorkerError: a worker process died.
    """
    folder, same = shard.folder(out), _describe(matching, kept, pixels)
    images = [image for place, image in enumerate(matching.images) if shard.takes(place)]
    if resume and shards.is_finished(folder, shard, command=COMMAND, same=same):
        told = f"shard {shard} is finished already, in {folder}"
        console.print(one_line(told), highlight=False)
        return len(images)
    shards.refuse_replaced(out, kind=KIND, sources=matching.table.files)
    with (
        write_results(
            folder, kind=shards.KIND, head=shards.HEAD, names=[FACTS], keep=resume
        ) as results,
        open_worker_pool(workers, n_jobs=len(images)) as pool,
    ):
        if resume and bring_back(results, FACTS):
            keep_alone(results, FACTS)
        with (
            kept.keep_in(results.folder / FACTS),
            tell_if_stopped(console, results, FACTS, way_on=WAY_ON),
        ):
            found = kept.examine(images, pixels, pool)
            what = f"Reading images of shard {shard}"
            for _ in track(found, what, console=console, total=len(images), thread=False):
                pass  # They are in the file.
        shards.write_head(
            results.folder, shard, command=COMMAND, same=same, tables=[FACTS], content={}
        )
    told = (
        f"shard {shard} is finished, {len(images)} images; with all {shard.count}: the same "
        "command with --resume and without --shard"
    )
    console.print(one_line(told), highlight=False)
    return len(images)


def find_shards(
    out: Path, matching: Matching, kept: KeptFacts, pixels: PixelFormat
) -> Sequence[WrittenShard]:
    """Return all shards that a dataset is to be made of, by their numbers; empty if there is none.

    Raises:
        ConfigError: one is missing, damaged or not finished, or they are of other images or labels.
    """
    if not has_shards(out):
        return []
    written = shards.read_shards(out)
    now = {"command": COMMAND, **_describe(matching, kept, pixels)}
    then = {"command": written[0].command, **written[0].same}
    for name in now:
        if now[name] != then.get(name, ""):
            raise ConfigError(
                f"the shards in {out / shards.SHARDS} are of another dataset: {name} was "
                f"{shown(then.get(name, ''))} and is {shown(now[name])} now. Give the images, "
                "labels and options of the shards, or remove them."
            )
    return written


def has_shards(out: Path) -> bool:
    """Return whether the folder of a dataset has shards, finished or not."""
    return any((out / shards.SHARDS).glob("*-of-*"))


def _describe(matching: Matching, kept: KeptFacts, pixels: PixelFormat) -> dict[str, str]:
    """Return what the shards of a dataset must have in common."""
    ids, keys = hashlib.sha256(), hashlib.sha256()
    for image in matching.images:
        ids.update(f"{image.image_id!r},".encode())
        keys.update(kept.key_of(image, pixels).encode())
    return {
        **describe_software(),
        "images": f"{len(matching.images)} images, {ids.hexdigest()[:16]}",
        "files, labels and how they are read": keys.hexdigest()[:16],
    }
