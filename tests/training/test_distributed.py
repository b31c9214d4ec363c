"""A training shared by several processes is that of one: same losses, weights and metrics."""

import json

import pytest
import torch
from torchrun import HELPERS, finished, torchrun
from trial import Tiny

from defectkit import ranks
from defectkit.config import load_config
from defectkit.errors import ConfigError, NotFiniteError
from defectkit.signals import noted_signals
from defectkit.training import distributed

pytestmark = pytest.mark.check(64)

CPU = torch.device("cpu")
COMMON = ("data.crop=64", "train.batch_size=6")


@pytest.fixture
def steps(dataset_folder, tmp_path):
    """What a training of some steps saw, by so many processes."""

    def run(count: int, precision: str, *settings: str):
        out = tmp_path / f"{count}.json"
        words = [dataset_folder, out, precision, *COMMON, *settings]
        finished(torchrun(count, HELPERS / "training_steps.py", *words))
        told = json.loads(out.read_text())
        assert told["world"] == count
        assert told["alike"]  # the weights of all processes, to the last bit
        return told

    return run


def difference(one, other) -> float:
    """The largest relative difference of a loss term in a step."""
    assert len(one["losses"]) == len(other["losses"])
    return max(
        abs(mine[name] - theirs[name]) / abs(mine[name])
        for mine, theirs in zip(one["losses"], other["losses"], strict=True)
        for name in mine
        if mine[name]
    )


@pytest.mark.slow
def test_losses_of_20_steps_are_those_of_one_process(steps):
    settings = ("model.architecture=pixel_net", "train.samples_per_epoch=120", "data.crop=32")
    one = steps(1, "float", *settings)
    for count in (2, 4):  # four share six samples unevenly
        several = steps(count, "float", *settings)
        assert len(several["losses"]) == 20
        assert difference(one, several) < 1e-5
        assert several["validation"] == one["validation"]  # to the last digit


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("loss.dice=1", "loss.focal=1"),
        ("loss.classes=0", "loss.bce=0", "loss.cross_entropy=1"),
        ("approach=patch", "model.architecture=lenet"),
        ("approach=box", "model.architecture=yolo_grid"),
        ("approach=box", "data.resize=64"),
        ("approach=box", "model.architecture=retinanet"),
    ],
)
def test_the_mathematics_is_that_of_one_process(settings, steps):
    # In double precision, where a network with many norms does not amplify how sums are rounded.
    # Without a norm of the gradient, so that its length counts too.
    settings = (
        *settings,
        "train.samples_per_epoch=12",
        "train.optimizer=sgd",
        "train.lr=1e-3",
        "train.clip_norm=null",
    )
    one, two = (steps(count, "double", *settings) for count in (1, 2))
    assert difference(one, two) < 1e-9
    assert two["validation"] == one["validation"]


@pytest.fixture
def two(monkeypatch):
    """As in the second of two processes, before anything is asked of the other."""
    monkeypatch.setattr(ranks, "_world", 2)
    monkeypatch.setattr(ranks, "_rank", 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["approach=novelty"], "novelty learns in one pass .* Start it without torchrun"),
        (["train.folds=3"], "cannot share a training with --folds. Start it without torchrun"),
        (["train.batch_size=1"], "batch_size=1, .* is too small for 2 .*train.batch_size=4"),
    ],
)
def test_what_cannot_be_shared_is_refused(settings, message, two):
    config = load_config(None, settings)
    with pytest.raises(ConfigError, match=message):
        distributed.check_processes(config, CPU)
    with ranks.alone():
        distributed.check_processes(config, CPU)


def test_apples_gpus_are_refused(two):
    with pytest.raises(ConfigError, match="cannot share an mps device. Use --device cpu"):
        distributed.check_processes(load_config(None, []), torch.device("mps"))


def test_in_one_process_nothing_is_added():
    network = Tiny()
    assert distributed.share_gradients(network) is network
    assert list(distributed.in_step(iter([1, 2]))) == [1, 2]
    with distributed.ending_together():
        pass


@pytest.mark.parametrize("number", [15, 2])
def test_a_signal_of_any_process_ends_all_before_the_same_step(number, two, monkeypatch):
    heard = iter([0, number])
    monkeypatch.setattr(ranks, "highest", lambda _, failed: [next(heard), failed])
    batches = distributed.in_step([1, 2, 3])
    assert next(batches) == 1
    with pytest.raises(SystemExit) as ended:
        next(batches)
    assert ended.value.code == 128 + number


def test_an_error_of_any_process_is_raised_in_all(two, monkeypatch):
    def batches():
        yield 1
        raise NotFiniteError("mine")

    monkeypatch.setattr(ranks, "highest", lambda *numbers: list(numbers))
    monkeypatch.setattr(ranks, "_gather_everywhere", lambda own: [None, own])
    shared = distributed.in_step(batches())
    assert next(shared) == 1
    with pytest.raises(NotFiniteError, match="^mine$") as raised:
        next(shared)
    assert raised.value.told_by_another  # the first process prints it


def test_signals_are_noted_while_all_end_together(two):
    assert type(distributed.ending_together()) is type(noted_signals())
