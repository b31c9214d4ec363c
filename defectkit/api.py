"""The commands as Python functions; nothing heavy is imported before one is called.

With ``train.csv`` and ``Train/`` in the working folder (20 images, two defect classes):

>>> from defectkit import evaluate, inspect, load, prepare, train
>>> prepare("train.csv", split="0.5/0.25/0.25").images
20
>>> run = train(epochs=1, settings=["data.crop=64", "train.samples_per_epoch=8"]).run
>>> run.as_posix()
'runs/segment-1'
>>> metrics = evaluate(run).metrics
>>> metrics["image"]["n_defective"] + metrics["image"]["n_good"]
5
>>> inspect(run, "Train/part-00.png").unreadable
0
>>> finding = load(run).find(image)                    # (H, W) or (H, W, 3) uint8
>>> finding.score_map.shape, 0 <= finding.score <= 1
((2, 96, 96), True)
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from defectkit.config import Config, load_config, make_config
from defectkit.devices import let_idle_threads_sleep
from defectkit.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.judge import Evaluation
    from defectkit.evaluation.suspects import Suspect
    from defectkit.pipelines.inspect import InspectSummary
    from defectkit.pipelines.prepare import PrepareSummary
    from defectkit.pipelines.train import TrainSummary

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def prepare(
    source: str | Path,
    *,
    label_format: Literal["auto", "csv", "coco", "masks", "labelme", "voc", "yolo"] = "auto",
    images: str | Path | None = None,
    meta: str | Path | None = None,
    out: str | Path = "dataset",
    rle_base: Literal["auto", "0", "1"] = "auto",
    rle_order: Literal["auto", "column", "row"] = "auto",
    group_by: str | None = None,
    split: str = "0.7/0.15/0.15",
    pixel_pitch: float | None = None,
    unlisted: Literal["ignore", "good"] = "ignore",
    skip_bad_rows: bool = False,
    allow_leaks: bool = False,
    seed: int = 0,
    workers: int | None = None,
    console: "Console | None" = None,
) -> "PrepareSummary":
    """Turn a label file or folder into a dataset folder, as ``defectkit prepare`` does.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    from defectkit.pipelines import prepare as pipeline

    return pipeline.run(
        Path(source),
        label_format=label_format,
        images=_path(images),
        meta=_path(meta),
        out=Path(out),
        rle_base=rle_base,
        rle_order=rle_order,
        group_by=group_by,
        split=split,
        pixel_pitch=pixel_pitch,
        unlisted=unlisted,
        skip_bad_rows=skip_bad_rows,
        allow_leaks=allow_leaks,
        seed=seed,
        workers=workers,
        console=console,
    )


def train(
    *,
    approach: str | None = None,
    config: str | Path | Config | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_time: str | float | None = None,
    device: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    allow_download: bool = False,
    settings: Sequence[str] = (),
    console: "Console | None" = None,
) -> "TrainSummary":
    """Train on a dataset folder and write a run folder, as ``defectkit train`` does.

    Args:
        approach: ``patch``, ``box`` or ``segment``.
        config: a YAML file, the name of a shipped configuration, or a ``Config``.
        data: the dataset folder; by default ``dataset``, or that of the run that is resumed.
        out: the run folder; by default ``runs/<approach>-<n>``.
        epochs: how many.
        max_time: seconds, or text such as ``90s``, ``20m``, ``1.5h``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: every random draw is keyed by it.
        resume: go on with the run in ``out``, or with the newest one.
        allow_download: pretrained weights may be fetched from the network.
        settings: ``KEY=VALUE`` changes such as ``train.lr=3e-4``.
        console: where to report; by default the standard error stream.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    let_idle_threads_sleep()
    from defectkit.training import runs

    if epochs is not None and max_time is not None:
        raise ConfigError("epochs and max_time exclude each other: give --epochs or --max-time.")
    given = {
        "approach": approach,
        "device": device,
        "seed": seed,
        "train.epochs": epochs,
        "train.max_time": None if max_time is None else parse_seconds(max_time),
    }
    changes = [f"{key}={value}" for key, value in given.items() if value is not None]
    folder: Path | None
    if resume:
        if config is not None:
            raise ConfigError("a resumed run keeps its configuration: drop --config or --resume.")
        folder = Path(out) if out else runs.last_run(approach or Config().approach)
        resolved = runs.resumed_config(folder, [*settings, *changes])
    else:
        resolved = _resolve(config, [*settings, *changes])
        folder = _path(out)
    if folder:
        runs.check_folder(folder, resume=resume)  # before the seconds that importing torch takes
    from defectkit.pipelines import train as pipeline

    return pipeline.run(
        data=_path(data),
        out=folder,
        config=resolved,
        resume=resume,
        allow_download=allow_download,
        console=console,
    )


def evaluate(
    run: str | Path,
    *,
    split: Literal["train", "val", "test"] = "test",
    data: str | Path | None = None,
    max_escape_rate: float | None = None,
    cost_ratio: float | None = None,
    best_f1: bool = False,
    device: str = "auto",
    console: "Console | None" = None,
) -> "Evaluation":
    """Judge a run, as ``defectkit evaluate`` does, and return its evaluation.

    ``max_escape_rate``, ``cost_ratio`` or ``best_f1`` choose new thresholds on the validation split
    and keep them in the model, for later inspection.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    let_idle_threads_sleep()
    from defectkit.pipelines import evaluate as pipeline

    return pipeline.run(
        run=Path(run),
        split=split,
        data=_path(data),
        max_escape_rate=max_escape_rate,
        cost_ratio=cost_ratio,
        best_f1=best_f1,
        device=device,
        console=console,
    )


def inspect(
    model: str | Path,
    *images: str | Path,
    out: str | Path = "inspection",
    device: str = "auto",
    console: "Console | None" = None,
) -> "InspectSummary":
    """Look at image files and folders, as ``defectkit inspect`` does.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    let_idle_threads_sleep()
    from defectkit.pipelines import inspect as pipeline

    return pipeline.run(
        Path(model),
        [Path(image) for image in images],
        out=Path(out),
        device=device,
        console=console,
    )


def compare(
    *runs: str | Path,
    out: str | Path = "comparison",
    split: Literal["train", "val", "test"] = "test",
    data: str | Path | None = None,
    device: str = "auto",
    console: "Console | None" = None,
) -> list[dict[str, Any]]:
    """Compare runs on the same images, as ``defectkit compare`` does.

    Returns:
        A row a run, in the order given, as in ``comparison.csv``.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    let_idle_threads_sleep()
    from defectkit.pipelines import compare as pipeline

    return pipeline.run(
        [Path(run) for run in runs],
        out=Path(out),
        split=split,
        data=_path(data),
        device=device,
        console=console,
    )


def suspects(
    run: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    most: int = 50,
    device: str = "auto",
    console: "Console | None" = None,
) -> "list[Suspect]":
    """List the labels that a trained model contradicts, as ``defectkit suspects`` does.

    Returns:
        The suspects, the images with the worst first.

    Raises:
        DefectkitError: with what is wrong, the value, and the way out.
    """
    let_idle_threads_sleep()
    from defectkit.pipelines import suspects as pipeline

    return pipeline.run(
        run=Path(run),
        data=_path(data),
        out=_path(out),
        most=most,
        device=device,
        console=console,
    )


def load(model: str | Path, *, device: str = "auto") -> "TrainedModel":
    """Load a run or its ``model/`` folder; ``load(...).find(image)`` gives a ``Finding``.

    Raises:
        ModelError: a file is missing or damaged.
    """
    let_idle_threads_sleep()
    from defectkit.deployment.bundle import TrainedModel

    return TrainedModel.load(model, device=device)


def parse_seconds(text: str | float) -> float:
    """Return a time in seconds.

    >>> parse_seconds("90s"), parse_seconds("20m"), parse_seconds("1.5h"), parse_seconds(30)
    (90.0, 1200.0, 5400.0, 30.0)

    Raises:
        ConfigError: the text is no time above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not seconds:
        raise ConfigError(f"{text!r} is not a time. Write for example 90s, 20m or 1.5h.")
    return seconds


def _resolve(config: str | Path | Config | None, changes: Sequence[str]) -> Config:
    if isinstance(config, Config):
        return make_config(config.model_dump(mode="json"), name="config", settings=changes)
    if config is not None and not Path(config).is_file() and not Path(config).suffix:
        from defectkit.configs import path_of

        config = path_of(str(config))
    return load_config(_path(config), changes)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
