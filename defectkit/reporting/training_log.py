"""What a training prints: an introduction, a progress bar, a line per epoch, the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from defectkit.approaches.interface import Approach, Samples
from defectkit.config import WITHOUT_ENCODER
from defectkit.data.dataset import Dataset
from defectkit.devices import describe_device
from defectkit.models.model_folder import warnings_of
from defectkit.models.network import Network
from defectkit.terminal import one_line
from defectkit.training.history import Row


def print_introduction(
    console: Console,
    approach: Approach,
    network: Network,
    dataset: Dataset,
    samples: Samples,
    *,
    device: torch.device,
    out: Path,
) -> None:
    """Print what is trained, on which data, where and for how long."""
    config = approach.config
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    counts = {name: len(dataset.split(name)) for name in ("train", "val")}
    epochs, n_classes = config.train.epochs, len(dataset.classes)
    length = f"{epochs} epoch{'' if epochs == 1 else 's'}" if network.learns else "one pass"
    if config.train.max_time:
        length = f"{config.train.max_time:.0f} s"
    has_encoder = config.model.architecture not in WITHOUT_ENCODER
    encoder = f" on {config.model.encoder}" if has_encoder else ""
    pretrained = "random weights" if network.encoder is None else "pretrained"
    console.print(
        f"[bold]{config.approach}[/]: {config.model.architecture}{encoder} "
        f"({millions:.2f} M parameters, {pretrained}), {n_classes} "
        f"class{'' if n_classes == 1 else 'es'}\n"
        f"data {one_line(str(dataset.folder))}: {counts['train']} training and {counts['val']} "
        f"validation images, {len(samples)} samples per epoch\n"
        f"on {describe_device(device)}, for {length}, into {one_line(str(out))}"
    )
    for line in samples.describe():
        console.print(one_line(line), soft_wrap=True)


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[float, str], None]]:
    """Show a bar with the time left, on a terminal; otherwise nothing."""
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


@contextmanager
def tell_how_to_resume(console: Console, out: Path) -> Iterator[None]:
    """Say how an interrupted training is continued, if there is something to continue."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (out / "config.yaml").exists():
            console.print(
                f"continue with: defectkit train --resume --out {out}", markup=False, soft_wrap=True
            )
        raise


def print_finished(console: Console, out: Path, epochs: int) -> None:
    """Say that a run to resume has nothing left to do."""
    console.print(
        f"{out} is finished after {epochs} epoch{'' if epochs == 1 else 's'}. To train longer, "
        "give --resume with more --epochs or a longer --max-time.",
        markup=False,
    )


def print_epoch(console: Console, row: Row, *, is_best: bool) -> None:
    """Print the row that ``history.csv`` has of an epoch, in a line."""

    def show(value: float | int | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    loss = f"loss {row['train_loss']:.4f}  " if "train_loss" in row else ""
    console.print(
        f"epoch {row['epoch']:3d}  {loss}validation: image AP "
        f"{show(row['val_image_ap'])}  pixel AP {show(row['val_pixel_ap'])}  Dice "
        f"{show(row['val_dice'])}  {row['seconds']:.0f} s{'  (best)' if is_best else ''}",
        soft_wrap=True,
    )


def print_end(console: Console, out: Path, model: dict[str, Any]) -> None:
    """Print what ``model.json`` says of the best epoch, and what to do next."""
    for warning in warnings_of(model):
        console.print(f"[yellow]warning:[/] {one_line(warning)}")
    told = (
        f"best epoch {model['epoch']}; model in {out / 'model'}, curves in {out / 'curves.png'}, "
        f"progress in {out / 'progress.gif'}"
    )
    console.print(f"\n{one_line(told)}\nnext: defectkit evaluate {one_line(str(out))}")
