"""The training loop, flat: read it from top to bottom and you know what happens.

Every random draw is keyed by (seed, epoch, sample), so the number of loader workers and a resume
change nothing.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timm.utils import ModelEmaV3

from defectkit.approaches.interface import Approach, Samples
from defectkit.config import TrainConfig
from defectkit.data.dataset import ImageRecord
from defectkit.devices import autocast_dtype
from defectkit.errors import NotFiniteError
from defectkit.evaluation.operating_points import Thresholds, choose_thresholds
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.evaluation.ranking import average_precision
from defectkit.models.network import Network
from defectkit.training.checkpoint import load_checkpoint, save_checkpoint
from defectkit.training.history import Row, read_history, write_history
from defectkit.training.loader import EpochLoader, batch_keys, batches_of_one
from defectkit.training.schedule import (
    Budget,
    build_optimizer,
    freeze,
    learning_rate,
    set_learning_rate,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """What the validation split says of the network after an epoch, and what it is used for."""

    image_ap: float | None
    pixel_ap: float | None
    dice: float | None
    pixel_threshold: float
    thresholds: Thresholds
    warnings: tuple[str, ...]
    seconds: float
    watched: tuple[Prediction, ...]

    @property
    def quality(self) -> float:
        """The mean of image and pixel average precision: what the best epoch is chosen by."""
        known = [value for value in (self.image_ap, self.pixel_ap) if value is not None]
        return sum(known) / len(known) if known else math.inf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Epoch:
    """A finished epoch; ``network`` is the validated one, the moving average where there is one."""

    epoch: int
    row: Row
    validation: Validation
    network: Network
    is_best: bool


def train_epochs(
    approach: Approach,
    network: Network,
    *,
    samples: Samples,
    validation_records: Sequence[ImageRecord],
    folder: Path,
    device: torch.device,
    resume: bool = False,
    watch: int = 6,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> Iterator[Epoch]:
    """Train and yield after every epoch.

    Its history row is on disk by then. Its checkpoint follows when the next epoch is asked for: the
    caller keeps the best model first, so a run killed in between repeats the epoch and loses none.

    Args:
        approach: gives the loss and the findings.
        network: what ``approach.network`` built.
        samples: training samples with targets.
        validation_records: the validation split, looked at after every epoch.
        folder: the run's folder.
        device: where to train.
        resume: go on from the newest whole checkpoint in ``folder``.
        watch: so many validation images are handed on with each epoch, for pictures.
        on_progress: called with the part that is done, in [0, 1], and a line for people.

    Raises:
        NotFiniteError: the loss or its gradient is not finite.
        TrainingError: there is nothing to resume.
    """
    config = approach.config.train
    seed = approach.config.seed
    network = network.to(device).to(memory_format=torch.channels_last)
    if not resume:  # a checkpoint has it
        network.fit_before_training(batches_of_one(samples, device))
    ema = ModelEmaV3(network, decay=config.ema, use_warmup=True) if config.ema else None
    validated = cast(Network, ema.module) if ema else network
    optimizer = build_optimizer(network, config)
    dtype = autocast_dtype(config.amp, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    loader = EpochLoader(samples, config, workers=approach.config.data.workers, device=device)
    modules = {"network": network, **({"ema": ema} if ema else {})}

    history: list[Row] = []
    first, steps, best, since_best, spent = 1, 0, -math.inf, 0, 0.0
    validation_seconds = 0.0
    if resume:
        state = load_checkpoint(folder / "checkpoints", modules=modules, optimizer=optimizer)
        scaler.load_state_dict(state["scaler"])
        first, steps, since_best = state["epoch"] + 1, state["steps"], state["since_best"]
        best = -math.inf if state["best"] is None else state["best"]
        spent, validation_seconds = state["seconds"], state["validation_seconds"]
        history = [
            row for row in read_history(folder / "history.csv") if (row["epoch"] or 0) < first
        ]
    if config.max_time and not validation_seconds:
        some = validation_records[:4]
        validation_seconds = (
            validate(approach, validated, some).seconds * len(validation_records) / len(some)
        )
    budget = Budget(config, len(loader), spent, validation_seconds)
    last = 10**9 if config.max_time else config.epochs

    for epoch in range(first, last + 1):
        if budget.progress(steps) >= 1.0 or since_best >= (config.patience or math.inf):
            return
        torch.manual_seed(_key(seed, epoch))  # dropout and its kin
        network.train()
        unready = epoch <= config.freeze_encoder_epochs or not config.encoder_lr_factor
        freeze(network, stages=config.freeze_stages, encoder=unready)
        sums: dict[str, float] = {}
        start, done, rate = time.monotonic(), 0, 0.0

        for inputs, targets in loader.epoch(epoch):
            progress = budget.progress(steps)
            if progress >= 1.0 and done:
                break
            rate = learning_rate(config, progress=progress, epoch=epoch - 1)
            set_learning_rate(optimizer, rate)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                terms = approach.loss(network, inputs, targets)
            loss = terms["loss"].item()
            if not math.isfinite(loss):
                raise NotFiniteError(_not_finite(samples, config, epoch, done, terms))
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(terms["loss"]).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimizer)
            limit = config.clip_norm or math.inf
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
            if not scaler.is_enabled() and not math.isfinite(norm.item()):
                raise NotFiniteError(_not_finite(samples, config, epoch, done, {"gradient": norm}))
            scaler.step(optimizer)
            scaler.update()
            steps, done = steps + 1, done + 1
            if ema:
                ema.update(network, step=steps)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            on_progress(progress, f"epoch {epoch}  loss {sums['loss'] / done:.4f}")

        train_seconds = time.monotonic() - start
        on_progress(budget.progress(steps), f"epoch {epoch}  validation")
        validated.fit_after_epoch(batches_of_one(samples, device))
        validation = validate(approach, validated, validation_records, watch=watch)
        budget.validation_seconds = validation.seconds
        is_best = validation.quality > best or math.isinf(validation.quality)
        best, since_best = (validation.quality, 0) if is_best else (best, since_best + 1)
        row: Row = {"epoch": epoch, "steps": steps, "train_loss": round(sums.pop("loss") / done, 6)}
        row |= {f"train_{name}": round(total / done, 6) for name, total in sums.items()}
        row |= {
            "val_image_ap": validation.image_ap,
            "val_pixel_ap": validation.pixel_ap,
            "val_dice": validation.dice,
            "learning_rate": rate,
            "train_seconds": round(train_seconds, 3),
            "seconds": round(budget.elapsed(), 3),
        }
        history.append(row)
        write_history(folder / "history.csv", history)
        result = Epoch(
            epoch=epoch, row=row, validation=validation, network=validated, is_best=is_best
        )
        yield result
        save_checkpoint(
            folder / "checkpoints",
            epoch=epoch,
            modules=modules,
            optimizer=optimizer,
            numbers={
                "steps": steps,
                "best": best if math.isfinite(best) else None,
                "since_best": since_best,
                "seconds": budget.elapsed(),
                "validation_seconds": validation.seconds,
                "scaler": scaler.state_dict(),
            },
        )


def validate(
    approach: Approach, network: Network, records: Sequence[ImageRecord], *, watch: int = 0
) -> Validation:
    """Look at the validation split and choose the thresholds on it."""
    network.eval()
    pixels = PixelMetrics(classes=approach.classes, threshold=None)
    watched_ids = {record.image_id for record in _worth_watching(records, watch)}
    watched, scores = [], []
    start = time.monotonic()
    for look in predict(approach, network, records, batch_size=batch_size_for(network)):
        pixels.update(look.finding.score_map, look.truth)
        scores.append(look.finding.score)
        if look.record.image_id in watched_ids:
            watched.append(look)
    defective = np.array([record.defective for record in records])
    pixel_threshold, dice = pixels.best_dice() or (0.5, None)
    thresholds, warnings = choose_thresholds(np.array(scores), defective)
    return Validation(
        image_ap=average_precision(defective, np.array(scores)),
        pixel_ap=pixels.result()["average_precision"],
        dice=dice,
        pixel_threshold=pixel_threshold,
        thresholds=thresholds,
        warnings=tuple(warnings),
        seconds=time.monotonic() - start,
        watched=tuple(watched),
    )


def _key(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _worth_watching(records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    """Defective images of as many classes as possible first, then one good one."""
    good = [record for record in records if not record.defective]
    by_class: dict[str, list[ImageRecord]] = {}
    for record in records:
        if record.defective:
            by_class.setdefault(min(record.rles), []).append(record)
    chosen: list[ImageRecord] = []
    while len(chosen) < count - bool(good) and any(by_class.values()):
        for waiting in by_class.values():
            chosen += [waiting.pop(0)] if waiting else []
    return (chosen[: count - bool(good)] + good)[:count]


def _not_finite(
    samples: Samples, config: TrainConfig, epoch: int, batch: int, terms: dict[str, torch.Tensor]
) -> str:
    names = [samples.image_id(key) for key in batch_keys(epoch, batch, config.batch_size)]
    values = ", ".join(f"{name} {term.item()}" for name, term in terms.items())
    return (
        f"the loss or its gradient is not finite ({values}) in epoch {epoch}, batch {batch + 1}, "
        f"images: {', '.join(names)}. Lower the rate (--set train.lr=...), switch reduced "
        "precision off (--set train.amp=off), or look at these images."
    )
