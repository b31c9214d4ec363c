"""``defectkit train``: from a dataset to a run with a model, its history and its pictures."""

import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from defectkit import __version__
from defectkit.approaches import Approach, Samples, build_approach
from defectkit.config import Config, load_config, save_config
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.deployment.model import save_model
from defectkit.devices import choose_device, describe_device
from defectkit.errors import DatasetError, TrainingError
from defectkit.files import ensure_writable, read_json, write_json
from defectkit.reporting.curves import plot_history
from defectkit.reporting.progress import progress_frame, write_gif
from defectkit.reporting.sheets import CELL, contact_sheet, preview_cell
from defectkit.training.history import read_history
from defectkit.training.loop import Epoch, train_epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """Where a run is and what its best epoch reached on validation."""

    run: Path
    epochs: int
    best_epoch: int
    image_ap: float | None
    pixel_ap: float | None
    dice: float | None


def run(
    *,
    data: Path,
    out: Path,
    config: Config,
    resume: bool = False,
    allow_download: bool = False,
    console: Console | None = None,
) -> TrainSummary:
    """Train the approach that ``config`` names on a dataset folder and write a run folder.

    Raises:
        DatasetError, ModelError, TrainingError, OutputError: with the way out in the message.
    """
    console = console or Console(stderr=True)
    dataset = Dataset.load(data)
    _prepare_folder(out, dataset, resume=resume)
    device = choose_device(config.device)
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    torch.manual_seed(config.seed)  # for the weights that are not pretrained
    network = approach.network(allow_download=allow_download)
    samples = approach.samples(dataset, dataset.split("train"))
    validation_records = dataset.split("val")
    facts = _facts(dataset, device)
    if not resume:
        save_config(config, out / "config.yaml")
        _write_augmentations(samples, dataset.classes, out / "augmentations.png")
    _introduce(console, approach, network, dataset, len(samples), device, out)

    with _kept_status(out / "run.json", facts), _progress(console) as on_progress:
        for epoch in train_epochs(
            approach,
            network,
            samples=samples,
            validation_records=validation_records,
            folder=out,
            device=device,
            resume=resume,
            on_progress=on_progress,
        ):
            if epoch.is_best:
                _save_best(out / "model", approach, epoch, facts)
            _draw(out, epoch)
            console.print(_line(epoch), soft_wrap=True)
    return _finish(out, console)


def next_run(approach: str, *, root: Path = Path("runs")) -> Path:
    """Return the first free ``runs/<approach>-<n>``."""
    return root / f"{approach}-{_last_number(approach, root) + 1}"


def last_run(approach: str, *, root: Path = Path("runs")) -> Path:
    """Return the newest ``runs/<approach>-<n>``.

    Raises:
        TrainingError: there is none.
    """
    number = _last_number(approach, root)
    if not number:
        raise TrainingError(
            f"there is no run {root}/{approach}-<n> to resume. Name one with --out."
        )
    return root / f"{approach}-{number}"


def resumed_config(out: Path, settings: Sequence[str]) -> Config:
    """Return the configuration that a run was started with, with later ``--set`` changes.

    Raises:
        TrainingError: ``out`` is not a run.
    """
    if not (out / "config.yaml").is_file():
        raise TrainingError(
            f"{out} is not a run (it has no config.yaml): there is nothing to resume."
        )
    return load_config(out / "config.yaml", settings)


def _last_number(approach: str, root: Path) -> int:
    names = (re.fullmatch(rf"{approach}-(\d+)", path.name) for path in root.glob(f"{approach}-*"))
    return max((int(name[1]) for name in names if name), default=0)


def _prepare_folder(out: Path, dataset: Dataset, *, resume: bool) -> None:
    ensure_writable(out)
    if resume:
        try:
            before = read_json(out / "run.json")["dataset"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{out / 'run.json'} is missing or damaged ({type(error).__name__}), so it is not "
                "known which data the run was trained on. Start anew with another --out."
            ) from error
        if before != dataset.fingerprint:
            raise DatasetError(
                f"{out} was trained on other data than {dataset.folder} holds now. "
                "Name the same dataset with --data, or start anew without --resume."
            )
    elif (out / "config.yaml").exists():
        raise TrainingError(
            f"{out} already holds a run. Go on with --resume, or choose another --out."
        )


def _facts(dataset: Dataset, device: torch.device) -> dict[str, Any]:
    return {
        "dataset": dataset.fingerprint,
        "dataset_folder": str(dataset.folder.resolve()),
        "device": describe_device(device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "defectkit": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "command": sys.argv,
    }


def _introduce(
    console: Console,
    approach: Approach,
    network: torch.nn.Module,
    dataset: Dataset,
    samples: int,
    device: torch.device,
    out: Path,
) -> None:
    config = approach.config
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    counts = {name: len(dataset.split(name)) for name in ("train", "val")}
    length = (
        f"{config.train.max_time:.0f} s"
        if config.train.max_time
        else f"{config.train.epochs} epochs"
    )
    encoder = "" if config.model.architecture == "segnet" else f" on {config.model.encoder}"
    pretrained = "pretrained" if getattr(network, "encoder", None) is not None else "random weights"
    console.print(
        f"[bold]{config.approach}[/]: {config.model.architecture}{encoder} "
        f"({millions:.2f} M parameters, {pretrained}), {len(dataset.classes)} classes\n"
        f"data {escape(str(dataset.folder))}: {counts['train']} training and {counts['val']} "
        f"validation images, {samples} samples an epoch\n"
        f"on {describe_device(device)}, for {length}, into {escape(str(out))}"
    )


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[float, str], None]]:
    """Show a bar with the time left, where there is a terminal; otherwise nothing."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def _save_best(folder: Path, approach: Approach, epoch: Epoch, facts: dict[str, Any]) -> None:
    validation = epoch.validation
    save_model(
        folder,
        approach=approach,
        network=epoch.network,
        pixel_threshold=validation.pixel_threshold,
        thresholds=validation.thresholds,
        facts={
            "epoch": epoch.epoch,
            "dataset": facts["dataset"],
            "validation": {
                "image_average_precision": validation.image_ap,
                "pixel_average_precision": validation.pixel_ap,
                "dice": validation.dice,
            },
            "warnings": list(validation.warnings),
        },
    )


def _draw(out: Path, epoch: Epoch) -> None:
    history = read_history(out / "history.csv")
    best = read_json(out / "model" / "model.json")["epoch"]
    plot_history(out / "curves.png", history, best_epoch=best)
    watched = epoch.validation.watched
    if not watched:
        return
    dice = epoch.validation.dice
    frame = progress_frame(
        [look.image for look in watched],
        [look.truth.max(axis=0) > 0 for look in watched],
        [look.finding.defect_map for look in watched],
        epoch=epoch.epoch,
        caption="" if dice is None else f"validation Dice {dice:.3f}",
    )
    write_png(out / "progress" / f"epoch-{epoch.epoch:04d}.png", frame)


def _write_augmentations(samples: Samples, classes: Sequence[str], path: Path) -> None:
    cells = []
    for index, (image, masks) in enumerate(samples.preview(24)):
        layers = {
            c: mask.astype(bool) for c, mask in zip(classes, masks, strict=True) if mask.any()
        }
        cells.append((samples.image_id((1, index)), preview_cell(image, layers, (), cell=CELL)))
    write_png(path, contact_sheet(cells))


def _line(epoch: Epoch) -> str:
    row = epoch.row

    def show(value: float | int | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return (
        f"epoch {epoch.epoch:3d}  loss {row['train_loss']:.4f}  validation: image AP "
        f"{show(row['val_image_ap'])}  pixel AP {show(row['val_pixel_ap'])}  Dice "
        f"{show(row['val_dice'])}  {row['seconds']:.0f} s{'  (best)' if epoch.is_best else ''}"
    )


@contextmanager
def _kept_status(path: Path, facts: dict[str, Any]) -> Iterator[None]:
    """Keep ``run.json`` true: running, then finished, interrupted or failed."""
    write_json(path, {**facts, "status": "running"})
    status = "failed"
    try:
        yield
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(path, {**facts, "status": status, "ended": ended})


def _finish(out: Path, console: Console) -> TrainSummary:
    frames = [read_image(path) for path in sorted((out / "progress").glob("epoch-*.png"))]
    if frames:
        write_gif(out / "progress.gif", frames)
    model = read_json(out / "model" / "model.json")
    for warning in model["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    console.print(
        f"\nbest epoch {model['epoch']}; model in {out / 'model'}, curves in {out / 'curves.png'}, "
        f"progress in {out / 'progress.gif'}\nnext: defectkit evaluate {out}",
        markup=False,
    )
    validation = model["validation"]
    return TrainSummary(
        run=out,
        epochs=len(read_history(out / "history.csv")),
        best_epoch=model["epoch"],
        image_ap=validation["image_average_precision"],
        pixel_ap=validation["pixel_average_precision"],
        dice=validation["dice"],
    )
