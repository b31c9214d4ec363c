"""A tiny network and its training on the tiny dataset, with all that a resume could break."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from defectkit.approaches.build import build_approach
from defectkit.approaches.interface import Approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.deployment import best_model
from defectkit.models.network import Network
from defectkit.models.segmentation.segmenter import SegmenterOutput
from defectkit.pipelines import train
from defectkit.reporting.drawing import training_progress
from defectkit.training import state
from defectkit.training.history import Row, read_history
from defectkit.training.job import TrainingJob
from defectkit.training.state import Learner, TrainState, save_state
from defectkit.training.validation import Validation

CPU = torch.device("cpu")


class Tiny(Network):
    """A network with all that can go astray on a resume: batch norm, dropout, an encoder."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        features = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU())
        super().__init__(mean=128.0, std=128.0, features=features, pretrained=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(6, 2, 3, padding=1))

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(self.head(self.features(self.normalize(images))))

    def lowest_stages(self, count: int) -> list[nn.Module]:
        return [*self.features[:2]] if count else []


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, just before its checkpoint is written."""

    epoch: int
    row: Row
    validation: Validation | None
    network: Network
    is_kept: bool


class Trial:
    """Training of the tiny network on the tiny dataset."""

    def __init__(self, dataset_folder: Path, folder: Path, *changes: str) -> None:
        dataset = Dataset.load(dataset_folder)
        settings = ["data.crop=32", "data.workers=0", "train.epochs=4", "train.batch_size=4",
                    "train.samples_per_epoch=12", "train.lr=1e-2",
                    "loss.classes=0", *changes]  # fmt: skip
        config = load_config(None, settings)
        self.approach: Approach = build_approach(config, classes=dataset.classes, channels=1)
        records = dataset.split("train")
        self.samples = self.approach.samples(dataset, records)
        self.records = dataset.split("val")
        self.training_images = len(records)
        self.folder = folder

    def job(self, network: Network, **changes: Any) -> TrainingJob:
        """The job of training ``network``."""
        return TrainingJob(
            approach=self.approach,
            network=network,
            samples=self.samples,
            training_images=self.training_images,
            validation_records=self.records,
            **changes,
        )

    def epochs(
        self,
        network: Network | None = None,
        *,
        resume: bool = False,
        before_checkpoint: Callable[[Epoch], None] = lambda _: None,
        **options: Any,
    ) -> list[Epoch]:
        """Train as ``defectkit train`` does, without its pictures and models."""
        ended: list[Epoch] = []
        validations: list[Validation | None] = []

        def write(run: Path, progress: TrainState, learner: Learner, *, identity: str) -> None:
            row = read_history(run / "history.csv")[-1]
            network, is_kept = learner.evaluated, progress.is_kept
            ended.append(Epoch(progress.epoch, row, validations[-1], network, is_kept))
            before_checkpoint(ended[-1])
            save_state(run, progress, learner, identity=identity)

        def draw(_: Path, validation: Validation | None, **__: int) -> None:
            validations.append(validation)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state, "save_state", write)
            patch.setattr(best_model, "save_best_model", lambda *_, **__: None)
            patch.setattr(best_model, "is_settled", lambda *_, **__: True)
            patch.setattr(training_progress, "draw_epoch", draw)
            train.train_epochs(
                self.job(network or Tiny()),
                out=self.folder,
                device=CPU,
                dataset_facts={},
                identity="trial",
                resuming=resume,
                console=Console(quiet=True),
                **options,
            )
        return ended


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
