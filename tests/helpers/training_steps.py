"""Steps of a training by as many processes as torchrun starts; the first writes what it saw.

Called as ``training_steps.py DATASET OUT.json double|float SETTING...``.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from defectkit import ranks
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.training.job import make_job
from defectkit.training.loader import EpochLoader
from defectkit.training.loop import train_one_epoch
from defectkit.training.schedule import Budget
from defectkit.training.state import TrainState, build_learner
from defectkit.training.validation import Validation, validate

CPU = torch.device("cpu")


class Recorded:
    """An approach whose losses are recorded."""

    def __init__(self, approach: Any) -> None:
        self.approach, self.losses = approach, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.approach, name)

    def loss(self, *given: Any) -> dict[str, torch.Tensor]:
        terms: dict[str, torch.Tensor] = self.approach.loss(*given)
        self.losses.append({name: term.item() for name, term in terms.items()})
        return terms


def digest(network: torch.nn.Module) -> str:
    content = (value.contiguous().numpy().tobytes() for value in network.state_dict().values())
    return sha256(b"".join(content)).hexdigest()


def told(validation: Validation) -> dict[str, Any]:
    """All numbers of a validation but its time, to the last digit."""
    levels = validation.levels
    return {
        **{name: repr(getattr(validation, name)) for name in ("image_ap", "pixel_ap", "dice")},
        "tuning": repr(validation.tuning),
        "thresholds": repr(validation.thresholds),
        "warnings": [*validation.warnings, *validation.tuning_warnings],
        "levels": [levels.score.tolist(), levels.brightness.tolist(), list(levels.groups)],
        "watched": [one.record.image_id for one in validation.watched],
    }


def main(data: str, out: str, precision: str, *settings: str) -> None:
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    config = load_config(None, ["plan=false", "model.weights=none", "train.amp=off", *settings])
    job = make_job(Dataset.load(Path(data)), config)
    network = job.network
    before = validate(job.approach, network, job.validation_records, watch=3)
    if precision == "double":
        # Sums of processes then differ from those of one by far less than any mistake.
        network.double()
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
    network = network.to(memory_format=torch.channels_last)
    learner = build_learner(network, config.train, CPU)
    loader = EpochLoader(job.samples, config, workers=0, device=CPU)
    approach = Recorded(job.approach)
    state = TrainState()
    train_one_epoch(approach, learner, loader, state, Budget(config.train, len(loader)))
    weights = digest(network)
    alike = ranks.gather(weights)
    if ranks.is_first():
        written = {
            "world": ranks.world(),
            "losses": approach.losses,
            "weights": [value.double().sum().item() for value in network.state_dict().values()],
            "alike": len(set(alike)) == 1,
            "validation": told(before),
        }
        Path(out).write_text(json.dumps(written), encoding="utf-8")


if __name__ == "__main__":
    with ranks.joined():
        main(*sys.argv[1:])
