import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from defectkit.approaches import crop_samples as crops
from defectkit.approaches.build import build_approach
from defectkit.approaches.interface import Approach
from defectkit.config import Config, load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import DefectkitWarning, NotFiniteError, TrainingError
from defectkit.evaluation.prediction import predict
from defectkit.models.network import Network
from defectkit.training import loop
from defectkit.training.checkpoint import has_checkpoint
from defectkit.training.history import read_history
from defectkit.training.loader import EpochLoader, batch_keys
from defectkit.training.loop import Epoch, train_epochs, validate

CPU = torch.device("cpu")


class Tiny(Network):
    """A network with all that can go astray on a resume: batch norm, dropout, an encoder."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        features = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU())
        super().__init__(mean=128.0, std=128.0, features=features, pretrained=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(6, 2, 3, padding=1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(self.normalize(images)))

    def lowest_stages(self, count: int) -> list[nn.Module]:
        return [*self.features[:2]] if count else []


class Trial:
    """Training of the tiny network on the tiny dataset."""

    def __init__(self, dataset_folder: Path, folder: Path, *changes: str) -> None:
        dataset = Dataset.load(dataset_folder)
        settings = ["data.crop=32", "data.workers=0", "train.epochs=4", "train.batch_size=4",
                    "train.samples_per_epoch=12", "train.lr=1e-2",
                    "loss.classes=0", *changes]  # fmt: skip
        config = load_config(None, settings)
        self.approach: Approach = build_approach(config, classes=dataset.classes, channels=1)
        self.samples = self.approach.samples(dataset, dataset.split("train"))
        self.records = dataset.split("val")
        self.folder = folder

    def epochs(self, network: nn.Module | None = None, **options) -> Iterator[Epoch]:
        return train_epochs(
            self.approach,
            network or Tiny(),
            samples=self.samples,
            validation_records=self.records,
            folder=self.folder,
            device=CPU,
            **options,
        )


@pytest.fixture
def trial(dataset_folder, tmp_path):
    def start(*changes: str, folder: str = "run") -> Trial:
        return Trial(dataset_folder, tmp_path / folder, *changes)

    return start


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def lasting(folder: Path) -> list[dict]:
    """The history without what a clock says."""
    rows = read_history(folder / "history.csv")
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


# --- what an epoch is ---------------------------------------------------------------------------


def test_epochs_come_with_their_row_and_leave_history_and_states(trial):
    run = trial()
    for number, epoch in enumerate(run.epochs(), start=1):
        assert epoch.epoch == epoch.row["epoch"] == number
        assert epoch.row["steps"] == 3 * number
        assert not epoch.network.training
        rows = read_history(run.folder / "history.csv")
        assert len(rows) == number
        assert rows[-1] == epoch.row
        weights = Config().loss
        loss = weights.bce * epoch.row["train_bce"] + weights.dice * epoch.row["train_dice"]
        assert epoch.row["train_loss"] == pytest.approx(loss, abs=2e-5)
    assert number == 4
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
    list(run.epochs(on_progress=lambda done, text: told.append((done, text))))
    parts = [done for done, _ in told]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert parts[-1] == 1
    assert told[0][1].startswith("epoch 1  loss ")
    assert told[-1][1] == "epoch 2  validation"


def test_a_few_validation_images_are_handed_on_the_same_each_time(trial):
    run = trial("train.epochs=2")
    seen = [
        [look.record.image_id for look in epoch.validation.watched] for epoch in run.epochs(watch=3)
    ]
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
    for epoch in trial("train.freeze_stages=0", *changes).epochs(network):
        moved = not equal(weights(network.encoder), before)
        assert moved == ("freeze_encoder" in changes[0] and epoch.epoch > 2)
    assert not equal(weights(network.head), head)


def test_frozen_stages_never_learn(trial):
    network = Tiny()
    before = weights(network.encoder)
    list(trial("train.freeze_stages=1").epochs(network))
    assert equal(weights(network.encoder), before)
    list(trial("train.freeze_stages=0", folder="other").epochs(network))
    assert not equal(weights(network.encoder), before)


@pytest.fixture
def qualities(monkeypatch):
    """Let validation say what a test wants, in turn."""

    def give(*values: float | None) -> None:
        turn = itertools.chain(values, itertools.repeat(values[-1]))
        real = loop.validate

        def pretended(*arguments, **options):
            value = next(turn)
            return replace(real(*arguments, **options), image_ap=value, pixel_ap=value)

        monkeypatch.setattr(loop, "validate", pretended)

    return give


def test_the_best_epoch_is_the_first_of_the_highest_quality(trial, qualities):
    qualities(0.2, 0.5, 0.5, 0.4)
    assert [epoch.is_best for epoch in trial().epochs()] == [True, True, False, False]


def test_where_nothing_can_be_said_the_last_epoch_is_the_best(trial, qualities):
    qualities(None)
    assert [epoch.is_best for epoch in trial().epochs()] == [True] * 4


def test_patience_ends_training(trial, qualities):
    qualities(0.2, 0.5, 0.4, 0.5, 0.4, 0.9)
    run = trial("train.epochs=20", "train.patience=3")
    assert [epoch.epoch for epoch in run.epochs()] == [1, 2, 3, 4, 5]
    assert list(run.epochs(resume=True)) == []


# --- resume -------------------------------------------------------------------------------------


class Stopped(Tiny):
    """Ends the training in the given step, as a signal does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(images)


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
                list(stopped.epochs(Stopped(step)))
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
@pytest.mark.parametrize("approach", ["segment", "patch", "box"])
def test_the_same_seed_gives_the_same_samples_with_any_loaders(approach, trial, tally):
    seen = []
    for workers in (0, 0, 1, 4)[:: tally.number(short=2, full=1)]:
        run = trial(f"approach={approach}", "train.batch_size=6", folder=f"{workers}")
        loader = EpochLoader(run.samples, run.approach.config.train, workers=workers, device=CPU)
        with tally.case(f"{workers} loaders"):
            seen.append([fingerprint(batch) for epoch in (1, 2) for batch in loader.epoch(epoch)])
            assert seen[-1] == seen[0]
    assert len({*seen[0]}) == len(seen[0])


def fingerprint(batch: object) -> str:
    """The SHA-256 of all tensors in a batch."""
    digest = hashlib.sha256()
    for leaf in torch.utils._pytree.tree_leaves(batch):
        digest.update(leaf.contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.check(22)
def test_loader_processes_change_nothing(trial, tally):
    *_, alone = trial(folder="alone").epochs(Tiny())
    for workers in (2, 0, 1, 4)[: tally.number(short=1, full=4)]:
        with tally.case(f"{workers} loaders"):
            *_, helped = trial(f"data.workers={workers}", folder=f"{workers}").epochs(Tiny())
            assert equal(weights(alone.network), weights(helped.network))


# --- augmentation -------------------------------------------------------------------------------

CONTINUOUS = ("augment.affine=1", "augment.brightness_contrast=1")
ORIENTATIONS = ("augment.affine=0", "augment.brightness_contrast=0", "augment.noise=0",
                "augment.blur=0")  # fmt: skip


@pytest.fixture
def augmented(trial, monkeypatch):
    """Give what the augmentations of every sample, over loaders and epochs, make of one image."""
    probe = np.random.default_rng(23).integers(0, 256, (16, 16, 1), np.uint8)
    real = crops.augment

    def of_the_probe(pipeline, image, masks, *, seed):
        masks = (probe.transpose(2, 0, 1) > 127).astype(np.uint8)
        return real(pipeline, probe, masks, seed=seed)

    monkeypatch.setattr(crops, "augment", of_the_probe)  # the loader processes are forked

    def collect(epochs: int, *changes: str) -> list[list[bytes]]:
        run = trial("train.batch_size=16", "train.samples_per_epoch=64", *changes)
        loader = EpochLoader(run.samples, run.approach.config.train, workers=4, device=CPU)
        return [
            [image.numpy().tobytes() for images, _ in loader.epoch(epoch) for image in images]
            for epoch in range(1, epochs + 1)
        ]

    return collect


@pytest.mark.check(23)
def test_no_change_of_any_size_is_drawn_twice(augmented, tally):
    drawn = [sample for epoch in augmented(tally.number(3, 20), *CONTINUOUS) for sample in epoch]
    for sample, times in Counter(drawn).items():
        with tally.case(sample):
            assert times == 1


@pytest.mark.check(23)
def test_flips_and_turns_repeat_no_more_than_chance(augmented, tally):
    """From epoch to epoch at the same place, and from loader to loader in the same epoch."""
    drawn = np.array(augmented(tally.number(12, 60), *ORIENTATIONS))
    _, drawn = np.unique(drawn, return_inverse=True)
    drawn = drawn.reshape(-1, 4, 16)  # epochs, batches (each of another loader), places
    shares = np.bincount(drawn.ravel()) / drawn.size
    assert len(shares) == 8  # two mirror images of four turns
    chance = (shares**2).sum()
    for pairs in (drawn[1:] == drawn[:-1], drawn[:, 1:] == drawn[:, :-1],
                  drawn[..., 1:] == drawn[..., :-1]):  # fmt: skip
        with tally.case(pairs.shape):
            spread = np.sqrt(chance * (1 - chance) / pairs.size)
            assert abs(pairs.mean() - chance) < 5 * spread


def test_the_seed_changes_what_is_learned(trial):
    *_, one = trial("train.epochs=1").epochs(Tiny())
    *_, other = trial("train.epochs=1", "seed=1", folder="other").epochs(Tiny())
    assert not equal(weights(one.network), weights(other.network))


def test_a_damaged_state_costs_one_epoch(trial):
    unbroken, network = trial(folder="unbroken"), Tiny()
    list(unbroken.epochs(network))
    broken = trial(folder="broken")
    running = broken.epochs()
    for epoch in running:
        if epoch.epoch == 4:
            break
    running.close()
    newest = broken.folder / "checkpoints" / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = Tiny(seed=99)
    with pytest.warns(DefectkitWarning, match=r"damaged \(epoch-0003\): going on from epoch-0002"):
        assert [epoch.epoch for epoch in broken.epochs(resumed, resume=True)] == [3, 4]
    assert equal(weights(resumed), weights(network))


def test_a_finished_run_has_nothing_left(trial):
    run = trial()
    list(run.epochs())
    assert list(run.epochs(resume=True)) == []
    assert len(lasting(run.folder)) == 4


def test_there_must_be_something_to_resume(trial):
    with pytest.raises(TrainingError, match="checkpoints holds no whole checkpoint. Start anew"):
        next(trial().epochs(resume=True))


# --- what goes wrong ----------------------------------------------------------------------------


class Poisoned(Tiny):
    """Its outputs are not finite from the given forward pass on."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(images)
        if self.training:
            self.good -= 1
        return outputs if self.good >= 0 else outputs * float("nan")


def test_a_loss_that_is_not_finite_names_its_batch(trial):
    run = trial()
    images = [run.samples.image_id((1, index)) for index in range(4, 8)]
    message = (
        rf"not finite \(bce nan, .*\) in epoch 1, batch 2, images: {', '.join(images)}\. Lower"
    )
    with pytest.raises(NotFiniteError, match=message):
        next(run.epochs(Poisoned(good=1)))
    assert not (run.folder / "checkpoints").exists()


def test_in_the_second_epoch_it_names_that_one(trial):
    run = trial()
    running = run.epochs(Poisoned(good=5))
    next(running)
    with pytest.raises(TrainingError, match="in epoch 2, batch 3, images: "):
        next(running)
    assert (run.folder / "checkpoints" / "epoch-0001.json").is_file()


@pytest.mark.parametrize("samples", [4, 12])
def test_a_rate_far_too_high_is_an_error_and_no_traceback(trial, samples):
    changes = (
        f"train.samples_per_epoch={samples}",
        "train.lr=1e38",
        "train.warmup=0",
        "train.ema=0",
    )
    with pytest.raises(TrainingError, match=r"not finite.*--set train\.lr="):
        list(trial(*changes, "train.optimizer=sgd", "train.clip_norm=null").epochs())


# --- batches and validation ---------------------------------------------------------------------


def test_an_epoch_holds_whole_batches_and_at_least_one(trial):
    run = trial("train.samples_per_epoch=10")
    config = run.approach.config.train
    loader = EpochLoader(run.samples, config, workers=0, device=CPU)
    batches = list(loader.epoch(3))
    assert len(loader) == len(batches) == 2
    for number, (inputs, targets) in enumerate(batches):
        assert inputs.shape == (4, 1, 32, 32)
        for place, key in enumerate(batch_keys(3, number, 4)):
            image, masks = run.samples[key]
            assert torch.equal(inputs[place], image)
            assert torch.equal(targets[place], masks)
    few = trial("train.samples_per_epoch=2")
    loader = EpochLoader(few.samples, few.approach.config.train, workers=0, device=CPU)
    assert [len(inputs) for inputs, _ in loader.epoch(1)] == [4]


def test_validation_says_what_scikit_learn_says(trial):
    run = trial()
    network = Tiny().eval()
    validation = validate(run.approach, network, run.records, watch=2)
    looks = list(predict(run.approach, network, run.records))
    truth = [look.record.defective for look in looks]
    scores = [look.finding.score for look in looks]
    assert validation.image_ap == pytest.approx(average_precision_score(truth, scores))
    pixels = np.concatenate([look.truth.mask.ravel() for look in looks])
    found = np.concatenate([look.finding.defect_map.ravel() for look in looks])
    expected = average_precision_score(pixels, found)
    assert validation.pixel_ap == pytest.approx(expected, abs=2e-3)
    assert validation.quality == pytest.approx((validation.image_ap + validation.pixel_ap) / 2)
    called = found >= validation.pixel_threshold
    dice = 2 * (called & pixels).sum() / (called.sum() + pixels.sum())
    assert validation.dice == pytest.approx(dice, abs=5e-3)
    assert len(validation.watched) == 2
    assert any("10 of either" in warning for warning in validation.warnings)


def record(name: str, *classes: str) -> ImageRecord:
    return ImageRecord(
        image_id=name, path=Path(name), height=9, width=9, channels=1, sha256="", group="",
        split="val", rles=dict.fromkeys(classes, "1 1"), regions=(),
    )  # fmt: skip


def test_worth_watching_are_all_classes_first_and_one_good_image():
    records = [
        *(record(f"a{index}", "a") for index in range(5)),
        *(record(f"good{index}") for index in range(5)),
        *(record(f"b{index}", "b") for index in range(2)),
    ]
    chosen = [one.image_id for one in loop._worth_watching(records, 6)]
    assert chosen == ["a0", "b0", "a1", "b1", "a2", "good0"]
    assert [one.image_id for one in loop._worth_watching(records, 2)] == ["a0", "good0"]
    assert loop._worth_watching(records, 0) == []
    assert [one.image_id for one in loop._worth_watching(records[5:7], 6)] == ["good0", "good1"]
    only = [one.image_id for one in loop._worth_watching(records[:2], 6)]
    assert only == ["a0", "a1"]
