import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from exported_models import write_exported
from locked_files import lock
from numpy.lib.stride_tricks import as_strided
from PIL import Image
from resealing import reseal, unseal
from safetensors.torch import load_file, save_file

import defectkit
from defectkit.approaches.tuning import Tuning
from defectkit.data.dataset import Dataset
from defectkit.data.images import convert_channels, read_image
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.bundle import (
    TrainedModel,
    replace_thresholds,
    save_model,
)
from defectkit.errors import DefectkitWarning, ImageError, ModelError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import read_csv, read_json, sha256_file, write_json
from defectkit.labels.scope import Scope, decode_roi

IMAGE = np.random.default_rng(2).integers(0, 256, (96, 96), np.uint8)


def edit(run, **changes) -> None:
    reseal(run / "model" / "model.json", **changes)


def test_a_run_and_its_model_folder_load_as_the_same(run_folder):
    ours = TrainedModel.load(run_folder, device="cpu")
    theirs = TrainedModel.load(run_folder / "model", device="cpu")
    assert ours.find(IMAGE).score == theirs.find(IMAGE).score
    assert ours.device == torch.device("cpu")
    assert ours.device_name.endswith(")")
    assert not ours.network.training
    assert ours.approach.classes == ("1", "2")


def test_what_is_loaded_is_what_was_validated(run_folder, dataset_folder):
    model = defectkit.load(run_folder, device="cpu")
    info = read_json(run_folder / "model" / "model.json")
    assert model.thresholds.to_dict() == info["thresholds"]
    assert model.approach.tuning.model_dump() == info["tuning"]
    records = Dataset.load(dataset_folder).split("val")
    scores = [model.find(read_image(record.path)).score for record in records]
    outcomes = [score >= model.thresholds.high for score in scores]
    # On validation the threshold with the best F1 score calls something defective.
    assert any(outcomes)
    row = read_csv(run_folder / "history.csv")[info["epoch"] - 1]
    assert float(row["val_image_ap"]) == info["validation"]["image_average_precision"]


def test_a_model_whose_network_is_built_in_another_way_now_says_what_to_do(run_copy):
    path = run_copy / "model" / "model.safetensors"
    weights = load_file(path)  # earlier, classes were channels of the decoder
    save_file({name: one for name, one in weights.items() if "class_head" not in name}, path)
    edit(run_copy, sha256=sha256_file(path))
    message = "model cannot be used .* 'class_head.*' has shape none but .*, or train again"
    with pytest.raises(ModelError, match=message):
        defectkit.load(run_copy, device="cpu")


def test_a_model_needs_neither_its_data_nor_its_run(run_folder, source_csv, tmp_path):
    score = defectkit.load(run_folder, device="cpu").find(IMAGE).score
    moved = shutil.copytree(run_folder / "model", tmp_path / "elsewhere" / "model 零件")
    hidden = source_csv.parent.with_name("hidden")
    source_csv.parent.rename(hidden)  # the dataset, the images and the run are gone
    try:
        assert defectkit.load(moved, device="cpu").find(IMAGE).score == score
    finally:
        hidden.rename(source_csv.parent)


def test_gray_and_color_images_are_both_inspected(run_folder):
    model = defectkit.load(run_folder, device="cpu")
    color = np.repeat(IMAGE[:, :, None], 3, axis=2)
    findings = model.find_all([IMAGE, IMAGE[:, :, None], color])
    for finding in findings[1:]:
        np.testing.assert_allclose(finding.score_map, findings[0].score_map, atol=1e-5)
    rgb = np.random.default_rng(3).integers(0, 256, (40, 70, 3), np.uint8)
    gray = convert_channels(rgb, 1)
    np.testing.assert_allclose(model.find(rgb).score_map, model.find(gray).score_map, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (97, 64), (200, 200)])
def test_images_of_any_size_are_inspected(run_folder, size):
    finding = defectkit.load(run_folder, device="cpu").find(np.zeros(size, np.uint8))
    assert finding.score_map.shape == (2, *size)


@pytest.mark.check(57)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.float32), "the image: float32 pixels have no defined white"),
        (np.zeros((8, 8), np.uint16), "the image: uint16 pixels .*Convert them to uint8"),
        (as_strided(np.zeros(1, np.uint8), (2**20, 2**20), (0, 0)), "takes about 1024.00 GiB"),
        (Image.new("La", (8, 8)), "its mode cannot be converted .*convert it to L or RGB"),
        (np.full((8, 8), np.nan), "the image: some pixels are not finite"),
        (np.zeros((8, 8), object), "3\\) uint8 but got \\(8, 8\\) object"),
        (np.zeros((8, 8), complex), "3\\) uint8 but got \\(8, 8\\) complex"),
        *(
            (np.zeros(shape, np.uint8), r"the image must be \(H, W\) or \(H, W, 3\) uint8 but got")
            for shape in [(8,), (1, 8, 8, 3), (8, 8, 4), (8, 8, 2), (0, 8), ()]
        ),
        *(
            (other, f"an image is an array of NumPy, .*but got {type(other).__name__}")
            for other in (None, b"", [[0, 1]], 7, torch.zeros(8, 8))
        ),
        ("gone.png", "cannot read the image gone.png: No such file"),
        (Path("gone.png"), "cannot read the image gone.png: No such file"),
    ],
)
def test_what_is_no_image_is_refused(run_folder, image, message):
    with pytest.raises(ImageError, match=message):
        defectkit.load(run_folder, device="cpu").find(image)


@pytest.mark.check(57)
def test_a_file_of_several_pages_is_refused(run_folder, tmp_path):
    page, path = Image.fromarray(IMAGE), tmp_path / "stack.tif"
    page.save(path, save_all=True, append_images=[page])
    with pytest.raises(ImageError, match="stack.tif has several pages .*defectkit.inspect"):
        defectkit.load(run_folder, device="cpu").find(path)


@pytest.mark.check(57)
def test_images_of_pillow_and_paths_are_read_as_files(run_folder, tmp_path):
    model = defectkit.load(run_folder, device="cpu")
    gray = Image.fromarray(IMAGE[:, :64])
    palette = gray.quantize(16)
    palette.info["transparency"] = 3
    turned = Image.Exif()
    turned[0x0112] = 6
    for index, (image, options) in enumerate(
        [
            (gray, {}),
            (gray, {"exif": turned}),
            (palette, {}),
            (gray.convert("1"), {}),
            (gray.convert("RGBA"), {}),
            (gray.convert("LA"), {}),
        ]
    ):
        path = tmp_path / f"{index}.png"
        image.save(path, **options)
        expected = model.find(read_image(path)).score_map
        for given in (path, str(path), Image.open(path)):
            np.testing.assert_array_equal(model.find(given).score_map, expected)
    bits = np.asarray(gray.convert("1"))
    assert bits.dtype == np.bool_
    np.testing.assert_array_equal(
        model.find(bits).score_map, model.find(gray.convert("1")).score_map
    )


@pytest.mark.check(57)
def test_images_of_pillow_keep_their_bits_or_are_refused(run_copy, tmp_path):
    edit(run_copy, pixels=PixelFormat(window=(0, 4095)).to_dict())
    model = defectkit.load(run_copy, device="cpu")
    deep = IMAGE.astype(np.uint16) * 16
    for image in (deep, Image.fromarray(deep)):
        np.testing.assert_array_equal(model.find(image).score_map, model.find(IMAGE).score_map)
    path = tmp_path / "color.png"
    path.write_bytes(cv2.imencode(".png", np.dstack([deep] * 3))[1])
    assert model.find(path).score == pytest.approx(model.find(IMAGE).score)
    with pytest.raises(ImageError, match="more than 8 bits as 8. Give the path"):
        model.find(Image.open(path))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match="damaged"):
        model.find(path)


def test_a_gpu_in_a_forked_process_is_refused(run_folder, monkeypatch):
    model = defectkit.load(run_folder, device="cpu")
    monkeypatch.setattr("defectkit.deployment.bundle.is_forked", lambda: True)
    monkeypatch.setattr(TrainedModel, "device", torch.device("cuda"))
    with pytest.raises(ModelError, match="cannot be used in a process that was forked.*spawn"):
        model.find(IMAGE)


def test_a_model_may_be_saved_again_as_the_same(run_folder, tmp_path):
    model = defectkit.load(run_folder, device="cpu")
    save_model(
        tmp_path / "model",
        approach=model.approach,
        network=model.network,
        tuning=model.approach.tuning,
        thresholds=model.thresholds,
        facts={"epoch": 3},
    )
    again = defectkit.load(tmp_path, device="cpu")
    assert again.find(IMAGE).score == model.find(IMAGE).score
    assert again.info["epoch"] == 3
    assert sha256_file(tmp_path / "model" / "model.safetensors") == model.info["sha256"]


def test_the_mask_is_that_of_the_regions(run_folder):
    model = defectkit.load(run_folder, device="cpu")
    finding = model.find(IMAGE)
    threshold = float(np.quantile(finding.defect_map, 0.9))
    approach = replace(model.approach, tuning=Tuning(pixel_threshold=threshold))
    model = TrainedModel(approach, model.network, model.thresholds, model.info)
    finding = model.find(IMAGE)
    assert finding.mask.sum() == sum(region.area for region in finding.regions) > 0


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_refused(run_copy, place, bit):
    weights = run_copy / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    weights.write_bytes(content)
    message = r"model\.safetensors is damaged: its SHA-256 differs\. Copy it again"
    with pytest.raises(ModelError, match=message):
        defectkit.load(run_copy, device="cpu")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(run_copy, monkeypatch, name):
    told = lock(monkeypatch, run_copy / "model" / name)
    with pytest.raises(ModelError, match=f"^{re.escape(told)}$"):
        defectkit.load(run_copy, device="cpu")


def test_cut_or_missing_files_are_refused(run_copy):
    folder = run_copy / "model"
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is damaged: its SHA-256 differs"):
        defectkit.load(run_copy)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing\. Copy it again"):
        defectkit.load(run_copy)
    with pytest.raises(ModelError, match=r"model\.json is a file\. Give its folder, .*model, or"):
        defectkit.load(folder / "model.json")
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text[:300])
    with pytest.raises(ModelError, match=r"model is damaged: model\.json is not JSON \(.*Copy it"):
        defectkit.load(run_copy)
    (folder / "model.json").write_text("[]")
    with pytest.raises(ModelError, match=r"model is damaged \(ValueError: "):
        defectkit.load(run_copy)
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match=r"has no model \(no model\.json in it or in its model/"):
        defectkit.load(run_copy)


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_other_format_versions_are_refused(run_copy, version):
    edit(run_copy, format_version=version)
    message = rf"has format version {version}; this version of defectkit reads 1 to 2"
    with pytest.raises(ModelError, match=message):
        defectkit.load(run_copy)


def misfits(info: dict) -> dict[str, dict]:
    config = info["config"]
    other = {**config["model"], "decoder_channels": [8]}
    unknown = {**config["model"], "architecture": "__import__('os')"}
    return {
        "other weights": {"config": {**config, "model": other}},
        "unknown name": {"config": {**config, "model": unknown}},
        "unknown key": {"config": {**config, "colour": 1}},
        "no config": {"config": None},
        "other classes": {"classes": ["1", "2", "3"]},
        "no classes": {"classes": None},
        "color": {"channels": 3},
        "thresholds in disorder": {"thresholds": {"low": 0.9, "high": 0.1, "rule": "f1"}},
        "no thresholds": {"thresholds": {}},
        "another approach": {"config": {**config, "approach": "os.system"}},
    }


@pytest.mark.parametrize("kind", misfits({"config": {"model": {}}}))
def test_a_model_json_that_does_not_fit_is_refused(run_copy, kind):
    edit(run_copy, **misfits(read_json(run_copy / "model" / "model.json"))[kind])
    with pytest.raises(ModelError, match="does not fit|cannot be used"):
        defectkit.load(run_copy)


@pytest.mark.check(55)
def test_an_edited_threshold_is_refused_with_the_way_out(run_copy):
    path = run_copy / "model" / "model.json"
    info = read_json(path)
    write_json(path, {**info, "thresholds": {**info["thresholds"], "low": 0.0}})
    message = r"model is damaged: model\.json was changed after it was written\. Copy it again, or"
    with pytest.raises(ModelError, match=message):
        defectkit.load(run_copy)


def test_a_model_of_an_earlier_version_loads_with_a_warning(run_copy):
    expected = defectkit.load(run_copy, device="cpu").find(IMAGE)
    unseal(run_copy / "model" / "model.json")
    with pytest.warns(DefectkitWarning, match=r"without a seal: .* is not known\. Train again to"):
        model = defectkit.load(run_copy, device="cpu")
    np.testing.assert_array_equal(model.find(IMAGE).score_map, expected.score_map)
    replace_thresholds(run_copy, model, Thresholds(low=0.1, high=0.9, rule="by hand"), [])
    assert defectkit.load(run_copy, device="cpu").thresholds.low == 0.1  # And with a seal.


@pytest.mark.check(55)
def test_a_model_of_other_versions_loads_with_a_warning(run_copy):
    versions = read_json(run_copy / "model" / "model.json")["versions"]
    edit(run_copy, versions={**versions, "torch": "2.0.1"})
    with pytest.warns(DefectkitWarning, match=r"was trained with torch 2\.0\.1 \(now "):
        defectkit.load(run_copy, device="cpu")


@pytest.mark.check(55)
def test_thresholds_of_an_earlier_model_are_not_given_to_a_later_one(run_copy):
    model = defectkit.load(run_copy, device="cpu")
    edit(run_copy, epoch=9)
    with pytest.raises(ModelError, match="was written again while the thresholds were chosen"):
        replace_thresholds(run_copy, model, Thresholds(low=0.1, high=0.9, rule="x"), [])


def test_replaced_thresholds_change_nothing_else(run_copy):
    before = read_json(run_copy / "model" / "model.json")
    weights = sha256_file(run_copy / "model" / "model.safetensors")
    model = defectkit.load(run_copy, device="cpu")
    thresholds = Thresholds(low=0.1, high=0.9, rule="by hand")
    replaced = replace_thresholds(run_copy, model, thresholds, ["few images"])
    assert replaced.thresholds == thresholds
    assert replaced.info["warnings"] == ["few images"]
    assert replaced.network is model.network
    after = read_json(run_copy / "model" / "model.json")
    assert after.pop("thresholds") == {"low": 0.1, "high": 0.9, "rule": "by hand"}
    assert after.pop("warnings") == ["few images"]
    assert after.pop("seal") != before.pop("seal")
    assert after == {k: v for k, v in before.items() if k not in ("thresholds", "warnings")}
    assert sha256_file(run_copy / "model" / "model.safetensors") == weights
    assert defectkit.load(run_copy, device="cpu").thresholds.low == 0.1


def test_thresholds_of_a_damaged_model_are_not_replaced(run_copy):
    model = defectkit.load(run_copy, device="cpu")
    (run_copy / "model" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        replace_thresholds(run_copy, model, Thresholds(low=0.1, high=0.9, rule="x"), [])


def test_no_code_is_named_or_pickled_in_a_model_folder(run_folder):
    files = sorted(path.name for path in (run_folder / "model").iterdir())
    assert files == ["model.json", "model.safetensors"]
    content = (run_folder / "model" / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())


ROI = {"shape": "10,20,60,50", "height": 96, "width": 96}


@pytest.mark.check(49)
def test_outside_of_the_model_s_region_nothing_is_found(run_copy):
    edit(run_copy, tuning={"pixel_threshold": 0.0})  # Every pixel is found, wherever it may be.
    free = defectkit.load(run_copy, device="cpu").find(IMAGE)
    edit(run_copy, tuning={"pixel_threshold": 0.0}, roi=ROI)
    model = defectkit.load(run_copy, device="cpu")
    inside = decode_roi(ROI["shape"], (96, 96))
    for finding in (model.find(IMAGE), model.find_all([IMAGE])[0]):
        np.testing.assert_array_equal(finding.mask, inside)
        assert not finding.score_map[:, ~inside].any()
        np.testing.assert_array_equal(finding.score_map[:, inside], free.score_map[:, inside])
        assert [region.box_xywh for region in finding.regions] == [(10, 20, 60, 50)]
    assert free.mask.all()


def test_a_scope_that_is_given_takes_the_place_of_the_model_s(run_copy):
    edit(run_copy, roi=ROI)
    model = defectkit.load(run_copy, device="cpu")
    inside = np.zeros((96, 96), bool)
    inside[50:, 70:] = True
    assert not model.find(IMAGE, Scope(roi=inside)).score_map[:, ~inside].any()
    assert model.find(IMAGE, Scope(roi=inside)).score_map.any()


def test_a_region_of_images_of_another_size_is_not_guessed(run_copy):
    edit(run_copy, roi=ROI)
    model = defectkit.load(run_copy, device="cpu")
    with pytest.raises(ImageError, match=r"of 96x96 pixels, but this image has 96x80.*--roi"):
        model.find(IMAGE[:80])
    assert model.find(IMAGE[:80], Scope()).score_map.shape == (2, 80, 96)


@pytest.mark.parametrize(
    "roi", ["all", {**ROI, "height": 0}, {**ROI, "shape": "90,20,60,50"}, {"shape": "1,1,2,2"}, 7]
)
def test_a_region_that_cannot_be_is_refused(run_copy, roi):
    edit(run_copy, roi=roi)
    with pytest.raises(ModelError, match="roi"):
        defectkit.load(run_copy, device="cpu")


@pytest.mark.parametrize("command", ["suspects", "export", "TrainedModel.load"])
def test_an_exported_model_is_not_taken_for_a_trained_one(command, tmp_path, quiet):
    folder = write_exported(tmp_path / "exported")
    options = {} if command == "TrainedModel.load" else {"console": quiet}
    call = getattr(defectkit, command, TrainedModel.load)
    with pytest.raises(ModelError, match="exported is an exported model.*Give the run that"):
        call(folder, **options)
