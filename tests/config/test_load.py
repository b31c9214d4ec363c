from pathlib import Path

import pytest

from defectkit.config import (
    Config,
    TrainConfig,
    load_config,
    make_config,
)
from defectkit.errors import ConfigError


def read(text: str, *more: str, folder: Path) -> Config:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, more)


def test_nothing_given_is_the_defaults(tmp_path):
    assert load_config() == Config()
    assert read("", folder=tmp_path) == Config()
    assert read("# only a comment\n", folder=tmp_path) == Config()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    got = read("train:\n  lr: 3e-4\n  epochs: 7\nseed: 5\n", folder=tmp_path)
    expected = Config(seed=5, train=TrainConfig(lr=3e-4, epochs=7))
    assert got == expected


def test_all_mistakes_come_at_once_with_their_paths(tmp_path):
    text = (
        "sed: 1\n"
        "train:\n  epoch: 3\n  lr: fast\n  batch_size: 0\n"
        "model:\n  architecture: vnet\n  decoder_channels: [8, no]\n"
        "loss: 3\n"
    )
    with pytest.raises(ConfigError) as raised:
        read(text, "data.crop=7", folder=tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'} is not valid:\n")
    assert {line.strip().partition(":")[0] for line in message.splitlines()[1:]} == {
        "sed",
        "train.epoch",
        "train.lr",
        "train.batch_size",
        "model.architecture",
        "model.decoder_channels.1",
        "loss",
        "data.crop",
    }
    assert "sed: no such key. Did you mean 'seed'?" in message
    assert "train.epoch: no such key. Did you mean 'train.epochs'?" in message
    assert "train.lr: 'fast': input should be a valid number" in message
    assert "train.batch_size: 0: input should be greater than or equal to 1" in message
    assert "model.architecture: 'vnet' is not one of 'classifier', " in message
    assert "model.decoder_channels.1: 'no': input should be a valid integer" in message
    assert "loss: 3 is not a section with keys of its own" in message
    assert "data.crop: 7: input should be greater than or equal to 32" in message


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"infer\.zebra: no such key\. Known: tile, overlap, "):
        read("infer:\n  zebra: 1\n", folder=tmp_path)


@pytest.mark.parametrize("written", ["true", "True", "false", "FALSE"])
@pytest.mark.parametrize("key", ["train.epochs", "train.lr", "seed", "data.defect_fraction"])
def test_a_truth_value_is_no_number(key, written):
    with pytest.raises(ConfigError, match=rf"{key}: (True|False): input should be a valid"):
        load_config(None, [f"{key}={written}"])


@pytest.mark.parametrize("setting", ["train.epochs=3.0", "train.epochs='3'", "model.encoder=5"])
def test_types_are_not_bent(setting):
    with pytest.raises(ConfigError, match="input should be a valid"):
        load_config(None, [setting])


def test_settings_go_through_the_same_door_after_the_file(tmp_path):
    got = read(
        "train:\n  lr: 1\n  epochs: 2\nmodel:\n",
        *["train.lr=5e-4", "model.decoder_channels=[8, 4]", "data.resize=128", " seed =3"],
        *["model.weights=a=b.safetensors", "train.clip_norm=null", "train.lr=6e-4"],
        folder=tmp_path,
    )
    assert (got.train.lr, got.train.epochs, got.train.clip_norm) == (6e-4, 2, None)
    assert got.model.decoder_channels == (8, 4)
    assert (got.data.resize, got.seed) == (128, 3)
    assert got.model.weights == "a=b.safetensors"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.lr", r"--set 'train.lr': write it as KEY=VALUE, for example train.lr=3e-4"),
        ("=3", r"--set '=3': write it as KEY=VALUE"),
        ("seed.x=3", r"--set 'seed.x=3': seed is a value, not a section"),
        ("train.lr=[1", r"--set train.lr is not valid YAML"),
        ("train.lr={a: 1, a: 2}", r"--set train.lr: line 1: the key 'a' is repeated"),
        ("model=unet", r"model: 'unet' is not a section with keys of its own"),
        ("train.lr.x=1", r"train.lr: .*valid number"),
    ],
)
def test_bad_settings_say_which(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, ["seed=1", setting])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*gone\.yaml: .*No such"):
        load_config(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*latin\.yaml"):
        load_config(tmp_path / "latin.yaml")


@pytest.mark.check(58)
def test_of_many_mistakes_some_are_named(tmp_path):
    content = {f"key{n}": n for n in range(300_000)}
    with pytest.raises(ConfigError) as raised:
        make_config(content, name="model.json")
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (22, "  and 299,980 more.")


@pytest.mark.check(58)
def test_what_is_long_is_shown_by_its_beginning():
    for content in ({"x" * 10**6: 1}, {"seed": "x" * 10**6}, {"seed": [1] * 10**6}):
        with pytest.raises(ConfigError) as raised:
            make_config(content, name="model.json")
        assert len(str(raised.value)) < 400


@pytest.mark.check(58)
def test_a_file_takes_more_settings_than_an_option():
    with pytest.raises(ConfigError, match="100,000 settings are more than 1,000: write a file"):
        load_config(None, ["seed=1"] * 100_000)
    with pytest.raises(ConfigError, match="--set seed has more than 65,536 characters"):
        load_config(None, ["seed=" + "1" * 70_000])


@pytest.mark.check(58)
def test_a_configuration_is_a_small_file(tmp_path):
    with pytest.raises(ConfigError, match="it is larger than the limit of 65,536 bytes"):
        read("a: 1\n" * 20_000, folder=tmp_path)
