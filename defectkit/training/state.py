"""The state of a training at the end of an epoch: the learner and the progress.

Both are written to the checkpoint, so that a resumed run continues as if it had not been stopped.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from timm.utils import ModelEmaV3
from torch import nn

from defectkit.approaches.sample_draws import HardPlace
from defectkit.config import TrainConfig
from defectkit.errors import TrainingError
from defectkit.models.network import Network
from defectkit.training.checkpoint import load_checkpoint, save_checkpoint
from defectkit.training.gradients import BatchParts
from defectkit.training.history import Row
from defectkit.training.reduced_precision import choose_dtype
from defectkit.training.schedule import Budget, build_optimizer
from defectkit.training.validation import Validation
from defectkit.training.validation_part import ValidationPlan

CLEARLY_WORSE = 2.0
"""A model is not kept if its quality on validation is lower than the best one's by more standard
errors than this: smaller differences between epochs are mostly chance."""

FEWEST_JUDGMENTS = 2
"""Number of validations without improvement before ``train.patience`` ends a training."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learner:
    """The network and what changes it: optimizer, moving average, scaler of reduced precision."""

    network: Network
    optimizer: torch.optim.Optimizer
    ema: ModelEmaV3 | None
    scaler: torch.amp.GradScaler
    dtype: torch.dtype | None
    """The reduced precision of the forward pass; None: full precision."""
    parts: BatchParts = field(default_factory=BatchParts)
    """The parts in which a batch goes through the network."""

    @property
    def evaluated(self) -> Network:
        """The network that is validated and saved: the moving average, where there is one."""
        return cast(Network, self.ema.module) if self.ema else self.network

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules whose weights go into a checkpoint."""
        return {"network": self.network, **({"ema": self.ema} if self.ema else {})}


def build_learner(network: Network, config: TrainConfig, device: torch.device) -> Learner:
    """Return what trains ``network``, which is on ``device``; its moving average starts here."""
    dtype = choose_dtype(network, config, device)
    return Learner(
        network=network,
        ema=ModelEmaV3(network, decay=config.ema, use_warmup=True) if config.ema else None,
        optimizer=build_optimizer(network, config),
        scaler=torch.amp.GradScaler(device.type, enabled=dtype == torch.float16),
        dtype=dtype,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """The result of one epoch of training: the mean of each loss term over its batches.

    ``losses`` has ``loss``, the weighted sum, and the terms, and is empty where nothing is learned
    by gradients; ``learning_rate`` is the last one.
    """

    losses: dict[str, float]
    learning_rate: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class TrainState:
    """How far a training is: after ``epoch`` epochs, 0 before the first."""

    epoch: int = 0
    steps: int = 0
    plan: ValidationPlan | None = None
    """Which validations there are; not known before the first epoch."""
    best_quality: float = -math.inf
    best_epoch: int = 0
    """The epoch of the best quality, by which the others are judged."""
    kept_epoch: int = 0
    """The epoch whose model is kept: the last validated one that is not clearly worse."""
    seconds: float = 0.0
    """Time of training in all sessions of the run."""
    validation_seconds: float = 0.0
    """Time of the validations that are still to come when the last epoch ends."""
    hard_places: list[HardPlace] = field(default_factory=list)
    """Good places of training images that were mistaken for defects."""
    skipped: int = 0
    """Number of the last steps, in a row, that changed nothing; it is not in checkpoints."""
    history: list[Row] = field(default_factory=list)
    """The rows of ``history.csv``, one per epoch."""

    @property
    def is_kept(self) -> bool:
        """Whether the model of the last epoch is kept."""
        return self.kept_epoch == self.epoch

    def is_finished(self, config: TrainConfig, budget: Budget) -> bool:
        """Whether the epochs or the time are over, or nothing has improved for long enough."""
        if self.best_epoch and not self.history[-1]["validated_images"]:
            return False  # the clock ran out just after an epoch: one more step is made and judged
        return self.is_out_of_patience(config) or self.is_last(self.epoch, config, budget)

    def is_out_of_patience(self, config: TrainConfig) -> bool:
        """Whether nothing has improved for ``patience`` epochs, nor in two validations.

        One validation is enough for a patience of one epoch.
        """
        if config.patience is None or self.epoch - self.best_epoch < config.patience:
            return False
        judged = sum(bool(row["validated_images"]) for row in self.history[self.best_epoch :])
        return judged >= min(config.patience, FEWEST_JUDGMENTS)

    def is_last(self, epoch: int, config: TrainConfig, budget: Budget) -> bool:
        """Whether the epochs or the time are over after ``epoch``."""
        if config.max_time is None and epoch >= config.epochs:
            return True
        # However short the time, one step is made: a run without a model helps nobody.
        return self.steps > 0 and budget.progress(self.steps) >= 1.0

    def take_plan(self, plan: ValidationPlan) -> None:
        """Validate by ``plan`` from now on.

        The best quality on another part of the images is forgotten: it says nothing about this one.
        """
        if self.plan and self.plan.images != plan.images:
            self.best_quality = -math.inf
        self.plan = plan

    def add_epoch(
        self, result: EpochResult, validation: Validation | None, *, seconds: float
    ) -> None:
        """Count a finished epoch and append its row to the history."""
        self.epoch += 1
        self.seconds = seconds
        if validation:
            self._judge(validation)
        elif not self.best_epoch:  # nothing is validated before the end
            self.kept_epoch = self.epoch
        row: Row = {"epoch": self.epoch, "steps": self.steps}
        names = sorted(result.losses, key=lambda name: name != "loss")  # the sum comes first
        row |= {f"train_{name}": round(result.losses[name], 6) for name in names}
        row |= {
            "val_image_ap": validation.image_ap if validation else None,
            "val_pixel_ap": validation.pixel_ap if validation else None,
            "val_dice": validation.dice if validation else None,
            "validated_images": validation.images if validation else 0,
            "learning_rate": result.learning_rate,
            "train_seconds": round(result.seconds, 3),
            "seconds": round(seconds, 3),
        }
        self.history.append(row)

    def _judge(self, validation: Validation) -> None:
        quality, best = validation.quality, self.best_quality
        if quality > best or math.isinf(quality):
            self.best_quality, self.best_epoch, self.kept_epoch = quality, self.epoch, self.epoch
        elif quality >= best - CLEARLY_WORSE * _standard_error(
            best, validation.levels.defective.sum()
        ):
            self.kept_epoch = self.epoch


def _standard_error(quality: float, defective: int) -> float:
    """Return the standard error of a quality in [0, 1], taken as a rate of so many images.

    After Agresti and Coull (1998): with two images of both kinds added it is above 0 for all rates.
    """
    count = defective + 4
    rate = (quality * defective + 2) / count
    return math.sqrt(rate * (1.0 - rate) / count)


def save_state(run: Path, state: TrainState, learner: Learner, *, identity: str) -> None:
    """Write the checkpoint of the last epoch to the run's folder; older ones are removed.

    ``identity`` is that of the run, as ``identify_run`` gives it.
    """
    save_checkpoint(
        run / "checkpoints",
        epoch=state.epoch,
        modules=learner.modules,
        optimizer=learner.optimizer,
        numbers={
            "steps": state.steps,
            "plan": state.plan and asdict(state.plan),
            "best": state.best_quality if math.isfinite(state.best_quality) else None,
            "best_epoch": state.best_epoch,
            "kept_epoch": state.kept_epoch,
            "seconds": state.seconds,
            "validation_seconds": state.validation_seconds,
            "scaler": learner.scaler.state_dict(),
            "hard_places": state.hard_places,
            "history": state.history,
            "run": identity,
        },
    )


def load_state(run: Path, learner: Learner, *, identity: str) -> TrainState:
    """Return the state of the run's newest intact checkpoint; ``learner`` is restored in place.

    ``identity`` is that of the run.

    Raises:
        TrainingError: there is no intact checkpoint, or it is of another run.
    """
    numbers = load_checkpoint(
        run / "checkpoints", modules=learner.modules, optimizer=learner.optimizer
    )
    if "kept_epoch" not in numbers:
        raise TrainingError(
            f"{run / 'checkpoints'} was written by an earlier version of defectkit. Start a new "
            "run without --resume and with another --out."
        )
    epoch = numbers["epoch"]
    if numbers.get("run", identity) != identity:  # Earlier versions did not record it.
        raise TrainingError(
            f"{run / 'checkpoints'} has a checkpoint of another run, that of epoch {epoch}: it was "
            "trained on other data or with other settings. Remove it, then resume again."
        )
    learner.scaler.load_state_dict(numbers["scaler"])
    return TrainState(
        epoch=epoch,
        steps=numbers["steps"],
        plan=numbers["plan"] and ValidationPlan(**numbers["plan"]),
        best_quality=-math.inf if numbers["best"] is None else numbers["best"],
        best_epoch=numbers["best_epoch"],
        kept_epoch=numbers["kept_epoch"],
        seconds=numbers["seconds"],
        validation_seconds=numbers["validation_seconds"],
        hard_places=[HardPlace(*place) for place in numbers.get("hard_places", ())],
        history=numbers["history"],
    )
