import re

import numpy as np
import pytest
from file_hashes import mark

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.preparation.label_places import find_labels

YOLO = "0 .5 .5 .1 .1\n"


@pytest.fixture
def write(tmp_path):
    """Write files by their paths: YOLO's labels, the others empty."""

    def call(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(YOLO if name.endswith(".txt") else "")
        return tmp_path

    return call


def test_labels_are_found_in_folders_of_splits(write):
    folder = write("train/labels/a.txt", "valid/labels/b.txt", "train/images/a.png", "README.txt")
    found = find_labels(folder)
    assert (found.format, found.place) == ("yolo", folder)
    assert [file.name for file in found.files] == ["a.txt", "b.txt"]
    assert [image.name for image in found.index.images] == ["a.png"]


def test_labels_further_down_that_are_not_read_are_counted(write):
    folder = write("a.txt", "a.png", "lot/b.txt", "labels/c.txt")
    found = find_labels(folder)
    assert found.files == [folder / "a.txt"]
    assert found.notes[0].startswith("2 more files of yolo are not read, such as")


def test_texts_beside_labels_that_are_none_are_left_out_and_said(write):
    folder = write("a.txt", "a.png", "b.txt", "c.txt")
    (folder / "license.txt").write_text("Use it.")
    (folder / "c.txt").write_text("")
    found = find_labels(folder)
    assert [file.name for file in found.files] == ["a.txt", "b.txt", "c.txt"]
    assert found.notes[0].startswith("license.txt: no labels of yolo")


def test_images_of_masks_may_be_links(write, tmp_path):
    folder = write("set/masks/a.png", "elsewhere/a.jpg")
    (folder / "set/images").mkdir()
    (folder / "set/images/a.jpg").symlink_to(folder / "elsewhere/a.jpg")
    found = find_labels(folder / "set")
    assert [mask.image_id for mask in found.masks.masks] == ["a.jpg"]


def test_a_yaml_stands_for_its_folder(write):
    folder = write("labels/a.txt", "images/a.png", "parts.yaml", "notes.csv")
    found = find_labels(folder / "parts.yaml")
    assert (found.format, found.place) == ("yolo", folder / "labels")
    assert found.names_file == folder / "parts.yaml"


def test_labels_in_folders_of_any_name_are_found_if_they_are_known_by_their_content(write):
    folder = write("line 1/boxes/a.txt", "line 1/photos/a.png")
    assert find_labels(folder).format == "yolo"
    folder = write("other/a.csv")
    assert find_labels(folder).format == "yolo"


def test_a_format_that_is_asked_for_is_found_deeper_down(write):
    folder = write("line/tables/a.csv", "line/a.png")
    with pytest.raises(LabelError, match="has no labels"):
        find_labels(folder)
    assert find_labels(folder, "csv").files == [folder / "line/tables/a.csv"]


@pytest.mark.parametrize("name", ["MASKS", "Ground_Truth", "label"])
def test_folders_of_masks_are_found_in_any_case(write, name):
    folder = write(f"{name}/a.png", "Images/a.jpg")
    found = find_labels(folder)
    assert (found.format, found.place) == ("masks", folder / name)
    assert [mask.image_id for mask in found.masks.masks] == ["a.jpg"]
    again = find_labels(folder / name)
    assert [mask.image_id for mask in again.masks.masks] == ["a.jpg"]
    assert again.index.root == found.index.root == folder / "Images"


def test_masks_of_a_split_find_their_images_beside(write):
    folder = write("masks/train/a.png", "images/train/a.jpg", "images/test/a.jpg")
    found = find_labels(folder / "masks" / "train")
    assert [mask.image_id for mask in found.masks.masks] == ["train/a.jpg"]


def test_a_table_about_images_beside_labels_is_left_out_and_said(write):
    folder = write("masks/a.png", "images/a.png")
    (folder / "lots.csv").write_text("image,lot,label\na.png,7,bad\n")
    found = find_labels(folder)
    assert found.format == "masks"
    assert found.notes[0].startswith("lots.csv beside the labels is not used")
    (folder / "info.json").write_text('{"version": 3}')
    assert find_labels(folder).notes[0].startswith("lots.csv, info.json beside the labels")
    (folder / "lots.csv").write_text("image,rle\na.png,7 1\n")
    with pytest.raises(LabelError, match="several formats: csv in .*, masks in"):
        find_labels(folder)


def test_images_may_be_named(write):
    folder = write("masks/a_mask.png", "elsewhere/a.jpg", "elsewhere/a_mask.png")
    found = find_labels(folder / "masks", images=folder / "elsewhere")
    assert found.index.root == folder / "elsewhere"
    assert [mask.image_id for mask in found.masks.masks] == ["a.jpg"]
    assert len(found.index.images) == 1


def test_pictures_alone_are_masks_and_beside_labels_they_are_not(write):
    folder = write("a.png")
    assert find_labels(folder).format == "masks"
    write("a.txt")
    assert find_labels(folder).format == "yolo"
    assert find_labels(folder, "masks").format == "masks"


def test_other_json_beside_labels_of_labelme_is_left_out_and_said(write):
    folder = write("a.png", "b.png")
    for name in ("a", "b", "z"):
        (folder / f"{name}.json").write_text('{"shapes": [], "imagePath": "a.png"}')
    (folder / "config.json").write_text('{"lr": 1}')
    found = find_labels(folder)
    assert [file.name for file in found.files] == ["a.json", "b.json", "z.json"]
    assert found.notes == (
        "config.json: no labels of labelme, and no image of that name; left out",
    )


def test_photographs_are_never_masks_unless_that_is_said(tmp_path):
    photo = np.arange(400, dtype=np.uint8).reshape(20, 20)
    for name in ("images/a.png", "b.png"):
        write_png(tmp_path / name, photo)
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "b.txt").write_text("0 0,5 0,5 0,1 0,1")
    for folder in (tmp_path, tmp_path / "images"):
        with pytest.raises(LabelError, match="has no labels"):
            find_labels(folder)
    with pytest.raises(LabelError, match=r"b\.txt has the name of an image, but no labels of YOLO"):
        find_labels(tmp_path)
    assert find_labels(tmp_path, "masks").format == "masks"


def test_a_folder_beside_the_images_that_is_named_as_one_of_masks_is_said(write):
    folder = write("bottle/test/good/a.png", "bottle/ground_truth/b.png")
    with pytest.raises(LabelError, match=r"ground_truth, may have them: name .*bottle\. "):
        find_labels(folder / "bottle" / "test")
    with pytest.raises(LabelError, match="has no labels of the format coco") as error:
        find_labels(folder / "bottle" / "ground_truth", "coco")
    assert "beside it" not in str(error.value)


@pytest.mark.parametrize("levels", [2, 256])
def test_a_label_file_beside_a_folder_of_images_is_said(levels, tmp_path):
    pixels = np.arange(400).reshape(20, 20) % levels
    write_png(tmp_path / "Train" / "a.png", pixels.astype(np.uint8))
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.png,1,1 2\n")
    named = re.escape(str(tmp_path / "train.csv"))
    message = rf"has no labels .*file beside it, train\.csv, may have them: name {named}\. "
    with pytest.raises(LabelError, match=message):
        find_labels(tmp_path / "Train")


def test_folders_of_the_same_names_are_said_where_one_may_have_masks(tmp_path):
    photo = np.arange(400, dtype=np.uint8).reshape(20, 20)
    for name in ("a", "b"):
        write_png(tmp_path / "Bilder" / f"{name}.png", photo)
        write_png(tmp_path / "Fehler" / f"{name}.png", photo // 200)
    with pytest.raises(LabelError, match=r"Fehler may have masks: name it, with --format masks"):
        find_labels(tmp_path)
    found = find_labels(tmp_path / "Fehler", "masks", tmp_path / "Bilder")
    assert [mask.image_id for mask in found.masks.masks] == ["a.png", "b.png"]


def test_classes_of_images_are_no_places_of_defects(write):
    folder = write("train/a.jpg")
    (folder / "train" / "_classes.csv").write_text("filename, dent\na.jpg, 1\n")
    with pytest.raises(LabelError, match=r"_classes\.csv has classes, but not where"):
        find_labels(folder)


def test_one_picture_is_no_source(write):
    with pytest.raises(LabelError, match=r"a\.png is one image\. Name the folder of the masks"):
        find_labels(write("a.png") / "a.png")


@pytest.mark.check(52)
def test_results_beside_labels_are_no_labels(write):
    folder = write("findings.csv", "errors.csv", "out/dataset.json")
    (folder / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.png,1,1 2\n")
    mark(folder, ["findings.csv", "errors.csv"])
    mark(folder / "out", ["dataset.json"], "dataset")
    found = find_labels(folder)
    assert (found.files, found.notes) == ([folder / "train.csv"], ())
