from dataclasses import replace

import pytest
from trial import CPU, Tiny

from defectkit.training import validation_part
from defectkit.training.schedule import Budget
from defectkit.training.state import EpochResult, TrainState
from defectkit.training.trial import UNKNOWN_TIME, ExpectedTime
from defectkit.training.validation_part import ValidationPlan
from defectkit.training.validator import Validator

RESULT = EpochResult(losses={"loss": 0.5}, learning_rate=1e-3, seconds=1.0)


@pytest.fixture
def validator(trial, monkeypatch):
    """One with which a part of two images may be validated after every second epoch."""
    monkeypatch.setattr(validation_part, "ALWAYS_ALLOWED", 0.0)
    monkeypatch.setattr(validation_part, "FEWEST_OF_A_KIND", 1)
    run = trial("train.epochs=100")
    network = Tiny()
    job = run.job(network, expected=ExpectedTime(image=0.098, fitting=0.5))
    return Validator(job, network=network, device=CPU)


def test_a_part_is_validated_after_the_epochs_that_are_due_and_all_at_the_end(validator):
    assert validator.expected_seconds == pytest.approx(0.5 + 5 * 0.098)
    state, told = TrainState(), []
    budget = Budget(validator.job.approach.config.train, 3)
    numbers = []
    for _ in range(4):
        state.steps += 3
        validation = validator.after_epoch(
            state, budget, RESULT, on_progress=lambda _, text: told.append(text)
        )
        state.add_epoch(RESULT, validation, seconds=1.0)
        numbers.append(validation.images if validation else None)
    assert state.plan == ValidationPlan(images=2, every=3, image_seconds=0.098, limit=100)
    assert numbers == [2, None, None, 2]
    assert told == ["epoch 1  validation", "epoch 4  validation"]
    assert validator.at_the_end().images == 5


def test_the_plan_of_a_resumed_training_stays(validator):
    state = TrainState(plan=ValidationPlan(images=4, every=1, limit=100))
    budget = Budget(validator.job.approach.config.train, 3)
    validation = validator.after_epoch(state, budget, RESULT, on_progress=lambda *_: None)
    assert validation.images == 4
    assert state.plan == ValidationPlan(images=4, every=1, limit=100)


@pytest.mark.parametrize(("changes", "limit"), [({}, 100), ({"max_time": 70.0}, 70.0)])
def test_with_other_epochs_or_another_time_it_is_planned_again(validator, changes, limit):
    state = TrainState(plan=ValidationPlan(images=5, every=1, limit=1), epoch=1, steps=3)
    config = validator.job.approach.config
    train = config.train.model_copy(update=changes)
    approach = replace(validator.job.approach, config=config.model_copy(update={"train": train}))
    validator = replace(validator, job=replace(validator.job, approach=approach))
    validator.after_epoch(state, Budget(train, 3), RESULT, on_progress=lambda *_: None)
    assert (state.plan.images, state.plan.limit) == (2, limit)


def test_what_an_image_takes_is_known_from_the_first_session(validator):
    plan = ValidationPlan(images=5, every=1, image_seconds=0.098, limit=1)
    state = TrainState(plan=plan, epoch=1, steps=3)
    validator = replace(validator, job=replace(validator.job, expected=UNKNOWN_TIME))
    budget = Budget(validator.job.approach.config.train, 3)
    validator.after_epoch(state, budget, RESULT, on_progress=lambda *_: None)
    assert state.plan == ValidationPlan(images=2, every=3, image_seconds=0.098, limit=100)


def test_the_plan_of_a_checkpoint_of_an_earlier_version_stays(validator):
    state = TrainState(plan=ValidationPlan(images=4, every=2), epoch=2, steps=6)
    validator = replace(validator, job=replace(validator.job, expected=UNKNOWN_TIME))
    budget = Budget(validator.job.approach.config.train, 3)
    validation = validator.after_epoch(state, budget, RESULT, on_progress=lambda *_: None)
    assert state.plan == ValidationPlan(images=4, every=2)
    assert validation.images == 4


def test_time_is_kept_for_all_images_at_the_end(validator):
    budget = Budget(validator.job.approach.config.train, 3)
    validation = validator.after_epoch(TrainState(), budget, RESULT, on_progress=lambda *_: None)
    assert 0 < 2 * validation.image_seconds <= validation.seconds
    expected = validation.seconds + 5 * validation.image_seconds
    assert budget.validation_seconds == pytest.approx(expected)
    assert validation.seconds_to_the_end(2) == validation.seconds


def test_out_of_fold_nothing_is_validated_before_the_end(validator):
    chosen = validator.at_the_end()
    validator = replace(validator, job=replace(validator.job, out_of_fold=lambda: chosen))
    state, budget = TrainState(steps=3), Budget(validator.job.approach.config.train, 3)
    validation = validator.after_epoch(state, budget, RESULT, on_progress=lambda *_: None)
    assert validation is None
    state.add_epoch(RESULT, None, seconds=1.0)
    assert state.is_kept
    assert state.plan is None
    assert validator.at_the_end() is chosen


def test_out_of_fold_the_network_is_fitted_at_the_end(validator, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        validator.network, "fit_after_epoch", lambda samples: fitted.append(len(list(samples)))
    )
    chosen = validator.at_the_end()
    assert fitted == []
    replace(validator, job=replace(validator.job, out_of_fold=lambda: chosen)).at_the_end()
    assert fitted == [len(validator.job.samples)]
