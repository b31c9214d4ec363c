from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from defectkit import configs
from defectkit.config import Config, DataConfig, dump_config, load_config, make_config
from defectkit.config.yaml_file import parse_yaml
from defectkit.data.dataset_facts import DatasetFacts, DefectFacts, SplitCounts, Spread
from defectkit.training.plan import (
    MAX_BATCH,
    MAX_CROP,
    MAX_SAMPLES,
    MIN_BATCH,
    PIXELS_PER_STEP,
    RULES,
    make_plan,
)


def same(value):
    return Spread(value, value, value)


def facts_like(*, images=100, defective=50, size=(600, 800), side=40, thick=10, alignment=0.0):
    """Facts of images of one size, with one defect each of one size where they are defective."""
    defects = None
    if defective:
        defects = DefectFacts(
            regions=defective, area=same(side * thick), side=same(side), thickness=same(thick),
            contrast=same(2),
        )  # fmt: skip
    counts = SplitCounts(images=images, defective=defective, groups=images)
    return DatasetFacts(
        splits=dict.fromkeys(("train", "val", "test"), counts),
        classes={"1": dict.fromkeys(("train", "val", "test"), defective)},
        height=same(size[0]),
        width=same(size[1]),
        pixels=same(size[0] * size[1]),
        equal_sizes=True,
        defects=defects,
        defects_by_class={"1": defects} if defects else {},
        alignment=alignment,
    )


def planned(facts, *settings, approach="segment"):
    config = load_config(None, [f"approach={approach}", *settings])
    return {one.key: one.value for one in make_plan(facts, config).settings}


@st.composite
def any_facts(draw):
    count = st.integers(1, 10**6)
    images = draw(count)
    height, width = (draw(st.integers(1, 40_000)) for _ in "hw")
    facts = facts_like(
        images=images,
        defective=draw(st.integers(0, images)),
        size=(height, width),
        side=draw(st.integers(1, max(height, width))),
        thick=draw(st.floats(0.5, 2000)),
        alignment=draw(st.none() | st.floats(-1, 1)),
    )
    if facts.defects:
        more = replace(facts.defects, regions=facts.defects.regions * draw(st.integers(1, 50)))
        facts = replace(facts, defects=more)
    return facts


GIVEN = st.sampled_from(
    [
        (), ("data.crop=4096",), ("data.crop=32",), ("train.batch_size=4096",),
        ("train.batch_size=1",), ("data.resize=128",), ("data.resize=4096",),
        ("train.max_time=60",), ("train.samples_per_epoch=1",),
        ("train.samples_per_epoch=1000000",), ("model.decoder_channels=[8]",),
    ]
)  # fmt: skip


@given(any_facts(), GIVEN, st.sampled_from(["segment", "box", "patch"]))
def test_any_facts_give_a_valid_plan_that_keeps_what_is_given(facts, settings, approach):
    assume(approach != "patch" or "train.batch_size=4096" not in settings)  # refused in any case
    config = load_config(None, [f"approach={approach}", *settings])
    plan = make_plan(facts, config)
    assert make_plan(facts, config) == plan
    for one in plan.settings:
        assert one.reason
        assert "\n" not in one.reason
    chosen = plan.config.model_dump()
    assert make_config(plan.config.model_dump(mode="json"), name="again") == plan.config
    keys = {one.key for one in plan.settings}
    for setting in settings:
        assert setting.partition("=")[0] not in keys
    if "data.crop" in keys:
        assert chosen["data"]["crop"] % 32 == 0
        assert 64 <= chosen["data"]["crop"] <= MAX_CROP
    if "train.batch_size" in keys:
        assert MIN_BATCH <= chosen["train"]["batch_size"] <= MAX_BATCH
        if {"data.crop", "train.batch_size"} <= keys:
            pixels = chosen["train"]["batch_size"] * chosen["data"]["crop"] ** 2
            assert pixels <= 1.15 * PIXELS_PER_STEP
    if "data.defect_fraction" in keys:
        assert 0.4 <= chosen["data"]["defect_fraction"] <= 0.5


def test_a_crop_shows_large_defects_with_their_surroundings():
    assert planned(facts_like(side=40))["data.crop"] == 256
    assert planned(facts_like(side=140))["data.crop"] == 288
    assert planned(facts_like(side=500))["data.crop"] == 352
    assert planned(facts_like(side=500, size=(300, 900)))["data.crop"] == 320


def test_a_crop_is_no_larger_than_small_images_and_aligned_parts_get_the_largest():
    assert planned(facts_like(size=(90, 700)))["data.crop"] == 96
    assert planned(facts_like(size=(9, 9)))["data.crop"] == 64
    assert planned(facts_like(alignment=0.9))["data.crop"] == 352


def test_a_step_has_the_same_pixels_whatever_the_crop():
    for size, batch in (((90, 90), MAX_BATCH), ((128, 128), 32), ((600, 600), 8)):
        assert planned(facts_like(size=size))["train.batch_size"] == batch
    assert planned(facts_like(), "data.crop=352")["train.batch_size"] == 4
    assert planned(facts_like(), "data.resize=512")["train.batch_size"] == MIN_BATCH


def test_a_given_batch_size_bounds_the_crop():
    large = facts_like(alignment=0.9)
    assert planned(large, "train.batch_size=6")["data.crop"] == 288
    assert planned(large, "train.batch_size=64")["data.crop"] == 256


def test_pan_gets_a_crop_that_it_takes():
    for side in (10, 140, 500):
        settings = ("model.architecture=pan",)
        assert planned(facts_like(side=side), *settings)["data.crop"] % 128 == 0


def test_a_network_that_sees_reduced_images_gets_larger_crops_and_more_of_them():
    for factor, crop, batch in ((1, 352, 4), (2, 512, 8), (4, 512, 32)):
        settings = (f"model.input_reduction={factor}",)
        plan = planned(facts_like(side=500), *settings)
        assert (plan["data.crop"], plan["train.batch_size"]) == (crop, batch)
        for side in (10, 150, 300):
            assert planned(facts_like(side=side), *settings)["data.crop"] % (32 * factor) == 0
    key, reduced = "model.decoder_channels", "model.input_reduction=2"
    assert planned(facts_like(thick=5), reduced)[key] == [96, 48, 32, 24, 16]
    assert planned(facts_like(thick=9), reduced)[key] == [*Config().model.decoder_channels]


def test_few_defective_images_are_drawn_more_often_than_many():
    few, many = (planned(facts_like(defective=n, size=(300, 300))) for n in (5, 95))
    assert few["data.defect_fraction"] == 0.45
    assert many["data.defect_fraction"] == 0.4
    assert planned(facts_like(defective=1, size=(4000, 4000)))["data.defect_fraction"] == 0.5


def test_thin_defects_get_a_decoder_of_full_resolution():
    key = "model.decoder_channels"
    assert planned(facts_like(thick=3))[key] == [96, 48, 32, 24, 16]
    assert planned(facts_like(thick=5))[key] == [*Config().model.decoder_channels]
    assert key not in planned(facts_like(thick=3), "model.architecture=fpn")


def test_the_number_of_crops_is_bounded_where_no_time_is():
    assert planned(facts_like())["train.epochs"] == 30
    assert planned(facts_like(images=10, defective=5))["train.epochs"] == 30
    epochs = planned(facts_like(images=50_000))["train.epochs"]
    assert epochs * 100_000 <= MAX_SAMPLES
    assert planned(facts_like(), "train.samples_per_epoch=60")["train.epochs"] == 100
    assert "train.epochs" not in planned(facts_like(), "train.max_time=60")


def test_without_training_defects_nothing_is_derived_from_them():
    assert {*planned(facts_like(defective=0))} == {"train.batch_size", "train.epochs"}


def test_resized_images_and_the_localizer_have_no_crop():
    assert "data.crop" not in planned(facts_like(), "data.resize=128")
    localizer = planned(facts_like(), "model.architecture=localizer", approach="box")
    assert {*localizer} == {"data.defect_fraction", "train.epochs"}


def test_a_plan_can_be_switched_off_and_what_is_given_stays():
    facts = facts_like(side=140)
    assert planned(facts, "plan=false") == {}
    assert "data.crop" not in planned(facts, "data.crop=256")  # the default, but given
    config = Config(data=DataConfig(crop=256))
    assert "data.crop" not in {one.key for one in make_plan(facts, config).settings}


def test_a_written_configuration_is_planned_no_more():
    plan = make_plan(facts_like(side=140), Config())
    written = make_config(parse_yaml(dump_config(plan.config), name="x"), name="x")
    assert written == plan.config
    assert make_plan(facts_like(side=500), written).settings == ()


def test_the_default_is_told_beside_the_value():
    plan = make_plan(facts_like(side=140), Config())
    crop = next(one for one in plan.settings if one.key == "data.crop")
    assert (crop.value, crop.default, crop.is_changed) == (288, 256, True)
    assert "140 px" in crop.reason


@pytest.mark.parametrize("name", configs.names())
def test_shipped_networks_of_papers_are_not_planned(name):
    config = load_config(configs.path_of(name))
    defaults = name in ("unet", "fast", "balanced", "accurate", "yolo_grid")
    assert config.plan == (defaults or config.approach in ("patch", "novelty"))
    assert bool(make_plan(facts_like(), config).settings) == defaults


def test_every_planned_setting_exists():
    for rules in RULES.values():
        for key in rules:
            section, _, name = key.partition(".")
            assert name in type(getattr(Config(), section)).model_fields
