import math
import re
import string
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from defectkit import configs
from defectkit.config import (
    ARCHITECTURES,
    Architecture,
    Config,
    ModelConfig,
    TrainConfig,
    dump_config,
    load_config,
    make_config,
    reference,
    save_config,
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
    assert message.startswith(f"{tmp_path / 'mine.yaml'} does not fit:\n")
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
    assert "train.epoch: no such key. Did you mean 'epochs'?" in message
    assert "train.lr: 'fast': input should be a valid number" in message
    assert "train.batch_size: 0: input should be greater than or equal to 1" in message
    assert "model.architecture: 'vnet' is not one of 'classifier', " in message
    assert "model.decoder_channels.1: 'no': input should be a valid integer" in message
    assert "loss: 3 stands where a section's own keys belong" in message
    assert "data.crop: 7: input should be greater than or equal to 32" in message


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"infer\.zebra: no such key\. Known: tile, overlap, min"):
        read("infer:\n  zebra: 1\n", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nseed: 2\n", 2),
        ("train:\n  lr: 1\n\n  # again\n  lr: 2\n", 5),
        ("train: {lr: 1, lr: 2}\n", 1),
        ("train:\n  lr: 1\nmodel:\n  encoder: a\ntrain:\n  lr: 2\n", 5),
    ],
)
def test_a_repeated_key_is_refused_with_its_line(text, line, tmp_path):
    pattern = rf"mine\.yaml: line {line}: the key '\w+' stands twice; remove one of them"
    with pytest.raises(ConfigError, match=pattern):
        read(text, folder=tmp_path)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 1e-3), ("3E-4", 3e-4), ("1.5e-3", 1.5e-3), (".5", 0.5), ("2.", 2.0), ("1", 1.0),
     ("+1e-1", 0.1), ("1e+0", 1.0)],
)  # fmt: skip
def test_numbers_as_people_write_them(written, value, tmp_path):
    assert read(f"train:\n  lr: {written}\n", folder=tmp_path).train.lr == value
    assert load_config(None, [f"train.lr={written}"]).train.lr == value


@pytest.mark.parametrize("written", ["1e", "e-3", "1e-3x", "'1e-3'", ".nan", ".inf", "1e-3.5"])
def test_what_is_no_number_is_refused(written):
    with pytest.raises(ConfigError, match=r"train\.lr: .*valid number"):
        load_config(None, [f"train.lr={written}"])


def test_off_is_a_word_and_not_false(tmp_path):
    assert read("train:\n  amp: off\n", folder=tmp_path).train.amp == "off"
    assert load_config(None, ["train.amp=off"]).train.amp == "off"
    assert load_config(None, ["model.encoder=yes"]).model.encoder == "yes"


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
        ("train.lr={a: 1, a: 2}", r"--set train.lr: line 1: the key 'a' stands twice"),
        ("model=unet", r"model: 'unet' stands where a section's own keys belong"),
        ("train.lr.x=1", r"train.lr: .*valid number"),
    ],
)
def test_bad_settings_say_which(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, ["seed=1", setting])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", r"mine\.yaml must hold 'key: value' lines but holds a list"),
        ("train", r"must hold 'key: value' lines but holds a str"),
        ("train: [1\n", r"(?s)mine\.yaml is not valid YAML: .*line 2"),
        ("a: !!python/object/apply:os.getcwd []\n", r"not valid YAML: could not determine a con"),
        ("? [a]\n: 1\n", r"mine\.yaml: line 1: a key must be a word but is \['a'\]"),
        ("1: 2\n", r"1: 1: keys should be strings"),
    ],
)
def test_files_that_are_no_configuration(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read(text, folder=tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*gone\.yaml: .*No such"):
        load_config(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*latin\.yaml"):
        load_config(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["loss.cross_entropy=1"], r"loss: bce and cross_entropy cannot both be above 0"),
        (["loss.bce=0", "loss.dice=0"], r"loss: all weights are 0; set at least one of bce, dice"),
        (["infer.tile=128"], r"infer: overlap \(128\) must be smaller than tile \(128\)"),
        (["model.decoder_channels=[8, 0]"], r"decoder_channels.1: 0: .*greater than or equal to 1"),
        (["train.ema=1"], r"train.ema: 1: .*less than 1"),
        (["seed=-1"], r"seed: -1: .*greater than or equal to 0"),
        (["augment.hflip=1.01"], r"augment.hflip: 1.01: .*less than or equal to 1"),
    ],
)
def test_values_that_do_not_fit_each_other_or_their_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, changes)


def test_values_that_just_fit():
    got = load_config(
        None, ["loss.bce=0", "loss.cross_entropy=1", "infer.tile=129", "train.ema=0", "seed=0"]
    )
    assert got.loss.cross_entropy == 1
    assert got.infer.tile == 129


def test_a_config_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]
    content = {"train": {"lr": 1e-3}}
    make_config(content, name="test", settings=["train.lr=1", "seed=3"])
    assert content == {"train": {"lr": 1e-3}}


# Words, and what YAML could take for something else.
words = st.text(string.printable, max_size=12) | st.sampled_from(
    ["1e5", "1e-3", "no", "off", "~", "null", "true", "1", "0x1f", "1:30", "2020-01-01", "=", "<<"]
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)


@given(
    weights=words,
    lr=positive,
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    clip=st.none() | positive,
    channels=st.lists(st.integers(1, 4096), min_size=1, max_size=5).map(tuple),
    architecture=st.sampled_from(get_args(Architecture)),
    amp=st.sampled_from(["auto", "off", "bf16", "fp16"]),
)
@settings(max_examples=200)
def test_what_is_dumped_loads_as_the_same(
    weights, lr, fraction, seed, clip, channels, architecture, amp, tmp_path_factory
):
    approach = next(name for name, own in ARCHITECTURES.items() if architecture in own)
    model = ModelConfig(architecture=architecture, weights=weights, decoder_channels=channels)
    train = TrainConfig(lr=lr, clip_norm=clip, amp=amp, warmup=fraction)
    config = Config(approach=approach, model=model, train=train, seed=seed)
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert make_config(config.model_dump(mode="json"), name="json") == config


def test_a_dump_is_complete_and_plain_yaml(tmp_path):
    save_config(Config(), tmp_path / "config.yaml")
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert set(content) == set(Config.model_fields)
    assert set(content["train"]) == set(TrainConfig.model_fields)
    assert make_config(content, name="plain") == Config()


@pytest.mark.parametrize("name", configs.names())
def test_shipped_configurations_load_and_say_what_they_are(name):
    path = configs.path_of(name)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# \S.{15,}", first)
    assert configs.summaries()[name] == first[2:]
    load_config(path)


def test_segnet_follows_its_source():
    config = load_config(configs.path_of("segnet"))
    assert config.model.architecture == "segnet"
    assert config.data.resize == 128
    assert (config.train.optimizer, config.train.lr, config.train.epochs) == ("adam", 1e-3, 20)
    assert (config.train.schedule, config.train.step_epochs, config.train.step_factor) == (
        "step", 7, 0.7,
    )  # fmt: skip
    assert config.loss.model_dump() | {"focal_gamma": 0} == {
        "bce": 0, "classes": 0, "dice": 0, "focal": 0, "focal_gamma": 0, "cross_entropy": 1,
    }  # fmt: skip


def test_an_unknown_shipped_configuration_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"no configuration '\.\./x'\. Shipped: .*segnet, .*unet, "
    ):
        configs.path_of("../x")


def test_the_reference_has_every_key_with_its_default_and_meaning():
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in reference().splitlines()
    ]
    cells = {row[0].strip("*`"): row[1:] for row in rows[2:]}
    keys = {
        name
        for name, section in Config.model_fields.items()
        if not hasattr(section.annotation, "model_fields")
    } | {
        f"{name}.{key}"
        for name, section in Config.model_fields.items()
        for key in getattr(section.annotation, "model_fields", ())
    }
    assert keys <= set(cells)
    assert cells["train.lr"][0] == "`0.001`"
    assert all(len(cells[key][1]) > 10 for key in keys), "every key says what it means"
    assert not math.isnan(float(cells["train.lr"][0].strip("`")))
