from dataclasses import replace

import pytest
import torch
from trial import CPU, Tiny, equal, weights

from defectkit.errors import NotFiniteError
from defectkit.models.network import Network
from defectkit.models.segmentation.segmenter import SegmenterOutput
from defectkit.training import loop
from defectkit.training.loader import EpochLoader
from defectkit.training.loop import fit_in_one_pass, train_one_epoch
from defectkit.training.schedule import Budget
from defectkit.training.state import TrainState, build_learner
from defectkit.training.step_record import MAX_SKIPPED, StepRecord


@pytest.fixture
def setup(trial):
    """Give (learner, loader, state, run) of a training that has not begun."""

    def build(*changes: str):
        run = trial(*changes)
        config = run.approach.config.train
        loader = EpochLoader(run.samples, run.approach.config, workers=0, device=CPU)
        return build_learner(Tiny(), config, CPU), loader, TrainState(), run

    return build


def test_it_counts_steps_and_gives_the_mean_of_each_term(setup):
    learner, loader, state, run = setup("train.ema=0", "train.lr=1e-30")
    budget = Budget(run.approach.config.train, len(loader))
    told = []
    result = train_one_epoch(
        run.approach, learner, loader, state, budget,
        on_progress=lambda done, text: told.append((done, text)),
    )  # fmt: skip
    assert (state.steps, state.epoch) == (3, 0)  # the epoch counts when it is validated
    assert set(result.losses) == {"loss", "bce", "dice"}
    weights = run.approach.config.loss
    expected = weights.bce * result.losses["bce"] + weights.dice * result.losses["dice"]
    assert result.losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert [done for done, _ in told] == [0, pytest.approx(1 / 12), pytest.approx(2 / 12)]
    assert told[-1][1] == f"epoch 1  loss {result.losses['loss']:.4f}"


def test_the_learner_changes_and_its_average_follows(setup):
    learner, loader, state, run = setup("train.ema=0.9")
    before = weights(learner.network)
    train_one_epoch(run.approach, learner, loader, state, Budget(run.approach.config.train, 3))
    assert not equal(weights(learner.network), before)
    assert learner.evaluated is not learner.network
    assert not equal(weights(learner.evaluated), before)
    assert not equal(weights(learner.evaluated), weights(learner.network))


def test_when_the_time_is_over_it_ends_after_one_step(setup):
    learner, loader, state, run = setup("train.max_time=1")
    budget = Budget(run.approach.config.train, len(loader), spent=100.0)
    result = train_one_epoch(run.approach, learner, loader, state, budget)
    assert state.steps == 1
    assert result.learning_rate < 1e-6


def test_equal_epochs_draw_the_same_and_others_do_not(setup):
    ended = []
    for epoch in (0, 0, 1):
        learner, loader, state, run = setup()
        state.epoch = epoch
        train_one_epoch(run.approach, learner, loader, state, Budget(run.approach.config.train, 3))
        ended.append(weights(learner.network))
    assert equal(ended[0], ended[1])
    assert not equal(ended[0], ended[2])


def test_no_step_waits_for_the_device(setup, monkeypatch):
    """On the device ``meta`` a number that is read, or an array whose size it decides, is an error.

    There are no fused optimizers on it, no generator for the moving average and no autocast, which
    some processors would be trained with.
    """
    learner, loader, state, run = setup("train.ema=0.9", "loss.focal=1", "train.amp=off")
    meta = torch.device("meta")
    network, average = learner.network.to(meta), learner.ema.to(meta)
    optimizer = torch.optim.AdamW(network.parameters())
    for group in optimizer.param_groups:
        group["rate"] = 1.0
    learner = replace(learner, network=network, ema=average, optimizer=optimizer)
    loader = EpochLoader(run.samples, run.approach.config, workers=0, device=meta)
    read = []
    monkeypatch.setattr(StepRecord, "read", lambda record: read.append(len(record._waiting)))
    monkeypatch.setattr(loop, "check_weights", lambda modules: read.append(len(modules)))
    train_one_epoch(run.approach, learner, loader, state, Budget(run.approach.config.train, 3))
    assert read == [3, 2]  # three steps at the end of the epoch, and then two modules


class Spoiled(Tiny):
    """Its loss or its weights are not finite from a step on."""

    def __init__(self, step: int, *, weights: bool = False) -> None:
        super().__init__()
        self.left, self.spoils_weights = step, weights

    def forward(self, images):
        pixels = super().forward(images).pixels
        self.left -= 1
        if self.left == 0 and self.spoils_weights:
            pixels.register_hook(self._spoil)  # in the backward pass, after the loss
        return SegmenterOutput(pixels * torch.nan if self.left < 0 else pixels)

    def _spoil(self, _) -> None:
        self.mean.fill_(torch.nan)


def test_a_loss_that_is_not_finite_names_its_images_also_when_it_is_read_late(setup, monkeypatch):
    monkeypatch.setattr(loop, "StepRecord", _read_at_the_end)
    _, loader, state, run = setup()
    learner = build_learner(Spoiled(1), run.approach.config.train, CPU)
    with pytest.raises(NotFiniteError, match=r"nan.* in epoch 1, batch 2, images: ") as told:
        train_one_epoch(run.approach, learner, loader, state, Budget(run.approach.config.train, 3))
    assert ", ".join(loader.image_ids(1, 1)) in str(told.value)


def _read_at_the_end(_, **options):
    return StepRecord(torch.device("cuda"), **options)


def test_weights_that_the_last_step_spoiled_end_the_epoch(setup):
    _, loader, state, run = setup()
    learner = build_learner(Spoiled(3, weights=True), run.approach.config.train, CPU)
    with pytest.raises(NotFiniteError, match="weights are not finite"):
        train_one_epoch(run.approach, learner, loader, state, Budget(run.approach.config.train, 3))
    assert state.steps == 3  # no loss was


def test_steps_that_are_skipped_in_every_epoch_are_an_error(setup):
    learner, loader, state, run = setup("train.amp=fp16", "train.epochs=99")
    assert learner.scaler.is_enabled()
    before = weights(learner.network)
    budget = Budget(run.approach.config.train, len(loader))
    learner.network.head[1].weight.register_hook(lambda gradient: gradient * torch.inf)
    for _ in range(MAX_SKIPPED // 3):
        train_one_epoch(run.approach, learner, loader, state, budget)
    with pytest.raises(NotFiniteError, match=f"the last {MAX_SKIPPED} steps changed nothing"):
        train_one_epoch(run.approach, learner, loader, state, budget)
    after = weights(learner.network)
    assert all(torch.equal(before[key], after[key]) for key in before if "weight" in key)


@pytest.mark.parametrize(("settings", "expected"), [([], 4), (["train.max_time=1e-6"], 2)])
def test_one_pass_sees_all_samples_or_as_many_as_the_time_allows(settings, expected, trial):
    seen, progress = [], []

    class Collector(Network):
        def fit_before_training(self, samples):
            seen.extend(samples)

    run = trial("approach=novelty", "train.epochs=1", *settings)
    samples, state = run.samples, TrainState()
    budget = Budget(run.approach.config.train, len(samples))
    result = fit_in_one_pass(
        Collector(mean=0.0, std=1.0),
        samples,
        state,
        budget,
        device=CPU,
        on_progress=lambda done, text: progress.append((done, text)),
    )
    assert state.steps == len(seen) == expected
    assert torch.equal(seen[1][0][0], samples[0, 1][0])
    assert (result.losses, result.learning_rate) == ({}, 0.0)
    if not settings:
        assert progress[2] == (0.5, "sample 3 of 4")
