import math
from dataclasses import replace

import pytest
import torch
from trial import CPU, Tiny, equal, weights

from defectkit.approaches.tuning import Tuning
from defectkit.config import TrainConfig
from defectkit.errors import TrainingError
from defectkit.evaluation.operating_points import Thresholds
from defectkit.files import read_json
from defectkit.training.history import write_history
from defectkit.training.schedule import Budget
from defectkit.training.state import (
    EpochResult,
    TrainState,
    build_learner,
    load_state,
    save_state,
)
from defectkit.training.validation import Validation

RESULT = EpochResult(losses={"bce": 0.25, "loss": 0.5}, learning_rate=1e-3, seconds=2.0)
VALIDATION = Validation(
    image_ap=0.5, pixel_ap=0.5, dice=0.4, tuning=Tuning(),
    thresholds=Thresholds(low=0.5, high=0.5, rule="f1"), warnings=(), tuning_warnings=(),
    seconds=3.0, watched=(),
)  # fmt: skip


def add(state: TrainState, *qualities: float | None) -> list[int]:
    """The best epoch after each of the given qualities."""
    best = []
    for value in qualities:
        validation = replace(VALIDATION, image_ap=value, pixel_ap=value)
        state.add_epoch(RESULT, validation, seconds=9.0)
        best.append(state.best_epoch)
    return best


def test_the_best_epoch_is_the_first_of_the_highest_quality():
    state = TrainState()
    assert add(state, 0.2, 0.5, 0.5, 0.4) == [1, 2, 2, 2]
    assert (state.epoch, state.epochs_since_best, state.is_best) == (4, 2, False)


def test_without_a_quality_the_last_epoch_is_the_best():
    assert add(TrainState(), None, None, None) == [1, 2, 3]


def test_a_row_has_the_loss_first_then_its_terms():
    state = TrainState(steps=7)
    add(state, 0.5)
    (row,) = state.history
    assert list(row) == [
        "epoch", "steps", "train_loss", "train_bce", "val_image_ap", "val_pixel_ap", "val_dice",
        "learning_rate", "train_seconds", "seconds",
    ]  # fmt: skip
    assert (row["epoch"], row["steps"], row["train_loss"], row["seconds"]) == (1, 7, 0.5, 9.0)


@pytest.mark.parametrize("quality", [0.5, None])
def test_a_state_is_loaded_as_it_was_saved(tmp_path, quality):
    config = TrainConfig(ema=0.9)
    learner, state = build_learner(Tiny(), config, CPU), TrainState(steps=12)
    add(state, 0.1, quality)
    state.seconds = 30.0
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


def test_the_history_of_an_earlier_version_is_read_from_its_file(tmp_path):
    learner, state = build_learner(Tiny(), TrainConfig(), CPU), TrainState(steps=12)
    add(state, 0.1, 0.2)
    write_history(tmp_path / "history.csv", [*state.history, {"epoch": 3}])  # killed after the row
    save_state(tmp_path, replace(state, history=[]), learner, identity="one")
    assert [row["epoch"] for row in load_state(tmp_path, learner, identity="one").history] == [1, 2]


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
    names = {"steps", "best", "since_best", "seconds", "validation_seconds", "scaler"}
    assert names <= numbers.keys()
    assert (numbers["epoch"], numbers["best"], numbers["since_best"]) == (1, 0.5, 0)


def test_however_short_the_time_one_step_is_made():
    config = TrainConfig(max_time=1e-6)
    budget = Budget(config, 10, validation_seconds=5.0)
    assert budget.progress(0) == 1.0
    assert not TrainState().is_finished(config, budget)
    assert TrainState(epoch=1, steps=1).is_finished(config, budget)
