"""The order of a training, over all of its epochs: history, the best model, checkpoints, resume."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import train_tiny
from trial import Tiny, equal, weights

from defectkit.config import Config
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.errors import DefectkitWarning, NotFiniteError, TrainingError
from defectkit.files import read_json
from defectkit.models.segmentation.segmenter import SegmenterOutput
from defectkit.training import hard_places, state, validation, validation_part, validator
from defectkit.training.checkpoint import has_checkpoint
from defectkit.training.history import read_history


def lasting(folder: Path) -> list[dict]:
    """The history without what a clock says."""
    rows = read_history(folder / "history.csv")
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


# --- what an epoch is ---------------------------------------------------------------------------


def test_epochs_come_with_their_row_and_leave_history_and_states(trial):
    run = trial()
    numbers = []

    def check(epoch):
        numbers.append(epoch.epoch)
        assert epoch.row["epoch"] == len(numbers)
        assert epoch.row["steps"] == 3 * len(numbers)
        assert not epoch.network.training
        assert len(read_history(run.folder / "history.csv")) == len(numbers)
        weights = Config().loss
        loss = weights.bce * epoch.row["train_bce"] + weights.dice * epoch.row["train_dice"]
        assert epoch.row["train_loss"] == pytest.approx(loss, abs=2e-5)

    run.epochs(before_checkpoint=check)
    assert numbers == [1, 2, 3, 4]
    states = sorted(path.name for path in (run.folder / "checkpoints").glob("*.json"))
    assert states == ["epoch-0003.json", "epoch-0004.json"]


def test_the_loss_falls(trial):
    rows = [
        epoch.row for epoch in trial("train.epochs=12", "train.ema=0", "train.lr=3e-2").epochs()
    ]
    assert rows[-1]["train_loss"] < 0.85 * rows[0]["train_loss"]


def test_the_rate_follows_the_schedule(trial):
    changes = ("train.schedule=step", "train.step_epochs=2", "train.step_factor=0.5")
    rates = [epoch.row["learning_rate"] for epoch in trial(*changes).epochs()]
    assert rates == [1e-2, 1e-2, 5e-3, 5e-3]
    rates = [epoch.row["learning_rate"] for epoch in trial(folder="other").epochs()]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.1 * 1e-2


@pytest.mark.parametrize(
    "changes",
    [
        ("train.optimizer=sgd",),
        ("train.optimizer=adam", "train.clip_norm=null", "train.ema=0"),
        ("train.amp=bf16",),
        ("loss.bce=0", "loss.cross_entropy=0", "loss.focal=1", "loss.dice=0"),
    ],
)
def test_other_settings_train_too(trial, changes):
    for epoch in trial("train.epochs=2", *changes).epochs():
        assert math.isfinite(epoch.row["train_loss"])


def test_progress_rises_from_0_towards_1(trial):
    told = []
    run = trial("train.epochs=2")
    run.epochs(on_progress=lambda done, text: told.append((done, text)))
    parts = [done for done, _ in told]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert parts[-1] == 1
    assert told[0][1].startswith("epoch 1  loss ")
    assert told[-1][1] == "epoch 2  validation"


def test_a_few_validation_images_are_handed_on_the_same_each_time(trial, monkeypatch):
    run = trial("train.epochs=2")
    monkeypatch.setattr(validator, "WATCHED_IMAGES", 3)
    seen = [[one.record.image_id for one in epoch.validation.watched] for epoch in run.epochs()]
    assert seen[0] == seen[1]
    defective = {record.image_id for record in run.records if record.defective}
    assert len(seen[0]) == 3
    assert len(defective & set(seen[0])) == 2


# --- averages, freezing, choosing ---------------------------------------------------------------


def test_the_moving_average_is_validated_and_kept(trial):
    network = Tiny()
    (epoch,) = trial("train.epochs=1", "train.ema=0.9").epochs(network)
    assert epoch.network is not network
    assert not equal(weights(epoch.network), weights(network))
    network = Tiny()
    (epoch,) = trial("train.epochs=1", "train.ema=0", folder="other").epochs(network)
    assert epoch.network is network


@pytest.mark.parametrize(
    "changes", [("train.encoder_lr_factor=0",), ("train.freeze_encoder_epochs=2",)]
)
def test_a_frozen_encoder_keeps_weights_and_statistics(trial, changes):
    network = Tiny()
    before, head = weights(network.encoder), weights(network.head)

    def check(epoch):
        moved = not equal(weights(network.encoder), before)
        assert moved == ("freeze_encoder" in changes[0] and epoch.epoch > 2)

    trial("train.freeze_stages=0", *changes).epochs(network, before_checkpoint=check)
    assert not equal(weights(network.head), head)


def test_frozen_stages_never_learn(trial):
    network = Tiny()
    before = weights(network.encoder)
    trial("train.freeze_stages=1").epochs(network)
    assert equal(weights(network.encoder), before)
    trial("train.freeze_stages=0", folder="other").epochs(network)
    assert not equal(weights(network.encoder), before)


@pytest.fixture
def qualities(monkeypatch):
    """Let validation say what a test wants, in turn."""

    def give(*values: float | None) -> None:
        turn = itertools.chain(values, itertools.repeat(values[-1]))
        real = validator.validate

        def pretended(*arguments, **options):
            value = next(turn)
            return replace(real(*arguments, **options), image_ap=value, pixel_ap=value)

        monkeypatch.setattr(validator, "validate", pretended)

    return give


def test_the_last_epoch_is_kept_unless_it_is_clearly_worse(trial, qualities):
    qualities(0.2, 0.9, 0.6, 0.3)
    assert [epoch.is_kept for epoch in trial().epochs()] == [True, True, True, False]


def test_where_nothing_can_be_said_the_last_epoch_is_kept(trial, qualities):
    qualities(None)
    assert [epoch.is_kept for epoch in trial().epochs()] == [True] * 4


def test_patience_ends_training(trial, qualities):
    qualities(0.2, 0.5, 0.4, 0.5, 0.4, 0.9)
    run = trial("train.epochs=20", "train.patience=3")
    assert [epoch.epoch for epoch in run.epochs()] == [1, 2, 3, 4, 5]
    assert run.epochs(resume=True) == []


# --- resume -------------------------------------------------------------------------------------


class Stopped(Tiny):
    """Ends the training in the given step, as a signal does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        self.left -= self.training
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(images)


@pytest.mark.slow
@pytest.mark.check(7)
def test_stopped_in_any_step_and_resumed_with_any_loaders_it_ends_at_the_same_weights(trial, tally):
    unbroken, network = trial(folder="unbroken"), Tiny()
    *_, last = unbroken.epochs(network)
    rng = np.random.default_rng(7)
    for number in range(tally.number(short=2, full=21)):
        step, workers = int(rng.integers(12)), (0, 1, 4)[number % 3]
        stopped = trial(f"data.workers={workers}", folder=str(number))
        with tally.case(f"stopped in step {step + 1} with {workers} loaders"):
            with pytest.raises(KeyboardInterrupt):
                stopped.epochs(Stopped(step))
            resume = has_checkpoint(stopped.folder / "checkpoints")
            assert resume == (step >= 3)
            workers = (0, 1, 4)[number // 3 % 3]
            resumed = trial(f"data.workers={workers}", folder=str(number))
            network_again = Tiny(seed=99 if resume else 0)
            *_, again = resumed.epochs(network_again, resume=resume)
            assert equal(weights(network_again), weights(network))
            assert equal(weights(again.network), weights(last.network))
            assert lasting(resumed.folder) == lasting(unbroken.folder)


@pytest.mark.check(22)
def test_loader_processes_change_nothing(trial, tally):
    *_, alone = trial(folder="alone").epochs(Tiny())
    for workers in (2, 0, 1, 4)[: tally.number(short=1, full=4)]:
        with tally.case(f"{workers} loaders"):
            *_, helped = trial(f"data.workers={workers}", folder=f"{workers}").epochs(Tiny())
            assert equal(weights(alone.network), weights(helped.network))


def test_the_seed_changes_what_is_learned(trial):
    *_, one = trial("train.epochs=1").epochs(Tiny())
    *_, other = trial("train.epochs=1", "seed=1", folder="other").epochs(Tiny())
    assert not equal(weights(one.network), weights(other.network))


def test_a_damaged_state_costs_one_epoch(trial):
    unbroken, network = trial(folder="unbroken"), Tiny()
    unbroken.epochs(network)
    broken = trial(folder="broken")

    def stop(epoch):
        if epoch.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.epochs(before_checkpoint=stop)
    newest = broken.folder / "checkpoints" / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = Tiny(seed=99)
    with pytest.warns(
        DefectkitWarning, match=r"damaged \(epoch-0003\): continuing from epoch-0002"
    ):
        assert [epoch.epoch for epoch in broken.epochs(resumed, resume=True)] == [3, 4]
    assert equal(weights(resumed), weights(network))


def test_a_finished_run_has_nothing_left(trial):
    run = trial()
    run.epochs()
    assert run.epochs(resume=True) == []
    assert len(lasting(run.folder)) == 4


@pytest.mark.slow
def test_hard_places_are_looked_for_after_each_epoch_and_survive_a_resume(trial, monkeypatch):
    mined = ("data.hard_negatives=0.9", "data.defect_fraction=0.2", "data.injection=0.2")
    monkeypatch.setattr(hard_places, "PIXELS_PER_TRAINED", 3.0)  # three images at a time
    network, plain = Tiny(), Tiny()
    trial(*mined, folder="unbroken").epochs(network)
    trial(*mined[1:], folder="plain").epochs(plain)
    assert not equal(weights(network), weights(plain))

    def stop(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    broken, resumed = trial(*mined), Tiny(seed=99)
    with pytest.raises(KeyboardInterrupt):
        broken.epochs(before_checkpoint=stop)
    trial(*mined).epochs(resumed, resume=True)
    assert equal(weights(resumed), weights(network))
    numbers = read_json(broken.folder / "checkpoints" / "epoch-0004.json")
    images = {image_id for image_id, *_ in numbers["hard_places"]}
    assert len(images) > 3


def test_there_must_be_something_to_resume(trial):
    with pytest.raises(
        TrainingError, match="checkpoints has no intact checkpoint. Start a new run"
    ):
        trial().epochs(resume=True)


# --- what goes wrong ----------------------------------------------------------------------------


class Poisoned(Tiny):
    """Its outputs are not finite from the given forward pass on."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        outputs = super().forward(images)
        if self.training:
            self.good -= 1
        return outputs if self.good >= 0 else SegmenterOutput(outputs.pixels * float("nan"))


def test_a_loss_that_is_not_finite_names_its_batch(trial):
    run = trial()
    images = [run.samples.image_id((1, index)) for index in range(4, 8)]
    message = (
        rf"not finite \(bce nan, .*\) in epoch 1, batch 2, images: {', '.join(images)}\. "
        "Start a new run with a lower rate"
    )
    with pytest.raises(NotFiniteError, match=message):
        run.epochs(Poisoned(good=1))
    assert not (run.folder / "checkpoints").exists()


def test_in_the_second_epoch_it_names_that_one(trial):
    run = trial()
    with pytest.raises(TrainingError, match="in epoch 2, batch 3, images: "):
        run.epochs(Poisoned(good=5))
    assert (run.folder / "checkpoints" / "epoch-0001.json").is_file()


@pytest.mark.parametrize("samples", [12])
def test_a_rate_far_too_high_is_an_error_and_no_traceback(trial, samples):
    changes = (
        f"train.samples_per_epoch={samples}",
        "train.lr=1e6",
        "train.warmup=0",
        "train.ema=0",
    )
    with pytest.raises(TrainingError, match=r"not finite.*--set train\.lr="):
        trial(*changes, "train.optimizer=sgd", "train.clip_norm=null").epochs()


# --- what is validated --------------------------------------------------------------------------


@pytest.fixture
def in_parts(monkeypatch):
    """Let validation between the epochs take only a part of the images, as in long trainings."""
    monkeypatch.setattr(validation_part, "ALWAYS_ALLOWED", 0.0)
    monkeypatch.setattr(validation_part, "MAX_SHARE", 0.0)
    monkeypatch.setattr(validation_part, "FEWEST_OF_A_KIND", 1)


@pytest.mark.slow
def test_a_part_is_validated_between_the_epochs_and_all_for_the_kept_model(
    dataset_folder, tmp_path, in_parts
):
    summary = train_tiny(dataset_folder, tmp_path / "run", "train.epochs=3")
    rows = read_history(tmp_path / "run" / "history.csv")
    assert [row["validated_images"] for row in rows] == [2, 0, 2]
    assert [row["val_dice"] is None for row in rows] == [False, True, False]
    info = read_json(tmp_path / "run" / "model" / "model.json")
    assert (info["epoch"], summary.kept_epoch) == (3, 3)
    model = TrainedModel.load(tmp_path / "run", device="cpu")
    whole = validation.validate(
        model.approach, model.network, Dataset.load(dataset_folder).split("val")
    )
    assert info["validation"]["images"] == whole.images == 5
    assert info["validation"]["image_average_precision"] == pytest.approx(whole.image_ap)
    assert info["thresholds"] == whole.thresholds.to_dict()


@pytest.mark.slow
def test_resumed_with_more_epochs_a_part_is_validated_between_them(
    dataset_folder, tmp_path, in_parts
):
    run = tmp_path / "run"
    train_tiny(dataset_folder, run, "train.epochs=1")
    train_tiny(dataset_folder, run, resume=True, epochs=4)
    rows = read_history(run / "history.csv")
    assert [row["validated_images"] for row in rows] == [5, 0, 0, 2]


@pytest.mark.slow
def test_stopped_before_all_images_are_validated_it_is_done_on_resume(
    dataset_folder, tmp_path, in_parts, monkeypatch
):
    train_tiny(dataset_folder, tmp_path / "unbroken")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(validator.Validator, "at_the_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset_folder, tmp_path / "run")
    model = tmp_path / "run" / "model"
    assert read_json(model / "model.json")["validation"]["images"] == 2
    train_tiny(dataset_folder, tmp_path / "run", resume=True)
    assert read_json(model / "model.json") == read_json(tmp_path / "unbroken/model/model.json")
    assert len(read_history(tmp_path / "run" / "history.csv")) == 2


@pytest.mark.slow
def test_where_the_last_epoch_is_clearly_worse_all_images_are_validated_with_the_kept_weights(
    dataset_folder, tmp_path, in_parts, qualities
):
    qualities(0.9, 0.3)
    train_tiny(dataset_folder, tmp_path / "two", "train.schedule=constant", "train.warmup=0")
    states = [
        load_file(tmp_path / "two" / name / "model.safetensors")
        for name in ("model", "checkpoints/best")
    ]
    first = load_file(tmp_path / "two" / "checkpoints" / "epoch-0001.safetensors")
    for one in states:
        assert all(torch.equal(one[key], first[f"ema.module.{key}"]) for key in one)
    info = read_json(tmp_path / "two" / "model" / "model.json")
    assert (info["epoch"], info["validation"]["images"]) == (1, 5)


@pytest.mark.slow
def test_a_model_that_a_killed_training_left_keeps_its_own_epoch(
    dataset_folder, tmp_path, qualities, monkeypatch
):
    """Killed after the model of epoch 3 was written, its checkpoint was not; and resumed."""
    qualities(0.9, 0.1, 0.8, 0.1)
    settings = ("train.epochs=3", "train.schedule=constant", "train.warmup=0")
    real = state.save_state

    def save(run: Path, reached: state.TrainState, *arguments: object, **options: object) -> None:
        if reached.epoch == 3:
            raise KeyboardInterrupt
        real(run, reached, *arguments, **options)

    run = tmp_path / "run"
    with monkeypatch.context() as once:
        once.setattr(state, "save_state", save)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset_folder, run, *settings)
    model = run / "model"
    left = load_file(model / "model.safetensors")
    assert read_json(model / "model.json")["epoch"] == 3
    train_tiny(dataset_folder, run, resume=True)  # to epoch 2, which is reached
    kept = load_file(model / "model.safetensors")
    assert all(torch.equal(kept[name], left[name]) for name in left)
    assert read_json(model / "model.json")["epoch"] == 3
