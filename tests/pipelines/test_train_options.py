"""How the options of ``train`` become a configuration and a folder."""

import io

import pytest
from rich.console import Console
from tiny_training import TINY

import defectkit
from defectkit.config import Config, TrainConfig, load_config
from defectkit.errors import ConfigError
from defectkit.files import write_json
from defectkit.pipelines import train
from defectkit.seals import add_seal
from defectkit.training import plan


@pytest.fixture
def asked(monkeypatch):
    """What would be trained, without training."""
    calls = []
    monkeypatch.setattr(train, "_run", lambda **options: calls.append(options))
    return calls


def test_options_become_settings_after_the_others(asked, tmp_path):
    train.run(
        data=tmp_path, out=tmp_path / "run", epochs=7, device="cpu", seed=5,
        settings=["train.epochs=3", "train.lr=1e-4", "seed=1"],
    )  # fmt: skip
    train.run(out=tmp_path / "other", max_time="2m")
    call, other = asked
    config = call["config"]
    assert (config.train.epochs, config.train.max_time, config.seed) == (7, None, 5)
    assert other["config"].train.max_time == 120.0
    assert (config.device, config.train.lr) == ("cpu", 1e-4)
    assert (call["data"], call["out"]) == (tmp_path, tmp_path / "run")
    assert (call["resume"], call["allow_download"]) == (False, False)


def test_a_configuration_is_a_name_a_file_or_an_object(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("train:\n  lr: 5e-4\n")
    (tmp_path / "plain").write_text("train:\n  lr: 6e-4\n")
    given = [
        "segnet",
        "mine.yaml",
        tmp_path / "mine.yaml",
        "plain",
        Config(train=TrainConfig(lr=7e-4)),
    ]
    for config in given:
        train.run(config=config, settings=["train.ema=0.5"])
    rates = [call["config"].train.lr for call in asked]
    assert rates == [1e-3, 5e-4, 5e-4, 6e-4, 7e-4]
    assert asked[0]["config"].model.architecture == "segnet"
    assert {call["config"].train.ema for call in asked} == {0.5}


def test_nothing_given_is_the_defaults_and_the_first_run(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train.run()
    (call,) = asked
    assert call["config"] == Config()
    assert call["data"] is None
    assert call["out"] is None  # the pipeline takes the next free run


def test_mistakes_are_said_before_anything_is_imported_or_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is not a time"):
        train.run(max_time="soon")
    with pytest.raises(ConfigError, match="exclude each other: give --epochs or --max-time"):
        train.run(max_time="2m", epochs=3)
    with pytest.raises(ConfigError, match="approach: 'look' is not one of 'patch', 'box', 'seg"):
        train.run(approach="look")
    with pytest.raises(ConfigError, match="device: 'tpu' is not one of"):
        train.run(device="tpu")
    with pytest.raises(ConfigError, match="keeps its configuration"):
        train.run(config="unet", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_keeps_its_configuration_and_takes_changes(asked, run_folder, tmp_path):
    train.run(data=tmp_path, out=run_folder, resume=True, epochs=9)
    (call,) = asked
    before = load_config(run_folder / "config.yaml")
    expected = before.model_copy(update={"train": before.train.model_copy(update={"epochs": 9})})
    assert call["config"] == expected
    assert call["resume"] is True


def test_the_newest_run_is_resumed_where_none_is_named(asked, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (2, 10):
        folder = tmp_path / "runs" / f"segment-{number}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"seed: {number}\n")
        write_json(folder / "run.json", add_seal({"dataset": "", "dataset_folder": ""}))
    train.run(resume=True)
    assert asked[0]["config"].seed == 10
    assert str(asked[0]["out"]) == "runs/segment-10"


@pytest.mark.slow
def test_a_run_keeps_what_was_planned_and_a_resumed_one_plans_nothing(
    dataset_folder, tmp_path, monkeypatch
):
    said = Console(file=io.StringIO(), width=200)
    free = [one for one in TINY if not one.startswith(("plan", "data.crop"))]
    run = tmp_path / "run"
    options = {"data": dataset_folder, "device": "cpu", "console": said}
    small = ["model.architecture=pixel_net", "train.epochs=1"]
    defectkit.train(out=run, settings=[*free, *small], **options)
    assert "data.crop=96 rather than 256" in said.file.getvalue()
    config = load_config(run / "config.yaml")
    assert (config.data.crop, config.train.batch_size, config.plan) == (96, 4, True)
    monkeypatch.setattr(plan, "make_plan", lambda *_: pytest.fail("it is planned"))
    defectkit.train(out=run, resume=True, epochs=2, **options)
    assert load_config(run / "config.yaml").data.crop == 96
