import json

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.preparation.read_labels import folders_near_labels, read_labels

COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "dent"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
}
LABELME = {"imagePath": "a.png", "imageHeight": 8, "imageWidth": 8, "shapes": []}
VOC = "<annotation><filename>a.png</filename></annotation>"


def write_csv(folder):
    (folder / "train.csv").write_text("ImageId,EncodedPixels\na.png,1 2\n")


def write_coco(folder):
    (folder / "labels.json").write_text(json.dumps(COCO))


def write_masks(folder):
    write_png(folder / "a.png", np.eye(8, dtype=np.uint8))


def write_labelme(folder):
    (folder / "a.json").write_text(json.dumps(LABELME))


def write_voc(folder):
    (folder / "a.xml").write_text(VOC)


def write_yolo(folder):
    (folder / "a.txt").write_text("0 .5 .5 .1 .1\n")
    (folder / "classes.txt").write_text("dent\n")


WRITERS = {
    "csv": write_csv, "coco": write_coco, "masks": write_masks, "labelme": write_labelme,
    "voc": write_voc, "yolo": write_yolo,
}  # fmt: skip
EVERY_FORMAT = pytest.mark.parametrize("name", WRITERS)


@EVERY_FORMAT
@pytest.mark.parametrize("inside", [False, True])
def test_the_format_of_a_folder_is_detected(tmp_path, name, inside):
    folder = tmp_path / ("masks" if name == "masks" else "labels") if inside else tmp_path
    folder.mkdir(exist_ok=True)
    WRITERS[name](folder)
    found, table = read_labels(tmp_path)
    assert found == name
    assert len(table.rows) + len(table.unlabeled) + len(table.empty_files) == 1
    assert table.path in (folder, *folder.iterdir())
    assert read_labels(folder, name)[1] == table


@pytest.mark.parametrize(
    ("name", "file"),
    [("csv", "train.csv"), ("coco", "labels.json"), ("labelme", "a.json"), ("voc", "a.xml")],
)
def test_the_format_of_a_file_is_detected(tmp_path, name, file):
    WRITERS[name](tmp_path)
    found, table = read_labels(tmp_path / file)
    assert found == name
    assert tmp_path / file in (table.path, *table.files)


def test_images_beside_labels_are_no_masks(tmp_path):
    write_masks(tmp_path)
    write_yolo(tmp_path)
    assert read_labels(tmp_path)[0] == "yolo"


def test_labels_of_several_formats_are_refused_until_one_is_asked(tmp_path):
    write_csv(tmp_path)
    write_voc(tmp_path)
    with pytest.raises(LabelError, match=r"several formats: csv in .*, voc in .*Name one of them"):
        read_labels(tmp_path)
    assert read_labels(tmp_path, "voc")[0] == "voc"


@EVERY_FORMAT
def test_a_folder_without_labels_is_refused(tmp_path, name):
    with pytest.raises(LabelError, match=r"has no labels \(CSV, .*or the format with --format"):
        read_labels(tmp_path)
    with pytest.raises(LabelError, match=f"has no labels of the format {name}"):
        read_labels(tmp_path, name)


def test_of_two_tables_one_has_to_be_named(tmp_path):
    write_csv(tmp_path)
    (tmp_path / "second.csv").write_text("ImageId,EncodedPixels\na.png,1 2\n")
    with pytest.raises(LabelError, match=r"has 2 \.csv files\. Name one\."):
        read_labels(tmp_path)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_voc(tmp_path / "elsewhere")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.xml").symlink_to(tmp_path / "elsewhere" / "a.xml")
    with pytest.raises(LabelError, match="has no labels"):
        read_labels(source)


def test_images_are_looked_for_near_their_labels(tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    assert folders_near_labels("csv", tmp_path / "train.csv") == [tmp_path]
    assert folders_near_labels("masks", labels) == [tmp_path]
    assert folders_near_labels("yolo", labels) == [labels, tmp_path]
