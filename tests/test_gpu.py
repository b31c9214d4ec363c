"""What only a GPU can show: without one all of this is skipped.

What a CPU can show of it is tested beside the code.
"""

import io

import pandas as pd
import pytest
import torch
from rich.console import Console
from tiny_training import TINY, train_tiny
from torchrun import TINY as SHARED_TINY
from torchrun import finished, torchrun
from untrained import untrained_model

import defectkit
from defectkit.approaches.build import build_approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import DefectkitWarning
from defectkit.process_settings import own_torch_settings
from defectkit.training import loop
from defectkit.training.loader import EpochLoader, to_device
from defectkit.training.loop import train_one_epoch
from defectkit.training.schedule import Budget
from defectkit.training.state import TrainState, build_learner
from defectkit.training.step_record import StepRecord

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NETWORKS = [
    ("approach=segment",),
    ("approach=segment", "model.architecture=segnet"),
    ("approach=segment", "model.architecture=fcn", "model.encoder=resnet50"),
    ("approach=patch",),
    ("approach=patch", "model.architecture=lenet", "patch.tile=32"),
    ("approach=box", "model.architecture=localizer"),
    ("approach=box", "model.architecture=yolo_grid"),
]
"""Networks whose steps need no word from the GPU."""
DETECTORS = [
    ("approach=box", f"model.architecture={name}", "model.encoder=resnet18")
    for name in ("faster_rcnn", "retinanet", "fcos", "ssd")
]


def learning(dataset_folder, device, *settings):
    """Return (approach, learner, loader) of a tiny training."""
    dataset = Dataset.load(dataset_folder)
    config = load_config(None, [*TINY, *settings])
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    torch.manual_seed(0)
    network = approach.network().to(device, memory_format=torch.channels_last).train()
    samples = approach.samples(dataset, dataset.split("train"))
    loader = EpochLoader(samples, config, workers=0, device=device)
    return approach, build_learner(network, config.train, device), loader


def flat_gradient(network):
    grads = [one.grad.cpu().flatten() for one in network.parameters() if one.grad is not None]
    return torch.cat(grads).double()


@pytest.mark.parametrize("settings", NETWORKS, ids=" ".join)
def test_losses_and_gradients_are_those_of_a_cpu(dataset_folder, settings):
    seen = []
    for device in (CPU, GPU):
        approach, learner, loader = learning(dataset_folder, device, "train.amp=off", *settings)
        for module in learner.network.modules():
            if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                module.p = 0.0  # a GPU draws otherwise
        inputs, targets = next(loader.epoch(1))
        with own_torch_settings():
            terms = approach.loss(learner.network, inputs, targets)
            terms["loss"].backward()
        seen.append((terms["loss"].item(), flat_gradient(learner.network)))
    (loss, gradient), (other_loss, other) = seen
    assert other_loss == pytest.approx(loss, rel=1e-4)
    assert torch.nn.functional.cosine_similarity(gradient, other, dim=0) > 0.999


@pytest.mark.parametrize("amp", ["bf16", "fp16", "off"])
@pytest.mark.parametrize("settings", NETWORKS, ids=" ".join)
def test_no_step_waits_for_the_gpu(dataset_folder, settings, amp, monkeypatch):
    approach, learner, loader = learning(dataset_folder, GPU, f"train.amp={amp}", *settings)
    budget = Budget(approach.config.train, len(loader))
    state = TrainState()
    train_one_epoch(approach, learner, loader, state, budget)  # what is set up once may wait
    monkeypatch.setattr(StepRecord, "read", lambda _: None)
    monkeypatch.setattr(loop, "check_weights", lambda _: None)
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_one_epoch(approach, learner, loader, state, budget)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("settings", [*NETWORKS, *DETECTORS, ("approach=novelty",)], ids=" ".join)
def test_what_a_gpu_finds_is_what_a_cpu_finds(settings):
    model = untrained_model(*settings, "infer.tile=256")
    images = torch.randint(0, 256, (3, 200, 300, 3), dtype=torch.uint8).numpy()
    network = model.network
    with own_torch_settings():
        expected = model.approach.find(network, list(images))
        found = model.approach.find(network.to(GPU), list(images))
    for one, other in zip(found, expected, strict=True):
        assert abs(one.score - other.score) < 1e-4
        assert abs(one.score_map - other.score_map).max() < 1e-3
        assert (one.mask != other.mask).mean() < 1e-3


@pytest.mark.parametrize("amp", ["auto", "fp16", "off"])
@pytest.mark.parametrize("settings", [*NETWORKS, *DETECTORS, ("approach=novelty",)], ids=" ".join)
def test_a_run_on_a_gpu_is_evaluated_on_both(dataset_folder, tmp_path, settings, amp):
    if settings == ("approach=novelty",) and amp != "auto":
        pytest.skip("novelty learns nothing")
    run = train_tiny(
        dataset_folder, tmp_path / "run", *settings, f"train.amp={amp}", device="cuda"
    ).run
    quiet = Console(file=io.StringIO(), width=200)
    tables = []
    for device in ("cuda", "cpu"):
        folder = defectkit.evaluate(run, device=device, console=quiet).folder
        tables.append(pd.read_csv(folder / "images.csv"))
    gpu, cpu = tables
    assert gpu["score"].to_numpy() == pytest.approx(cpu["score"].to_numpy(), abs=1e-3)


def test_a_training_on_a_gpu_goes_on(dataset_folder, tmp_path):
    run = tmp_path / "run"
    train_tiny(dataset_folder, run, "train.epochs=2", device="cuda")
    train_tiny(dataset_folder, run, "train.epochs=4", device="cuda", resume=True)
    lines = (run / "history.csv").read_text().splitlines()
    assert len(lines) == 5


def test_a_batch_that_the_memory_cannot_hold_is_taken_in_parts(dataset_folder):
    approach, learner, loader = learning(
        dataset_folder, GPU, "train.amp=off", "data.crop=96", "train.batch_size=64",
        "train.samples_per_epoch=64",
    )  # fmt: skip
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    train_one_epoch(approach, learner, loader, TrainState(), Budget(approach.config.train, 1))
    needed = torch.cuda.max_memory_allocated() - held
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    room = (torch.cuda.memory_allocated() + needed / 2) / total
    torch.cuda.set_per_process_memory_fraction(room)
    try:
        with pytest.warns(DefectkitWarning, match="too small for a batch of 64"):
            train_one_epoch(
                approach, learner, loader, TrainState(), Budget(approach.config.train, 1)
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert learner.parts.count >= 2
    assert all(bool(one.isfinite().all()) for one in learner.network.parameters())


def test_processes_with_a_gpu_each_share_a_training(dataset_folder, tmp_path):
    count = torch.cuda.device_count()
    words = ["-m", "defectkit", "train", "--data", dataset_folder, "--out", tmp_path / "run"]
    words += [word for one in SHARED_TINY for word in ("--set", one)]
    if count == 1:
        printed, _ = torchrun(2, *words).communicate(timeout=300)
        assert "torchrun started more processes on this machine than its 1 GPUs" in printed
    else:
        finished(torchrun(count, *words))
        assert (tmp_path / "run" / "metrics.json").exists()


def test_to_device_keeps_the_layout():
    images = torch.zeros(2, 3, 8, 8)
    moved = to_device({"images": images}, GPU, channels_last=True)["images"]
    assert moved.is_contiguous(memory_format=torch.channels_last)
