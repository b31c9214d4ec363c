import numpy as np
import pytest
from resealing import reseal
from small_sources import draw_image
from tiny_training import train_tiny

import defectkit
from defectkit.approaches.tuning import Tuning
from defectkit.config import Config, flatten_settings
from defectkit.deployment.approach_entries import BEFORE_ADDED, FOR_TRAINING_ALONE
from defectkit.errors import ModelError
from defectkit.files import read_json, write_json
from defectkit.seals import add_seal

IMAGE, _ = draw_image(0)

FIRST_SETTINGS = {
    *("approach", "device", "seed", "novelty.bank"),
    *(f"box.{name}" for name in ("anchor_sizes", "anchors", "grid_stride", "loss", "loss_weight")),
    *(f"box.{name}" for name in ("max_detections", "nms_iou", "score_threshold")),
    *("data.crop", "data.resize", "infer.min_area", "infer.overlap", "infer.tile"),
    *(f"loss.{name}" for name in ("bce", "classes", "cross_entropy", "dice")),
    *(f"loss.{name}" for name in ("focal", "focal_gamma")),
    *(f"model.{name}" for name in ("architecture", "decoder_channels", "encoder")),
    *(f"model.{name}" for name in ("input_reduction", "upsampling", "weights")),
    *(f"patch.{name}" for name in ("context", "min_coverage", "partial_tiles", "reduction")),
    *(f"patch.{name}" for name in ("stride", "tile", "tiles_per_image")),
}
"""What every model says that inspection reads. Nothing is added here: see the test."""


def edit(run, **changes) -> None:
    reseal(run / "model" / "model.json", **changes)


def test_a_model_of_an_earlier_version_has_the_pixel_threshold_alone(run_copy):
    path = run_copy / "model" / "model.json"
    info = {**read_json(path), "pixel_threshold": 0.25}
    write_json(path, add_seal({name: info[name] for name in info if name != "tuning"}))
    assert defectkit.load(run_copy, device="cpu").approach.tuning == Tuning(pixel_threshold=0.25)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"pixel_threshold": 1.5}, "pixel_threshold: Input should be less than or equal to 1"),
        ({"min_area": -1}, "min_area: Input should be greater than or equal to 0"),
        ({"of_a_later_version": 1}, "of_a_later_version: Extra inputs are not permitted"),
    ],
)
def test_a_tuning_out_of_range_is_refused(run_copy, tuning, message):
    edit(run_copy, tuning=tuning)
    with pytest.raises(ModelError, match=f"cannot be used by this version of defectkit: {message}"):
        defectkit.load(run_copy, device="cpu")


def test_loading_searches_for_no_pretrained_weights(run_copy, monkeypatch):
    info = read_json(run_copy / "model" / "model.json")
    info["config"]["model"]["weights"] = "auto"
    edit(run_copy, config=info["config"])
    monkeypatch.setattr(
        "defectkit.models.weights.pretrained_weights", lambda *_, **__: pytest.fail("looked")
    )
    defectkit.load(run_copy, device="cpu")


@pytest.mark.check(55)
@pytest.mark.parametrize("kept", [{}, {"model": {}}, {"approach": "segment"}])
def test_no_setting_of_a_model_is_left_to_its_default(run_copy, kept):
    edit(run_copy, config=kept)
    with pytest.raises(ModelError, match=r"model\.json lacks settings: .*data\.crop, .*loss\.bce"):
        defectkit.load(run_copy)


def test_a_model_of_before_novelty_could_be_fused_loads(dataset_folder, tmp_path):
    run = train_tiny(dataset_folder, tmp_path / "run", "novelty.bank=20", approach="novelty").run
    config = read_json(run / "model" / "model.json")["config"]
    del config["novelty"]["fuse"]
    edit(run, config=config)
    assert defectkit.load(run, device="cpu").approach.config.novelty.bank == 20


@pytest.mark.check(55)
def test_a_setting_of_training_that_a_later_version_adds_is_no_matter(run_copy):
    config = read_json(run_copy / "model" / "model.json")["config"]
    data = {name: config["data"][name] for name in ("crop", "resize")}
    config = {**config, "train": {}, "augment": {}, "data": data}
    del config["plan"]
    edit(run_copy, config=config)
    defectkit.load(run_copy, device="cpu")
    del config["loss"]["classes"]  # It decides what the channels of the output mean.
    edit(run_copy, config=config)
    message = (
        r"lacks settings: loss\.classes\. Inspect with the version .* wrote it \('\d.*train again"
    )
    with pytest.raises(ModelError, match=message):
        defectkit.load(run_copy, device="cpu")


def test_of_each_setting_that_was_added_it_is_said_what_models_did_before():
    """Else no earlier model could be loaded: add a new one to BEFORE_ADDED."""
    read = flatten_settings(Config().model_dump(mode="json", exclude=FOR_TRAINING_ALONE))
    added = flatten_settings(BEFORE_ADDED)
    assert read.keys() - added.keys() == FIRST_SETTINGS


def test_a_model_that_is_older_than_a_setting_does_what_it_did(dataset_folder, tmp_path):
    before = {"loss.image": 0.0, "infer.margin": 0, "infer.flip": False, "infer.amp": "off"}
    settings = [f"{name}={value}" for name, value in before.items()]
    run = train_tiny(dataset_folder, tmp_path / "run", *settings, "train.epochs=1").run
    score_map = defectkit.load(run, device="cpu").find(IMAGE).score_map
    config = read_json(run / "model" / "model.json")["config"]
    for name in before:
        section, _, setting = name.partition(".")
        del config[section][setting]
    edit(run, config=config)
    model = defectkit.load(run, device="cpu")
    np.testing.assert_array_equal(model.find(IMAGE).score_map, score_map)
    settings = flatten_settings(model.approach.config.model_dump())
    assert {name: settings[name] for name in before} == before


def test_a_description_of_the_trained_approach_that_does_not_fit_is_refused(
    run_folder, dataset_folder, tmp_path
):
    settings = ("novelty.bank=20", f"novelty.fuse={run_folder}")
    run = train_tiny(dataset_folder, tmp_path / "run", *settings, approach="novelty").run
    trained = read_json(run / "model" / "model.json")["trained"]
    other = {**trained["config"], "model": {**trained["config"]["model"], "encoder": "resnet18"}}
    for wrong, message in (
        (None, "belongs to another network"),
        ("code", "trained: Input should be"),
        ({**trained, "config": {}}, r"model\.json \(trained\) lacks settings: .*data\.crop"),
        ({**trained, "config": other}, "belongs to another network"),
        ({**trained, "tuning": {"pixel_threshold": 2.0}}, "pixel_threshold: .*less than or equal"),
    ):
        edit(run, trained=wrong)
        with pytest.raises(ModelError, match=message):
            defectkit.load(run, device="cpu")
