from dataclasses import replace

import numpy as np
import pytest
from resealing import reseal, reseal_dataset
from small_sources import draw_image
from untrained import PIXELS, untrained_model

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.data_to_evaluate import DataToEvaluate, load_data_to_evaluate
from defectkit.errors import ConfigError, DatasetError
from defectkit.labels import rle
from defectkit.regions import DEFECT_OR_NOT


@pytest.fixture(scope="module")
def model(run_folder):
    return defectkit.load(run_folder, device="cpu")


@pytest.fixture
def make_lot(tmp_path, quiet):
    """Prepare a lot with two overlapping squares, of the given classes, in each second image."""

    def make(*classes, name="lot 7", options=()):
        folder, lines = tmp_path / name, ["ImageId,ClassId,EncodedPixels"]
        for index in range(100, 112):
            image, masks = draw_image(index)
            image_id = f"new-{index}.png"
            write_png(folder / "Train" / image_id, image)
            for mask in masks.values() if classes else ():
                for step, class_id in enumerate(classes):
                    moved = np.roll(mask, 5 * step, axis=1)
                    lines.append(f"{image_id},{class_id},{rle.encode(moved)}")
            if not (masks and classes):
                lines.append(f"{image_id},,")
        (folder / "train.csv").write_text("\n".join(lines) + "\n")
        out = folder / "lot 7"
        defectkit.prepare(
            folder / "train.csv", out=out, split="0.5/0.25/0.25", console=quiet, **dict(options)
        )
        return out

    return make


def load(run, model, data=None, *map_class, split=None):
    return load_data_to_evaluate(run, model, data=data, split=split, map_class=map_class)


def test_the_own_dataset_is_evaluated_on_test_and_a_lot_on_all_images(
    run_folder, model, dataset_folder, dataset_copy, make_lot
):
    own = load(run_folder, model)
    assert (own.lot, own.split, own.folder, own.title) == (None, "test", "test", "test split")
    assert list(own.records) == Dataset.load(dataset_folder).split("test")
    assert load(run_folder, model, dataset_copy).lot is None
    folder = make_lot("2")
    lot = load(run_folder, model, folder)
    assert len(lot.records) == 12
    assert (lot.lot.name, lot.lot.classes, lot.lot.seen) == ("lot 7", {}, 0)
    assert lot.title == "another lot, lot 7, all images"
    assert lot.folder.startswith("lot_7-")
    assert lot.folder.endswith(f"-{lot.dataset.fingerprint[:8]}-all")
    part = load(run_folder, model, folder, split="val")
    assert {record.split for record in part.records} == {"val"}
    assert part.folder == lot.folder.removesuffix("all") + "val"
    described = lot.describe(model.info)
    assert described["another_lot"] == {"name": "lot 7", "classes": {}, "seen_images": 0}
    assert described["dataset"] == lot.dataset.fingerprint != model.info["dataset"]


def test_images_that_the_model_knows_are_counted_while_its_dataset_is_there(
    run_copy, model, dataset_copy
):
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",train,", ",test,", 1))
    reseal_dataset(dataset_copy)
    assert load(run_copy, model, dataset_copy).lot.seen == 15
    reseal(run_copy / "run.json", dataset_folder="/gone")
    gone = load(run_copy, model, dataset_copy)
    assert gone.lot.seen is None
    told = " ".join(gone.warnings(model))
    assert "whether the model was trained on some of these images is not known" in told
    # As if it had been prepared again, in place.
    reseal(run_copy / "run.json", dataset_folder=str(dataset_copy))
    assert load(run_copy, model, dataset_copy).lot.seen is None


def test_a_lot_has_classes_of_the_model_or_says_as_which_they_count(run_folder, model, make_lot):
    assert load(run_folder, model, make_lot(name="good")).records
    folder = make_lot("dent", "hole")
    with pytest.raises(DatasetError, match="classes that the model does not know: dent, hole"):
        load(run_folder, model, folder)
    with pytest.raises(DatasetError, match=r"not know: hole\..* knows 1, 2\..*--map-class 'hole=1"):
        load(run_folder, model, folder, "dent=1")
    both = load(run_folder, model, folder, "dent=2", "hole=1")
    one = load(run_folder, model, folder, "dent=2", "hole=2")
    assert one.lot.classes == {"dent": "2", "hole": "2"}
    for two, merged, record in zip(both.records, one.records, both.dataset.records, strict=True):
        masks = record.read_masks(["dent", "hole"])
        assert (two.read_masks(["1", "2"]) == masks[::-1]).all()
        assert [region.class_id for region in two.regions] == ["2", "1"] * record.defective
        assert (merged.read_masks(["2"])[0] == masks.any(axis=0)).all()
        assert len(merged.regions) == record.defective
        assert set(merged.rles) == {"2"} or not record.defective


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["dent"], "--map-class dent is not of the form NEW=CLASS"),
        (["=1"], "--map-class =1 is not of the form NEW=CLASS"),
        (["dent=3"], "dent=3: the model has no class '3'. It has 1, 2."),
        (["gap=1"], "gap=1: .* has no class 'gap'. It has dent."),
        (["dent=1", "dent=2"], "names 'dent' twice"),
    ],
)
def test_a_mapping_that_is_none_is_refused(run_folder, model, make_lot, texts, message):
    with pytest.raises(ConfigError, match=message):
        load(run_folder, model, make_lot("dent"), *texts)


def test_there_is_nothing_to_map_in_the_own_dataset(run_folder, model, dataset_copy):
    for data in (None, dataset_copy):
        with pytest.raises(ConfigError, match="--map-class is for another lot"):
            load(run_folder, model, data, "1=2")


def test_what_does_not_tell_classes_apart_takes_any(run_folder, model, make_lot):
    class Novelty:
        def __getattr__(self, name):
            return getattr(model, name)

        found_classes = DEFECT_OR_NOT

    lot = load(run_folder, Novelty(), make_lot("dent", "2"))
    assert lot.lot.classes == {"dent": "1"}
    assert {name for record in lot.records for name in record.rles} == {"1", "2"}


def test_images_are_read_as_those_that_the_model_was_trained_on(run_folder, model, make_lot):
    changed = replace(model, info={**model.info, "pixels": PIXELS})
    lot = load(run_folder, changed, make_lot("1"))
    assert {record.pixels for record in lot.records} == {PixelFormat.from_dict(PIXELS)}


def test_a_lost_region_to_inspect_and_a_model_without_levels_are_said(run_folder, model, make_lot):
    lot = load(run_folder, model, make_lot("1"))
    assert lot.warnings(model) == []
    roi = {"shape": "0,0,96,50", "height": 96, "width": 96}
    (told,) = lot.warnings(replace(model, info={**model.info, "roi": roi}))
    assert "has a region to inspect and these images have none" in told
    inside = replace(lot, records=tuple(replace(one, roi="0,0,96,50") for one in lot.records))
    assert inside.warnings(replace(model, info={**model.info, "roi": roi})) == []
    (told,) = lot.warnings(replace(model, info={**model.info, "validation_levels": {}}))
    assert "keeps nothing of its validation images" in told


@pytest.mark.parametrize(
    ("split", "folds", "told"),
    [
        ("test", True, None),
        ("val", False, None),
        ("train", False, "of train, so this result is too good. The test split tells"),
        ("val", True, "of val, so this result is too good. out_of_fold.csv"),
        ("all", False, "of train, so this result is too good"),
        ("all", True, "of train and val, so this result is too good"),
    ],
)
def test_images_that_flatter_are_warned_of(dataset_folder, split, folds, told):
    model = untrained_model()
    if folds:
        scores = {"scores": [0.5], "defective": [True], "groups": ["a"]}
        model = replace(model, info={**model.info, "out_of_fold": scores})
    data = DataToEvaluate.of_split(Dataset.load(dataset_folder), split)
    assert len(data.records) == {"test": 5, "val": 5, "train": 10, "all": 20}[split]
    assert len(data.warnings(model)) == (told is not None)
    assert told is None or told in data.warnings(model)[0]
