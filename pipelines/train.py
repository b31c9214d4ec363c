"""``defectkit train``: from a dataset to a run with a model, its history and its pictures."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them, pydantic) is imported inside the functions that need it.

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from defectkit.devices import choose_device, describe_device, let_idle_threads_sleep
from defectkit.errors import ConfigError, DatasetError, OutputError
from defectkit.files import read_json, write_bytes
from defectkit.vocabulary import ApproachName, Device

if TYPE_CHECKING:
    import torch

    from defectkit.approaches.interface import Approach, Samples
    from defectkit.config import Config
    from defectkit.data.dataset import Dataset
    from defectkit.training.loop import Epoch

BEST = Path("checkpoints") / "best"
MOST_FRAMES = 60
"""Longer trainings show every second epoch, or every third ... in the GIF."""


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
    approach: ApproachName | None = None,
    config: "str | Path | Config | None" = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_time: str | float | None = None,
    device: Device | None = None,
    seed: int | None = None,
    resume: bool = False,
    allow_download: bool = False,
    settings: Sequence[str] = (),
    console: Console | None = None,
) -> TrainSummary:
    """Train on a dataset and write a run: model, history, curves, pictures of the progress.

    However it ends, the last checkpoint stays: go on with --resume, or evaluate what there is.

    Examples:
        defectkit train --approach segment
        defectkit train --max-time 25m --data dataset --out runs/tiles
        defectkit train --config segnet --set train.lr=3e-4
        defectkit train --resume --out runs/tiles

    Exit status:
        0: finished.
        2: a mistake to fix.
        3: the loss is not finite.
        4: a loader process died.
        5: too little memory.
        6: the disk is full.
        130: Ctrl+C.
        143: SIGTERM.

    Args:
        approach: The way of finding defects; by default segment.
        config: A YAML file, or the name of a shipped configuration.
        data: The dataset folder; by default dataset, or that of the run that is resumed.
        out: The run folder; by default the next free runs/APPROACH-N.
        epochs: Number of epochs.
        max_time: Wall-clock limit, such as 90s, 20m or 1.5h; the schedule is fitted to it.
        device: Where to compute; auto takes a GPU if there is one.
        seed: Seed of every random draw.
        resume: Continue the run in OUT, by default the newest one.
        allow_download: Allow fetching pretrained weights from the network.
        settings: Change of one setting, such as train.lr=3e-4; may be repeated.
        console: Where to report; by default the standard error stream.

    Returns:
        Where the run is and what its best epoch reached.

    Raises:
        DefectkitError: An option, the dataset, the weights or the run folder does not fit, or the
            training failed; its ``exit_code`` is the exit status above.
    """
    let_idle_threads_sleep()
    from defectkit.config.options import options_as_settings, resolve_config
    from defectkit.training.runs import check_folder

    console = console or Console(stderr=True)
    options = options_as_settings(
        approach=approach, device=device, seed=seed, epochs=epochs, max_time=max_time
    )
    settings = [*settings, *options]  # an option counts more than a setting
    folder = Path(out) if out else None
    if resume:
        folder, resolved = _resumed(config, folder, approach, settings)
    else:
        resolved = resolve_config(config, settings)
    if folder:
        check_folder(folder, resume=resume)  # before the seconds that importing torch takes
    return _run(
        data=Path(data) if data else None,
        out=folder,
        config=resolved,
        resume=resume,
        allow_download=allow_download,
        console=console,
    )


def _resumed(
    config: "str | Path | Config | None",
    folder: Path | None,
    approach: ApproachName | None,
    settings: Sequence[str],
) -> "tuple[Path, Config]":
    """Return the run to resume, by default the newest, and its configuration, changed."""
    from defectkit.config import Config
    from defectkit.training import runs

    if config is not None:
        raise ConfigError("a resumed run keeps its configuration: drop --config or --resume.")
    folder = folder or runs.last_run(approach or Config().approach)
    return folder, runs.resumed_config(folder, settings)


def _run(
    *,
    data: Path | None,
    out: Path | None,
    config: "Config",
    resume: bool,
    allow_download: bool,
    console: Console,
) -> TrainSummary:
    """Train the approach that ``config`` names on a dataset folder and write a run folder.

    ``data`` may be left out when a run is resumed: it knows its dataset. Without ``out`` a new run
    takes the next free ``runs/<approach>-<n>``; ``runs.check_folder`` has seen to a given one.
    """
    from defectkit.data.dataset import Dataset
    from defectkit.training.runs import check_data, claim_run, lock_run, read_facts

    assert out or not resume
    before = read_facts(out) if out and resume else {}
    dataset = Dataset.load(data or Path(before.get("dataset_folder", "dataset")))
    if not dataset.classes:
        raise DatasetError(
            f"{dataset.folder} has no defective image, so there is nothing to learn. "
            "Label some and run 'defectkit prepare' again."
        )
    if dataset.label_kind == "boxes" and config.approach != "box":
        raise DatasetError(
            f"{dataset.folder} holds boxes and no masks, so {config.approach} has no outlines to "
            "learn from. Use --approach box, or prepare labels that outline the defects."
        )
    out = out or claim_run(config.approach)  # not before the dataset is known to be there
    with lock_run(out, resume=resume):
        check_data(out, dataset, before)
        _train(dataset, out, config, before, allow_download=allow_download, console=console)
        return _finish(out, console)


def _train(
    dataset: "Dataset",
    out: Path,
    config: "Config",
    before: Mapping[str, Any],
    *,
    allow_download: bool,
    console: Console,
) -> None:
    """Train into ``out``; ``before`` is what ``run.json`` says of a run to resume, else empty."""
    import torch

    from defectkit.approaches.build import build_approach
    from defectkit.config import save_config
    from defectkit.training.checkpoint import has_checkpoint
    from defectkit.training.failures import explain_failures
    from defectkit.training.loop import train_epochs
    from defectkit.training.runs import new_facts, record_status

    device = choose_device(config.device)
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    torch.manual_seed(config.seed)  # for the weights that are not pretrained
    network = approach.network(allow_download=allow_download)
    samples = approach.samples(dataset, dataset.split("train"))
    validation_records = dataset.split("val")
    facts = new_facts(dataset, describe_device(device), before)
    if before:
        _mend_model(out)
    resuming = bool(before) and has_checkpoint(out / "checkpoints")
    if not resuming:
        _write_augmentations(samples, dataset.classes, out / "augmentations.png")
    _introduce(console, approach, network, dataset, samples, device, out)
    if before and not resuming:
        console.print("no epoch was finished: starting with the first")

    with (
        record_status(out, facts),
        explain_failures(config),
        _kept_gif(out),
        _progress(console) as on_progress,
    ):
        # After run.json: a run that has its configuration can be resumed.
        save_config(config, out / "config.yaml")
        for epoch in train_epochs(
            approach,
            network,
            samples=samples,
            validation_records=validation_records,
            folder=out,
            device=device,
            resume=resuming,
            on_progress=on_progress,
        ):
            if epoch.is_best:
                _save_best(out, approach, epoch, facts)
            _draw(out, epoch)
            console.print(_line(epoch), soft_wrap=True)


def _introduce(
    console: Console,
    approach: "Approach",
    network: "torch.nn.Module",
    dataset: "Dataset",
    samples: "Samples",
    device: "torch.device",
    out: Path,
) -> None:
    from defectkit.config import WITHOUT_ENCODER

    config = approach.config
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    counts = {name: len(dataset.split(name)) for name in ("train", "val")}
    length = (
        f"{config.train.max_time:.0f} s"
        if config.train.max_time
        else f"{config.train.epochs} epochs"
    )
    whole = config.model.architecture in WITHOUT_ENCODER
    encoder = "" if whole else f" on {config.model.encoder}"
    pretrained = "pretrained" if getattr(network, "encoder", None) is not None else "random weights"
    console.print(
        f"[bold]{config.approach}[/]: {config.model.architecture}{encoder} "
        f"({millions:.2f} M parameters, {pretrained}), {len(dataset.classes)} classes\n"
        f"data {escape(str(dataset.folder))}: {counts['train']} training and {counts['val']} "
        f"validation images, {len(samples)} samples an epoch\n"
        f"on {describe_device(device)}, for {length}, into {escape(str(out))}"
    )
    for line in samples.describe():
        console.print(line, markup=False, soft_wrap=True)


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


def _save_best(out: Path, approach: "Approach", epoch: "Epoch", facts: dict[str, Any]) -> None:
    from defectkit.deployment.bundle import save_model

    validation = epoch.validation
    # Twice, one after the other: whenever the run is killed, one of them is whole.
    for folder in (out / BEST, out / "model"):
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


def _mend_model(out: Path) -> None:
    """Put the best model back where a kill damaged it while it was written."""
    from defectkit.deployment.bundle import is_intact

    if not is_intact(out / "model") and is_intact(out / BEST):
        for name in ("model.safetensors", "model.json"):
            write_bytes(out / "model" / name, (out / BEST / name).read_bytes())


def _draw(out: Path, epoch: "Epoch") -> None:
    from defectkit.data.images import write_png
    from defectkit.reporting.drawing.gif import progress_frame
    from defectkit.reporting.drawing.plots import plot_history
    from defectkit.training.history import read_history

    history = read_history(out / "history.csv")
    best = read_json(out / "model" / "model.json")["epoch"]
    plot_history(out / "curves.png", history, best_epoch=best)
    watched = epoch.validation.watched
    if not watched:
        return
    dice = epoch.validation.dice
    frame = progress_frame(
        [look.image for look in watched],
        [look.truth.mask for look in watched],
        [look.finding.defect_map for look in watched],
        epoch=epoch.epoch,
        caption="" if dice is None else f"validation Dice {dice:.3f}",
    )
    write_png(out / "progress" / f"epoch-{epoch.epoch:04d}.png", frame)


def _write_augmentations(samples: "Samples", classes: Sequence[str], path: Path) -> None:
    from defectkit.data.images import write_png
    from defectkit.reporting.drawing.sheets import CELL_SIZE, contact_sheet, draw_labels

    cells = []
    for index, (image, masks) in enumerate(samples.preview(24)):
        layers = {
            c: mask.astype(bool) for c, mask in zip(classes, masks, strict=True) if mask.any()
        }
        cells.append(
            (samples.image_id((1, index)), draw_labels(image, layers, (), cell_size=CELL_SIZE))
        )
    write_png(path, contact_sheet(cells))


def _line(epoch: "Epoch") -> str:
    row = epoch.row

    def show(value: float | int | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return (
        f"epoch {epoch.epoch:3d}  loss {row['train_loss']:.4f}  validation: image AP "
        f"{show(row['val_image_ap'])}  pixel AP {show(row['val_pixel_ap'])}  Dice "
        f"{show(row['val_dice'])}  {row['seconds']:.0f} s{'  (best)' if epoch.is_best else ''}"
    )


@contextmanager
def _kept_gif(out: Path) -> Iterator[None]:
    """Write ``progress.gif`` at the end, also of a run that is interrupted."""
    try:
        yield
    except BaseException:
        with suppress(OutputError):  # What ended the training is worth more than that this fails.
            _write_gif(out)
        raise
    _write_gif(out)


def _write_gif(out: Path) -> None:
    from defectkit.data.images import read_image
    from defectkit.reporting.drawing.gif import write_gif

    paths = sorted((out / "progress").glob("epoch-*.png"))
    if paths:
        step = -(-len(paths) // MOST_FRAMES)
        write_gif(out / "progress.gif", [read_image(path) for path in paths[::-step][::-1]])


def _finish(out: Path, console: Console) -> TrainSummary:
    from defectkit.training.history import read_history

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
