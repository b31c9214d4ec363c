"""The trial before a run: every network at its smallest samples, and what it refuses."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import train_tiny

from defectkit.approaches.build import build_approach
from defectkit.config import ARCHITECTURES, TrainConfig, load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError
from defectkit.training import job, trial
from defectkit.training.schedule import CAUTION
from defectkit.training.trial import UNKNOWN_TIME, ExpectedTime, try_training

pytestmark = pytest.mark.check(56)

CPU = torch.device("cpu")
ENCODERS = {"fcn": "resnet50", "dpt": "resnet18"}
CROPS = {"pan": 128}
SMALL = ("train.samples_per_epoch=2", "patch.tile=32", "patch.context=0", "patch.tiles_per_image=1")
LARGE = ("dpt", "fcn")
NETWORKS = [
    pytest.param(approach, name, id=name, marks=[pytest.mark.slow] if name in LARGE else [])
    for approach, names in ARCHITECTURES.items()
    for name in names
]


def try_small(folder, approach: str, name: str, *changes: str) -> float:
    settings = (
        *(f"approach={approach}", f"model.architecture={name}", "model.weights=none"),
        *(f"model.encoder={ENCODERS.get(name, 'test_resnet')}", *SMALL),
        *(f"data.crop={CROPS.get(name, 32)}", *changes),
    )
    dataset = Dataset.load(folder)
    built = build_approach(load_config(None, settings), classes=dataset.classes, channels=1)
    samples = built.samples(dataset, dataset.split("train"))
    return try_training(built, built.network(), samples, dataset.split("val")[:1], CPU).image


@pytest.mark.parametrize(("approach", "name"), NETWORKS)
def test_each_network_takes_the_smallest_samples_or_says_what_it_needs(
    approach, name, dataset_folder
):
    assert try_small(dataset_folder, approach, name, "train.batch_size=2") > 0
    refused = ""
    try:
        try_small(dataset_folder, approach, name, "train.batch_size=1")
    except ConfigError as error:
        refused = str(error)
    needed = f"{name} cannot learn from one sample at a time: its batch normalization needs at "
    assert refused in (
        "",
        f"{needed}least two values per channel. Use --set train.batch_size=2 or more.",
    )


@pytest.mark.slow
def test_a_network_that_does_not_take_the_images_is_told_before_there_is_a_run(
    dataset_folder, tmp_path
):
    with pytest.raises(ConfigError, match=r"unet cannot learn from one sample .*batch_size=2 or"):
        train_tiny(dataset_folder, tmp_path / "run", "train.batch_size=1", "data.crop=32")
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / "config.yaml").exists()
    train_tiny(dataset_folder, tmp_path / "run", "data.crop=32", "train.epochs=1")


def test_any_other_refusal_of_a_network_names_it_and_the_settings(dataset_folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("Input height (32) doesn't match model (224).")

    monkeypatch.setattr(trial, "_try_step", refuse)
    message = r"pixel_net on \S+ does not take these images \(Input height \(32\) .*data\.crop"
    with pytest.raises(ConfigError, match=message):
        try_small(dataset_folder, "segment", "pixel_net")


@pytest.mark.parametrize(("device", "expected"), [("cpu", 9.0), ("cuda", 0.5)])
def test_on_a_gpu_the_second_time_counts(device, expected):
    """The first one is that of loading and choosing kernels: seconds for a single image."""
    times = iter([9.0, 0.5])
    assert trial._prepared(lambda: next(times), torch.device(device)) == expected


@pytest.mark.parametrize("fault", [AssertionError(), ValueError("7 is not in list")])
def test_a_fault_in_the_first_step_stays_one(fault, dataset_folder, monkeypatch):
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(trial, "_try_step", fail)
    with pytest.raises(type(fault)) as raised:
        try_small(dataset_folder, "segment", "pixel_net")
    assert raised.value is fault


def test_a_time_that_cannot_hold_a_step_and_a_validation_is_told_before_there_is_a_run(
    dataset_folder, tmp_path, monkeypatch
):
    message = (
        r"--max-time 0\.001s is too short: here a step takes about \d+\.\d s, and a validation "
        r"with what is fitted before it about \d+\.\d s\. Give at least --max-time \d+s\."
    )
    with pytest.raises(ConfigError, match=message):
        train_tiny(dataset_folder, tmp_path / "run", max_time=0.001)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        train_tiny(dataset_folder, None, max_time=0.001)
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_an_image_is_measured_on_a_few_after_a_first(dataset_folder, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(trial.time, "monotonic", lambda: next(clock))
    dataset = Dataset.load(dataset_folder)
    config = load_config(None, ["model.architecture=pixel_net", "data.crop=32", *SMALL,
                                "train.max_time=1000", "train.batch_size=2"])  # fmt: skip
    built = build_approach(config, classes=dataset.classes, channels=1)
    samples = built.samples(dataset, dataset.split("train"))
    records = dataset.split("val")
    tried = []

    def validate(approach, network, chosen):
        tried.append([record.image_id for record in chosen])
        return type("Timed", (), {"image_seconds": 2.0})()

    monkeypatch.setattr(trial, "validate", validate)
    expected = try_training(built, built.network(), samples, records, CPU)
    assert expected == ExpectedTime(image=2.0, fitting=1.0, step=1.0)  # a tick of the clock to fit
    assert expected.validation(5) == 11.0
    ids = [record.image_id for record in records]
    assert tried == [ids[:1], ids[:4]]


def test_the_time_of_choosing_a_bank_is_reserved_too(dataset_folder):
    dataset, fitting = Dataset.load(dataset_folder), {}
    for bank in (20, 2000):
        settings = ["approach=novelty", "model.encoder=test_resnet", "model.weights=none"]
        settings += [f"novelty.bank={bank}", "train.max_time=1000"]
        built = build_approach(load_config(None, settings), classes=dataset.classes, channels=1)
        samples = built.samples(dataset, dataset.split("train"))
        records = dataset.split("val")
        fitting[bank] = try_training(built, built.network(), samples, records, CPU).fitting
    assert fitting[2000] > 5 * fitting[20] > 0


def test_the_trial_changes_nothing_of_the_training(dataset_folder, tmp_path, monkeypatch):
    settings = ("model.architecture=pixel_net", "data.crop=32", "train.epochs=1")
    states = []
    for name in ("tried", "not tried"):
        train_tiny(dataset_folder, tmp_path / name, *settings)
        states.append(load_file(tmp_path / name / "checkpoints" / "epoch-0001.safetensors"))
        monkeypatch.setattr(job, "try_training", lambda *_, **__: UNKNOWN_TIME)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_folds_need_a_step_for_each_training_and_what_is_reserved_for_validations():
    needed = 6 * 2.0 + 2 * CAUTION * 10.0
    enough = TrainConfig(folds=5, max_time=needed + 0.1)
    trial._check_time(enough, step=2.0, validation=10.0)
    message = r"too short for 6 trainings: .* Give at least --max-time 76s"
    short = TrainConfig(folds=5, max_time=needed - 0.1)
    with pytest.raises(ConfigError, match=message):
        trial._check_time(short, step=2.0, validation=10.0)
