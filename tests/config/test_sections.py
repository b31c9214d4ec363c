import pytest
from pydantic import ValidationError

from defectkit.config import (
    Config,
    load_config,
    make_config,
)
from defectkit.errors import ConfigError


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
