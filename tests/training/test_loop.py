import pytest
import torch
from trial import CPU, Tiny, equal, weights

from defectkit.models.network import Network
from defectkit.training.loader import EpochLoader
from defectkit.training.loop import fit_in_one_pass, train_one_epoch
from defectkit.training.schedule import Budget
from defectkit.training.state import TrainState, build_learner


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
