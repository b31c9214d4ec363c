"""Training images per second: defectkit, the same steps on tensors in memory, and an SMP script.

    python benchmarks/training_speed.py --data dataset
    python benchmarks/training_speed.py --data dataset --samples 1920 --set train.batch_size=32

All train the same network on crops of the same size and number, in turn: defectkit's epochs with
its loader; these on batches that are in memory already, which is what the loader may cost at most;
and the loop that segmentation_models_pytorch's tutorials have (``competitors/script.py``), which
reads an image for each crop, on whose network the heads of defectkit are left out. The ratios of
each turn are printed; the goals are a median of at least 0.95 of memory and 1.3 times the script.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from defectkit.process_settings import let_idle_threads_sleep, own_torch_settings

let_idle_threads_sleep()

import albumentations as A  # noqa: E402
import segmentation_models_pytorch as smp  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

sys.path.append(str(Path(__file__).parent / "competitors"))

import script  # noqa: E402

from defectkit.approaches.build import build_approach  # noqa: E402
from defectkit.config import Config, load_config  # noqa: E402
from defectkit.data.dataset import Dataset  # noqa: E402
from defectkit.devices import choose_device, describe_device  # noqa: E402
from defectkit.errors import DatasetError  # noqa: E402
from defectkit.models.segmentation.segmenter import build_smp  # noqa: E402
from defectkit.training.loader import EpochLoader  # noqa: E402
from defectkit.training.loop import train_one_epoch  # noqa: E402
from defectkit.training.schedule import Budget  # noqa: E402
from defectkit.training.state import TrainState, build_learner  # noqa: E402

Epoch = Callable[[int], None]
"""Trains one epoch, of a number."""


@own_torch_settings()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("dataset"), help="a prepared dataset")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--samples", type=int, default=96, help="samples per epoch")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting, as of defectkit train"
    )
    options = parser.parse_args()

    config = load_config(settings=[*options.set, f"train.samples_per_epoch={options.samples}"])
    try:
        dataset = Dataset.load(options.data)
    except DatasetError as error:
        parser.error(str(error))
    ways = {**our_ways(config, dataset), "script": script_way(config, dataset, options.samples)}
    for epoch in ways.values():
        epoch(0)  # Also starts the loaders' processes.
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1, options.turns + 1):
        for name, epoch in ways.items():
            start = time.perf_counter()
            epoch(turn)
            speeds[name].append(options.samples / (time.perf_counter() - start))
        told = ", ".join(f"{name} {values[-1]:.1f}" for name, values in speeds.items())
        print(f"turn {turn}: images per second: {told}", flush=True)
    print(
        f"{config.train.batch_size} crops of {config.data.crop}x{config.data.crop} a step, on "
        f"{describe_device(choose_device('auto'))}:"
    )
    for name in ("memory", "script"):
        pairs = zip(speeds["ours"], speeds[name], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        print(
            f"defectkit has {statistics.median(ratios):.2f} times the images per second of {name} "
            f"(median; {min(ratios):.2f} to {max(ratios):.2f})"
        )


def our_ways(config: Config, dataset: Dataset) -> dict[str, Epoch]:
    """Return training with defectkit's loader, and on the batches of one epoch in memory."""
    device = choose_device("auto")
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    network = approach.network().to(device, memory_format=torch.channels_last)
    learner = build_learner(network, config.train, device)
    samples = approach.samples(dataset, dataset.split("train"))
    loader = EpochLoader(samples, config, workers=config.data.workers, device=device)
    memory = Memory(list(loader.epoch(0)), device)

    def train(batches: EpochLoader, number: int) -> None:
        state = TrainState(epoch=number)
        train_one_epoch(approach, learner, batches, state, Budget(config.train, len(loader)))

    return {"ours": partial(train, loader), "memory": partial(train, cast(EpochLoader, memory))}


@dataclass(frozen=True)
class Memory:
    """Batches that are there, in place of those of a loader."""

    batches: list[tuple[Any, Any]]
    device: torch.device

    def epoch(self, *_: object) -> Iterator[tuple[Any, Any]]:
        """Yield the batches."""
        return iter(self.batches)


def script_way(config: Config, dataset: Dataset, samples: int) -> Epoch:
    """Return training as the script does it, on the same network without defectkit's heads."""
    crop, model, classes = config.data.crop, config.model, dataset.classes
    device = choose_device("auto")
    network = build_smp(
        architecture=model.architecture,
        encoder=model.encoder,
        in_channels=3,
        out_channels=len(classes),
        decoder_channels=model.decoder_channels,
        state=None,
    ).body.to(device)
    cut = (
        A.PadIfNeeded(crop, crop),
        A.OneOf([A.CropNonEmptyMaskIfExists(crop, crop), A.RandomCrop(crop, crop)], p=1.0),
    )
    transform = A.Compose([*cut, *script.AUGMENTATIONS, *script.NORMALIZE])
    images = script.Images(dataset.split("train"), classes, transform)
    drawn = torch.utils.data.RandomSampler(images, replacement=True, num_samples=samples)
    loader = DataLoader(
        images,
        batch_size=config.train.batch_size,
        sampler=drawn,
        num_workers=max(len(os.sched_getaffinity(0)) - 1, 1),
        persistent_workers=True,
    )
    dice = smp.losses.DiceLoss(mode="multilabel", from_logits=True)
    bce = smp.losses.SoftBCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=script.LEARNING_RATE)

    def epoch(_: int) -> None:
        network.train()
        for inputs, masks in loader:
            logits = network(inputs.to(device))
            loss = dice(logits, masks.to(device)) + bce(logits, masks.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


if __name__ == "__main__":
    main()
