from typing import Annotated

import pytest
from bounds import unbounded
from pydantic import BaseModel, Field, ValidationError

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
        (["infer.tile=146"], r"infer: overlap \(128\) must be at most 7/8 of tile \(146\)"),
        (["patch.stride=1"], r"patch: stride \(1\) must be at least 1/16 of tile \(64\)"),
        (
            ["train.batch_size=4096", "data.crop=257"],
            r"train.batch_size 4096 makes 270,536,704 pix",
        ),
        (["train.batch_size=4096", "data.resize=512"], r"makes 1,073,741,824 pixels per training"),
        (["approach=patch", "train.batch_size=2048"], r"makes 301,989,888 pixels per training"),
        (["model.decoder_channels=[8, 0]"], r"decoder_channels.1: 0: .*greater than or equal to 1"),
        (["train.ema=1"], r"train.ema: 1: .*less than 1"),
        (["seed=-1"], r"seed: -1: .*greater than or equal to 0"),
        (["novelty.fuse=runs/box-1"], r"novelty.fuse fuses .* but the approach is segment. Use"),
        (
            ["approach=novelty", "novelty.fuse=runs/box-1", "train.folds=3"],
            r"train.folds and novelty.fuse cannot both be set: .*Train without --folds",
        ),
        (
            ["approach=novelty", "infer.amp=bf16"],
            r"infer.amp is bf16, but novelty .* 32 bits. Leave infer.amp out",
        ),
        (["augment.hflip=1.01"], r"augment.hflip: 1.01: .*less than or equal to 1"),
    ],
)
def test_values_that_do_not_fit_each_other_or_their_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, changes)


def test_values_that_just_fit():
    got = load_config(
        None, ["loss.bce=0", "loss.cross_entropy=1", "infer.tile=147", "train.ema=0", "seed=0"]
    )
    assert got.loss.cross_entropy == 1
    assert got.infer.tile == 147


def test_the_run_to_fuse_is_found_from_other_folders_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["approach=novelty", "novelty.fuse=runs/box-1"]
    given = load_config(None, settings)
    assert given.novelty.fuse == str(tmp_path / "runs" / "box-1")
    monkeypatch.chdir(tmp_path.parent)
    assert make_config(given.model_dump(mode="json"), name="test") == given


def test_a_config_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]
    content = {"train": {"lr": 1e-3}}
    make_config(content, name="test", settings=["train.lr=1", "seed=3"])
    assert content == {"train": {"lr": 1e-3}}


@pytest.mark.check(58)
def test_every_number_text_and_list_is_bounded():
    assert unbounded(Config) == []


class Forgetful(BaseModel):
    """What a new setting may look like."""

    fine: Annotated[int, Field(ge=0, lt=5)] | None = None
    half: Annotated[float, Field(ge=0.0)] = 1.0
    texts: Annotated[list[str], Field(max_length=2)] = []
    many: tuple[Annotated[int, Field(gt=0, le=5)], ...] = ()


class Nested(BaseModel):
    inner: Forgetful = Forgetful()


@pytest.mark.check(58)
def test_the_test_of_bounds_sees_those_that_are_missing():
    assert unbounded(Nested) == [f"Nested.inner.{name}" for name in ("half", "many", "texts")]


@pytest.mark.check(58)
@pytest.mark.parametrize(
    "setting",
    [
        *(
            f"train.epochs={value}"
            for value in ("10000000000000", "9" * 5000, "nan", "2026-01-01", f"0x{'f' * 5000}")
        ),
        *(f"train.lr={value}" for value in (".inf", "-.inf", ".nan", "1e999", "-0.0", "1e300")),
        *(f"seed={value}" for value in ("-1", "1" + 30 * "0", "0x1F_G", "\u0663", "1:30:00")),
        *("data.workers=100000", "infer.tile=1000000", "infer.min_area=1e9", "data.crop=1e3"),
        *(f"model.encoder={'x' * 300}", f"model.decoder_channels={[8] * 1000}"),
        *("patch.tiles_per_image=1000000", "box.max_detections=1000000", "train.max_time=1e30"),
    ],
)
def test_no_value_is_out_of_all_bounds(setting):
    with pytest.raises(ConfigError) as refused:
        load_config(None, [setting])
    assert len(str(refused.value)) < 500
