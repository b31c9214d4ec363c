"""What a training prints: an introduction, a progress bar, a line per epoch, the end."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from defectkit.approaches.fused import Fused, approach_name
from defectkit.approaches.interface import Approach
from defectkit.config import WITHOUT_ENCODER
from defectkit.data.dataset import Dataset
from defectkit.devices import describe_device, warn_of_slow_precision
from defectkit.memory import GIB, peak_memory
from defectkit.models.model_folder import warnings_of
from defectkit.reporting.metric_tables import format_value
from defectkit.reporting.progress import format_time
from defectkit.tables import table_rows
from defectkit.terminal import one_line
from defectkit.training.history import Row, read_history
from defectkit.training.job import TrainingJob
from defectkit.training.plan import samples_in_all
from defectkit.training.reduced_precision import describe_precision
from defectkit.training.seeds import METRICS, SEEDS_TABLE
from defectkit.training.validation import Validation

if TYPE_CHECKING:
    import pandas as pd

SHORT = 0.1
"""A share of the usual number of samples with which most models are still poor."""


def print_introduction(
    console: Console, job: TrainingJob, dataset: Dataset, *, device: torch.device, out: Path
) -> None:
    """Print what is trained, on which data, where and for how long."""
    approach, network, samples = job.approach, job.network, job.samples
    config = approach.config
    n_validation = 0 if job.out_of_fold else len(job.validation_records)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    epochs, n_classes = config.train.epochs, len(dataset.classes)
    length = f"{epochs} epoch{'' if epochs == 1 else 's'}" if network.learns else "one pass"
    if config.train.max_time:
        length = f"{config.train.max_time:.0f} s"
    precision = describe_precision(network, config.train, device)
    pretrained = "random weights" if network.encoder is None else "pretrained"
    console.print(
        f"[bold]{approach_name(approach)}[/]: {_describe_network(approach)} "
        f"({millions:.2f} M parameters, {pretrained}), {n_classes} "
        f"class{'' if n_classes == 1 else 'es'}\n"
        f"data {one_line(str(dataset.folder))}: {job.training_images} training and {n_validation} "
        f"validation images, {len(samples)} samples per epoch "
        f"({samples.unit})\n"
        f"on {describe_device(device)}, {precision}, for {length}, into {one_line(str(out))}"
    )
    warn_of_slow_precision("train.amp", config.train.amp, device)
    warn_of_slow_precision("infer.amp", config.infer.amp, device)
    if job.expected.step:
        console.print(_describe_expected(job, device))
    for line in samples.describe():
        console.print(one_line(line))


def _describe_expected(job: TrainingJob, device: torch.device) -> str:
    """Return what a training takes, by the step and the validation that were tried."""
    config, step = job.approach.config.train, job.expected.step
    validation = job.expected.validation(len(job.validation_records))
    told = f"a step takes about {step:.2g} s"
    if not job.network.learns:
        told = ""
    elif config.max_time:
        told += f": about {max(config.max_time - validation, step) / step:,.0f} steps"
    else:
        steps = config.epochs * math.ceil(len(job.samples) / config.batch_size)
        told += f": {steps:,} steps in about {format_time(steps * step + validation)}"
    return ", ".join(filter(None, [told, _describe_memory(device)]))


def _describe_memory(device: torch.device) -> str:
    """Return the most memory that was taken so far, "" where the system does not tell."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB of its memory"
    peak = peak_memory()
    return f"{peak / GIB:.1f} GiB of memory" if peak else ""


def print_other_precision(console: Console, before: str, now: str) -> None:
    """Say that a training is continued in another precision."""
    told = f"trained in {before} before and in {now} from here on: results differ a little"
    console.print(f"[yellow]note:[/] {one_line(told)}")


def _describe_network(approach: Approach) -> str:
    model = approach.config.model
    encoder = "" if model.architecture in WITHOUT_ENCODER else f" on {model.encoder}"
    own = f"{model.architecture}{encoder}"
    return f"{own} + {_describe_network(approach.trained)}" if isinstance(approach, Fused) else own


@contextmanager
def tell_how_to_resume(console: Console, out: Path, *, seeds: int | None = None) -> Iterator[None]:
    """Say how an interrupted training is continued, if there is something to continue.

    With ``seeds``, the number of them, ``out`` is the folder of their runs.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if any(out.glob("seed-*/config.yaml" if seeds else "config.yaml")):
            option = f" --seeds {seeds}" if seeds else ""
            console.print(
                f"continue with: defectkit train --resume --out {out}{option}",
                markup=False,
            )
        raise


def print_finished(console: Console, out: Path, epochs: int) -> None:
    """Say that a run to resume has nothing left to do."""
    console.print(
        f"{out} is finished after {epochs} epoch{'' if epochs == 1 else 's'}. To train longer, "
        "give --resume with more --epochs or a longer --max-time.",
        markup=False,
    )


def print_epoch(console: Console, row: Row, *, kept_epoch: int) -> None:
    """Print the row that ``history.csv`` has of an epoch, in a line."""
    told = worse = ""
    if row["validated_images"]:
        values = (row[f"val_{name}"] for name in ("image_ap", "pixel_ap", "dice"))
        told = f"  validation: {_show_metrics(*values)}"
        worse = f"  (clearly worse: epoch {kept_epoch} is kept)"
    loss = f"  loss {row['train_loss']:.4f}" if "train_loss" in row else ""
    console.print(
        f"epoch {row['epoch']:3d}{loss}{told}  {row['seconds']:.0f} s"
        f"{worse if kept_epoch != row['epoch'] else ''}",
    )


def print_validation(
    console: Console, validation: Validation, job: TrainingJob, *, epoch: int
) -> None:
    """Print what the validation at the end says of the model of ``epoch``, which is kept."""
    count = validation.images
    which = f"the folds, {count} images" if job.out_of_fold else f"all {count} validation images"
    metrics = _show_metrics(validation.image_ap, validation.pixel_ap, validation.dice)
    console.print(
        f"epoch {epoch} is kept; {which}: {metrics}",
    )


def _show_metrics(*values: float | int | None) -> str:
    image_ap, pixel_ap, dice = ("-" if value is None else f"{value:.3f}" for value in values)
    return f"image AP {image_ap}  pixel AP {pixel_ap}  Dice {dice}"


def describe_short_training(job: TrainingJob, out: Path) -> str:
    """Return how a training in ``out`` that had little time goes on; "" if it had enough."""
    config, network = job.approach.config.train, job.network
    if config.max_time is None or not network.learns:
        return ""
    drawn = int(read_history(out / "history.csv")[-1]["steps"] or 0) * config.batch_size
    usual = samples_in_all(job.training_images)
    if drawn >= SHORT * usual:
        return ""
    minutes = math.ceil(config.max_time * usual / max(drawn, 1) / 60)
    return (
        f"in this time it drew {drawn:,} of the {usual:,} samples that a training without "
        f"--max-time takes. To go on: defectkit train --resume --out {out} --max-time {minutes}m"
    )


def describe_training(job: TrainingJob, out: Path, device: torch.device) -> dict[str, str]:
    """Return what ``print_end`` tells of the training in ``out``: what it took, and a note."""
    seconds = read_history(out / "history.csv")[-1]["seconds"] or 0.0
    taken = [f"took {format_time(seconds)}", _describe_memory(device)]
    return {"taken": ", ".join(filter(None, taken)), "note": describe_short_training(job, out)}


def print_end(
    console: Console, out: Path, model: dict[str, Any], *, taken: str = "", note: str = ""
) -> None:
    """Print what ``model.json`` warns of, where things are, and what to do next.

    ``taken`` is the time and memory that the training took, ``note`` what is to be noted of it.
    """
    if taken:
        console.print(taken)
    for warning in warnings_of(model):
        console.print(f"[yellow]warning:[/] {one_line(warning)}")
    for told in filter(None, (model.get("note"), note)):
        console.print(f"[yellow]note:[/] {one_line(told)}")
    gif = out / "progress.gif"
    told = (
        f"model of epoch {model['epoch']} in {out / 'model'}, curves in {out / 'curves.png'}"
        f"{f', progress in {gif}' if gif.exists() else ''}"
    )
    console.print(f"\n{one_line(told)}\nnext: defectkit evaluate {one_line(str(out))}")


def print_seeds(console: Console, table: "pd.DataFrame", out: Path) -> None:
    """Print the table of the runs of several seeds, and what to do next."""
    shown = Table("seed", *METRICS, title="validation of each seed")
    for row in table_rows(table):
        shown.add_row(row["seed"], *(format_value(row[metric]) for metric in METRICS))
    console.print(shown)
    told = f"table in {out / SEEDS_TABLE}\nnext: defectkit compare {out / 'seed-*'}"
    console.print("\n".join(map(one_line, told.splitlines())))
