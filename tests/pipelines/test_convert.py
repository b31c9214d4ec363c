"""What is written can be read again, to the same masks."""

import json

import numpy as np
import pytest
from label_forms import (
    L_SHAPE,
    QUIET,
    corners_mask,
    defects,
    name,
    prepared,
    write_csv_form,
    write_images,
    write_yolo_boxes,
)
from pycocotools import mask as pycoco
from resealing import reseal_dataset

from defectkit.data.dataset import Dataset
from defectkit.errors import DatasetError, OutputError
from defectkit.files import read_json
from defectkit.labels import rle
from defectkit.pipelines import convert


@pytest.mark.parametrize("to", ["csv", "coco", "coco uncompressed", "masks"])
def test_what_is_converted_and_prepared_again_is_the_same(tmp_path, by_csv, cli, to):
    write_images(tmp_path)
    form, *flags = to.split()
    target = tmp_path / {"csv": "new.csv", "coco": "new.json", "masks": "masks"}[form]
    flags = [f"--{flag}" for flag in flags]
    done = cli("labels", "convert", by_csv, "--to", form, "--out", target, *flags)
    assert (done.code, "10 images written to" in done.err) == (0, True)
    again = prepared(target, tmp_path / "again")
    assert (again / "masks.csv").read_bytes() == (by_csv / "masks.csv").read_bytes()
    assert defects(again) == defects(by_csv)
    assert cli("labels", "convert", by_csv, "--to", form, "--out", target).code == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_written_coco_is_what_pycocotools_reads(tmp_path, by_csv):
    convert.run(by_csv, to="coco", out=tmp_path / "a.json", console=QUIET)
    document = json.loads((tmp_path / "a.json").read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    classes = {category["id"]: category["name"] for category in document["categories"]}
    united: dict[tuple[str, str], np.ndarray] = {}
    for item in document["annotations"]:
        mask = pycoco.decode(item["segmentation"])
        assert item["area"] == mask.sum()
        assert item["bbox"] == pycoco.toBbox(item["segmentation"]).tolist()
        key = names[item["image_id"]], classes[item["category_id"]]
        united[key] = united.get(key, 0) | mask
    for record in Dataset.load(by_csv).records:
        for class_id in record.rles:
            mask = united.pop((record.image_id, class_id))
            np.testing.assert_array_equal(mask, record.read_masks([class_id])[0])
    assert not united


def test_masks_have_no_room_for_overlapping_classes(tmp_path):
    write_images(tmp_path)
    path = write_csv_form(tmp_path)
    path.write_text(path.read_text() + f"{name(0)},2,{rle.encode(corners_mask(L_SHAPE))}\n")
    data = prepared(path, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"in part-0\.png pixels belong to two classes"):
        convert.run(data, to="masks", out=tmp_path / "masks", console=QUIET)
    assert not (tmp_path / "masks").exists()


def test_boxes_go_back_out_as_coco_alone(tmp_path):
    write_images(tmp_path)
    data = prepared(write_yolo_boxes(tmp_path), tmp_path / "out")
    for to in ("csv", "masks"):
        with pytest.raises(DatasetError, match=rf"has boxes but no masks; {to} cannot store boxes"):
            convert.run(data, to=to, out=tmp_path / "new", console=QUIET)
    convert.run(data, to="coco", out=tmp_path / "boxes.json", console=QUIET)
    again = prepared(tmp_path / "boxes.json", tmp_path / "again")
    assert read_json(again / "dataset.json")["truth"] == "boxes"
    assert defects(again) == defects(data)


def test_an_existing_file_is_not_written_over(tmp_path, by_csv):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.csv exists already"):
        convert.run(by_csv, to="csv", out=tmp_path / "a.csv", console=QUIET)


@pytest.fixture
def scoped_dataset(tmp_path, by_csv):
    """The dataset with a class that is ignored, in a region to inspect."""
    ignored = Dataset.load(by_csv).classes[-1]
    return prepared(by_csv.parent / "train.csv", tmp_path / "scoped", ignore_class=ignored)


@pytest.mark.parametrize("to", ["csv", "coco", "masks"])
def test_ignored_pixels_that_are_converted_and_prepared_again_are_the_same(
    tmp_path, scoped_dataset, cli, to
):
    before = Dataset.load(scoped_dataset)
    assert any(record.ignored for record in before.records)
    target = tmp_path / {"csv": "a.csv", "coco": "a.json", "masks": "masks"}[to]
    done = cli("labels", "convert", scoped_dataset, "--to", to, "--out", target)
    assert done.code == 0
    assert ("prepare with --ignore-class ignored" in done.err) == (to != "masks")
    images = (before.folder / before.info["images"]).resolve()
    options = {} if to == "masks" else {"ignore_class": "ignored"}
    again = Dataset.load(prepared(target, tmp_path / "again", images=images, **options))
    scopes, masks = (
        [
            {record.path.name: getattr(record, name) for record in data.records}
            for data in (before, again)
        ]
        for name in ("ignored", "rles")
    )
    assert scopes[0] == scopes[1]
    assert masks[0] == masks[1]


def test_ignored_pixels_get_no_name_that_a_class_has(tmp_path, scoped_dataset):
    folder = scoped_dataset
    for table in ("masks.csv", "defects.csv"):
        text = (folder / table).read_text()
        (folder / table).write_text(text.replace(",1,", ",ignored,", 1))
    reseal_dataset(folder, classes=["ignored"])
    with pytest.raises(DatasetError, match="has ignored pixels and a class 'ignored'"):
        convert.run(folder, to="coco", out=tmp_path / "a.json", console=QUIET)
