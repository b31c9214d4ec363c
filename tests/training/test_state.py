import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from trial import CPU, Tiny, equal, weights

from defectkit.approaches.tuning import Tuning
from defectkit.config import TrainConfig
from defectkit.errors import TrainingError
from defectkit.evaluation.drift import Levels
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import read_json, write_json
from defectkit.seals import add_seal
from defectkit.training.schedule import Budget
from defectkit.training.state import (
    EpochResult,
    TrainState,
    build_learner,
    load_state,
    save_state,
)
from defectkit.training.validation import Validation
from defectkit.training.validation_part import ValidationPlan

RESULT = EpochResult(losses={"bce": 0.25, "loss": 0.5}, learning_rate=1e-3, seconds=2.0)
VALIDATION = Validation(
    image_ap=0.5, pixel_ap=0.5, dice=0.4, tuning=Tuning(),
    thresholds=Thresholds(low=0.5, high=0.5, rule="f1"), warnings=(), tuning_warnings=(),
    levels=Levels.of(np.zeros(20), [(0.0, 0.0)] * 20, np.arange(20) < 10, ("",) * 20),
    seconds=3.0, image_seconds=0.1, watched=(),
)  # fmt: skip


def add(state: TrainState, *qualities: float | None) -> list[int]:
    """The epoch that is kept after each of the given qualities."""
    kept = []
    for value in qualities:
        validation = replace(VALIDATION, image_ap=value, pixel_ap=value)
        state.add_epoch(RESULT, validation, seconds=9.0)
        kept.append(state.kept_epoch)
    return kept


def test_the_last_epoch_is_kept_unless_it_is_clearly_worse_than_the_best():
    state = TrainState()
    assert add(state, 0.2, 0.7, 0.5, 0.43, 0.45, 0.2) == [1, 2, 3, 3, 5, 5]
    assert (state.epoch, state.best_epoch, state.is_kept) == (6, 2, False)


@pytest.mark.parametrize(("defective", "allowed"), [(10, 0.25), (200, 0.06)])
def test_the_more_defective_images_there_are_the_less_is_chance(defective, allowed):
    truth = np.arange(2 * defective) < defective
    validation = replace(VALIDATION, levels=replace(VALIDATION.levels, defective=truth))
    best = replace(validation, image_ap=0.7, pixel_ap=0.7)
    for lower, kept in ((allowed, 2), (allowed + 0.01, 1)):
        state = TrainState()
        state.add_epoch(RESULT, best, seconds=1.0)
        worse = replace(best, image_ap=0.7 - lower, pixel_ap=0.7 - lower)
        state.add_epoch(RESULT, worse, seconds=1.0)
        assert state.kept_epoch == kept


def test_of_a_perfect_validation_of_few_images_the_next_may_be_lower():
    assert add(TrainState(), 1.0, 0.85, 0.75) == [1, 2, 2]


def test_without_a_quality_the_last_epoch_is_kept():
    assert add(TrainState(), None, None, None) == [1, 2, 3]


@pytest.mark.parametrize(("images", "kept"), [(20, 1), (12, 2)])
def test_qualities_on_different_parts_of_the_images_are_not_compared(images, kept):
    state = TrainState()
    state.take_plan(ValidationPlan(images=20, every=1))
    add(state, 0.9)
    state.take_plan(ValidationPlan(images=images, every=1, limit=9.0))
    assert add(state, 0.2) == [kept]
    assert (state.best_epoch, state.plan.limit) == (kept, 9.0)


def test_an_epoch_that_is_not_validated_is_not_kept_and_never_the_last():
    state, config = TrainState(steps=1), TrainConfig(epochs=2)
    budget = Budget(config, 5)
    add(state, 0.5)
    state.add_epoch(RESULT, None, seconds=9.0)
    assert (state.epoch, state.kept_epoch) == (2, 1)
    assert state.history[-1]["validated_images"] == 0
    assert state.history[-1]["val_dice"] is None
    assert not state.is_finished(config, budget)
    add(state, 0.5)
    assert state.is_finished(config, budget)


def test_patience_counts_epochs_and_is_asked_after_a_validation_alone():
    state, config = TrainState(steps=1), TrainConfig(epochs=20, patience=2)
    budget = Budget(config, 5)
    add(state, 0.5)
    for _ in range(2):
        state.add_epoch(RESULT, None, seconds=9.0)
    assert not state.is_finished(config, budget)
    add(state, 0.4)
    assert not state.is_finished(config, budget)  # a single one may be chance
    add(state, 0.4)
    assert state.is_finished(config, budget)


def test_a_patience_of_one_epoch_needs_one_validation():
    state, config = TrainState(steps=1), TrainConfig(epochs=20, patience=1)
    add(state, 0.5, 0.4)
    assert state.is_finished(config, Budget(config, 5))


def test_a_row_has_the_loss_first_then_its_terms():
    state = TrainState(steps=7)
    add(state, 0.5)
    (row,) = state.history
    assert list(row) == [
        "epoch", "steps", "train_loss", "train_bce", "val_image_ap", "val_pixel_ap", "val_dice",
        "validated_images", "learning_rate", "train_seconds", "seconds",
    ]  # fmt: skip
    assert (row["epoch"], row["steps"], row["train_loss"], row["seconds"]) == (1, 7, 0.5, 9.0)


@pytest.mark.parametrize("quality", [0.5, None])
def test_a_state_is_loaded_as_it_was_saved(tmp_path, quality):
    config = TrainConfig(ema=0.9)
    learner, state = build_learner(Tiny(), config, CPU), TrainState(steps=12)
    add(state, 0.1, quality)
    state.seconds, state.validation_seconds = 30.0, 4.0
    state.plan = ValidationPlan(images=12, every=3)
    learner.network(torch.zeros(1, 1, 8, 8)).pixels.sum().backward()
    learner.optimizer.step()
    save_state(tmp_path, state, learner, identity="one")
    other = build_learner(Tiny(seed=9), config, CPU)
    loaded = load_state(tmp_path, other, identity="one")
    expected = state.best_quality if math.isfinite(state.best_quality) else -math.inf
    assert loaded == replace(state, best_quality=expected)
    assert equal(weights(other.network), weights(learner.network))
    assert equal(weights(other.evaluated), weights(learner.evaluated))
    one, two = (x.optimizer.state_dict()["state"] for x in (other, learner))
    assert one.keys() == two.keys()
    assert torch.equal(one[0]["exp_avg"], two[0]["exp_avg"])


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    learner, state = build_learner(Tiny(), TrainConfig(), CPU), TrainState(steps=12)
    add(state, 0.1)
    save_state(tmp_path, state, learner, identity="one")
    path = tmp_path / "checkpoints" / "epoch-0001.json"
    numbers = read_json(path)
    del numbers["kept_epoch"], numbers["seal"]
    write_json(path, add_seal(numbers))
    message = "checkpoints was written by an earlier version .*Start a new run"
    with pytest.raises(TrainingError, match=message):
        load_state(tmp_path, learner, identity="one")


@pytest.mark.check(55)
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    learner, state = build_learner(Tiny(), TrainConfig(), CPU), TrainState(steps=12)
    add(state, 0.5)
    save_state(tmp_path, state, learner, identity="one")
    message = "has a checkpoint of another run, that of epoch 1: .* Remove it, then resume again"
    with pytest.raises(TrainingError, match=message):
        load_state(tmp_path, learner, identity="other")


def test_a_checkpoint_names_its_numbers(tmp_path):
    state = TrainState(steps=12)
    add(state, 0.5)
    save_state(tmp_path, state, build_learner(Tiny(), TrainConfig(), CPU), identity="one")
    numbers = read_json(tmp_path / "checkpoints" / "epoch-0001.json")
    names = {"steps", "plan", "best", "kept_epoch", "seconds", "validation_seconds", "scaler"}
    assert names <= numbers.keys()
    assert (numbers["epoch"], numbers["best"], numbers["best_epoch"]) == (1, 0.5, 1)


def test_however_short_the_time_one_step_is_made():
    config = TrainConfig(max_time=1e-6)
    budget = Budget(config, 10, validation_seconds=5.0)
    assert budget.progress(0) == 1.0
    assert not TrainState().is_finished(config, budget)
    assert TrainState(epoch=1, steps=1).is_finished(config, budget)
