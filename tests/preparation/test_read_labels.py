import json
from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.labels.read_options import ReadOptions
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
    with pytest.raises(LabelError, match=r"has 2 \.csv files \(\w+\.csv, \w+\.csv\)\. Name one\."):
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


def coco_of(name):
    return json.dumps({**COCO, "images": [{"id": 1, "file_name": name}]})


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train", "valid")),
        (("annotations/instances_train.json", "annotations/instances_val.json"),
         ("train2017", "val2017")),
    ],
)  # fmt: skip
def test_a_coco_file_for_each_split_gives_the_split(tmp_path, files, images):
    for file, folder in zip(files, images, strict=True):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(coco_of("a.png"))
        write_png(tmp_path / folder / "a.png", np.eye(8, dtype=np.uint8))
    found, table = read_labels(tmp_path)
    assert found == "coco"
    assert [row.image_id for row in table.rows] == [f"{folder}/a.png" for folder in images]
    assert [table.meta[row.image_id]["split"] for row in table.rows] == ["train", "val"]
    assert table.image_root == tmp_path


def test_a_table_for_each_split_gives_the_split_of_all_images(tmp_path):
    for split in ("train", "valid"):
        for name in ("a.png", "b.png"):
            write_png(tmp_path / split / name, np.eye(8, dtype=np.uint8))
        text = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,8,8,dent,1,2,4,5\n"
        (tmp_path / split / "_annotations.csv").write_text(text)
    found, table = read_labels(tmp_path)
    assert found == "csv"
    assert [row.image_id for row in table.rows] == ["train/a.png", "valid/a.png"]
    assert table.meta["train/b.png"]["split"] == "train"
    assert table.meta["valid/b.png"]["split"] == "val"


def test_yolo_with_a_yaml_gives_the_split_and_the_names(tmp_path):
    for split in ("train", "valid", "test"):
        write_png(tmp_path / split / "images" / "a.png", np.eye(8, dtype=np.uint8))
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("0.0 .5 .5 .1 .1\n")
    (tmp_path / "part.yaml").write_text("train: train\nval: valid\ntest: test\nnames: [dent]\n")
    table = read_labels(tmp_path / "part.yaml")[1]
    assert {row.class_id for row in table.rows} == {"dent"}
    splits = {row.image_id: table.meta[row.image_id]["split"] for row in table.rows}
    assert splits == {
        "test/images/a": "test", "train/images/a": "train", "valid/images/a": "val",
    }  # fmt: skip


@pytest.mark.check(43)
def test_the_layout_of_mvtec_has_good_images_and_no_given_split(tmp_path):
    for name in ("train/good/0", "test/good/0", "test/crack/0"):
        write_png(tmp_path / f"{name}.png", np.eye(8, dtype=np.uint8))
    write_png(tmp_path / "ground_truth/crack/0_mask.png", np.eye(8, dtype=np.uint8) * 255)
    found, table = read_labels(tmp_path)
    assert found == "masks"
    assert [(row.image_id, row.class_id) for row in table.rows] == [("test/crack/0.png", "crack")]
    assert table.unlabeled == ("test/good/0.png", "train/good/0.png")
    assert table.meta == {}
    assert any("is not taken: train has no defects" in note for note in table.notes)


@pytest.mark.check(43)
def test_the_layout_of_ksdd2_gives_the_split(tmp_path):
    for name in ("train/0", "train/1", "test/0"):
        write_png(tmp_path / f"{name}.png", np.eye(8, dtype=np.uint8))
        write_png(tmp_path / f"{name}_GT.png", np.eye(8, dtype=np.uint8) * 255)
    table = read_labels(tmp_path)[1]
    assert {image_id: cells["split"] for image_id, cells in table.meta.items()} == {
        "train/0.png": "train", "train/1.png": "train", "test/0.png": "test",
    }  # fmt: skip
    assert read_labels(tmp_path / "train")[1].meta == {}


def test_options_of_masks_are_refused_elsewhere(tmp_path):
    write_yolo(tmp_path)
    for options in (ReadOptions(mask_threshold=5), ReadOptions(invert=True)):
        with pytest.raises(
            LabelError, match=r"(--mask-threshold|--invert) is for mask images, but"
        ):
            read_labels(tmp_path, options=options)


@pytest.mark.parametrize("threshold", [0, -1, 70000])
def test_a_threshold_is_a_pixel_value(tmp_path, threshold):
    write_masks(tmp_path)
    with pytest.raises(LabelError, match=f"--mask-threshold {threshold} is not a pixel value"):
        read_labels(tmp_path, options=ReadOptions(mask_threshold=threshold))


@pytest.mark.parametrize("given", ["folder", "file", "images"])
def test_images_may_keep_the_names_of_their_uploads_to_label_studio(tmp_path, given):
    tasks = [
        {"id": number, "data": {"image": f"/data/upload/1/0a1b2c3d-{number}.png"},
         "annotations": [{"result": []}]}
        for number in range(2)
    ]  # fmt: skip
    images = tmp_path / ("elsewhere" if given == "images" else "labels") / "images"
    for name in ("0a1b2c3d-0.png", "1.png"):
        write_png(images / name, np.full((8, 8), 90, np.uint8))
    source = tmp_path / "labels" / "project.json"
    source.parent.mkdir(exist_ok=True)
    source.write_text(json.dumps(tasks))
    table = read_labels(
        source.parent if given == "folder" else source,
        images=images if given == "images" else None,
    )[1]
    assert table.unlabeled == ("0a1b2c3d-0.png", "1.png")


@pytest.mark.slow
@pytest.mark.check(58)
def test_very_many_classes_are_none(tmp_path):
    rows = "".join(f"a.png,{n},1 2\n" for n in range(100_000))
    (tmp_path / "train.csv").write_text("ImageId,ClassId,EncodedPixels\n" + rows)
    with pytest.raises(LabelError, match="train.csv has 100,000 classes, more than 256"):
        read_labels(tmp_path)


def test_labels_on_an_object_store_are_refused():
    told = "^s3://plant/labels is on an object store, but labels and masks are read from files"
    with pytest.raises(LabelError, match=told):
        read_labels(Path("s3://plant/labels"))
