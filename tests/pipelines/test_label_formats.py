"""One truth in every form: it must come out as the same masks."""

import json

import numpy as np
import pytest
from label_forms import (
    BOX_FORMS,
    FORMS,
    HEIGHT,
    QUIET,
    TRUTH,
    WIDTH,
    boxes,
    class_masks,
    coco_document,
    defects,
    masks_writer,
    name,
    polygon,
    prepared,
    write_csv_form,
    write_images,
    write_voc,
    write_yolo,
)

from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.files import read_csv, read_json
from defectkit.pipelines import convert


@pytest.mark.check(19)
@pytest.mark.parametrize("form", FORMS)
def test_the_same_truth_in_every_form_gives_the_same_masks(tmp_path, by_csv, form):
    kind, write = FORMS[form]
    write_images(tmp_path)
    out = prepared(write(tmp_path), tmp_path / "out")
    info = read_json(out / "dataset.json")
    assert (info["format"], info["truth"], info["rle"]) == (kind, "masks", None)
    assert (out / "masks.csv").read_bytes() == (by_csv / "masks.csv").read_bytes()
    assert defects(out) == defects(by_csv)
    rows = {row["image_id"]: row["defective"] for row in read_csv(out / "images.csv")}
    assert rows == {row["image_id"]: row["defective"] for row in read_csv(by_csv / "images.csv")}
    assert {row["outcome"] for row in read_csv(out / "ledger.csv")} <= {"used", "merged"}


@pytest.mark.parametrize("high", [1, 255])
def test_binary_masks_have_one_class(tmp_path, by_csv, high):
    write_images(tmp_path)
    source = masks_writer("L", {"1": high, "2": high})(tmp_path)
    out = prepared(source, tmp_path / "out")
    for record in Dataset.load(out).records:
        index = int(record.image_id.removeprefix("part-").removesuffix(".png"))
        expected = sum(class_masks(index).values(), np.zeros((HEIGHT, WIDTH), np.uint8))
        np.testing.assert_array_equal(record.read_masks(["1"])[0], expected)


def test_masks_may_say_so_in_their_names_and_lie_deeper_down(tmp_path, by_csv):
    write_images(tmp_path)
    masks_writer("L", {"1": 1, "2": 2})(tmp_path)
    for index, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        folder = tmp_path / "ground_truth" / "lot"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"{path.stem}_mask.png")
        (tmp_path / "images" / "lot").mkdir(exist_ok=True)
        (tmp_path / "images" / name(index)).rename(tmp_path / "images" / "lot" / name(index))
    (tmp_path / "masks").rmdir()
    out = prepared(tmp_path, tmp_path / "out")
    lot = (out / "masks.csv").read_text()
    assert lot.replace("lot/", "") == (by_csv / "masks.csv").read_text()
    again = convert.run(out, to="masks", out=tmp_path / "masks", console=QUIET)
    assert (again / "lot" / name(0)).is_file()
    assert (prepared(again, tmp_path / "again") / "masks.csv").read_text() == lot


@pytest.mark.parametrize("form", BOX_FORMS)
def test_boxes_are_boxes_and_serve_box_alone(tmp_path, form, cli):
    write_images(tmp_path)
    out = prepared(BOX_FORMS[form](tmp_path), tmp_path / "out")
    info = read_json(out / "dataset.json")
    assert info["truth"] == "boxes"
    assert info["warnings"][0].startswith(
        "the labels are boxes: they can be used with --approach box only"
    )
    found = {
        (
            row["image_id"],
            row["class_id"],
            *(int(row[key]) for key in ("x", "y", "width", "height")),
        )
        for row in read_csv(out / "defects.csv")
    }
    assert found == {
        (name(index), class_id, left, top, right - left, bottom - top)
        for index, shapes in enumerate(TRUTH)
        for class_id, (left, top, right, bottom) in boxes(shapes)
    }
    for approach in ("segment", "patch"):
        ended = cli("train", "--approach", approach, "--data", out, "--out", tmp_path / "run")
        assert ended.code == 2
        assert f"has boxes and no masks, so {approach} has no outlines" in ended.err
        assert "Use --approach box" in ended.err


# What cannot be used


def test_a_folder_with_several_kinds_of_labels_stops(tmp_path):
    write_images(tmp_path)
    write_csv_form(tmp_path)
    masks_writer("L", {"1": 1, "2": 2})(tmp_path)
    with pytest.raises(
        LabelError, match=r"several formats: csv in .*, masks in .*masks\. Name one"
    ):
        prepared(tmp_path, tmp_path / "out")
    out = prepared(tmp_path, tmp_path / "out", label_format="masks")
    assert read_json(out / "dataset.json")["format"] == "masks"
    assert prepared(tmp_path, tmp_path / "out", label_format="csv")


def test_a_folder_without_labels_stops(tmp_path):
    write_images(tmp_path)
    with pytest.raises(LabelError, match=r"has no labels \(CSV, COCO, .*--format"):
        prepared(tmp_path, tmp_path / "out")
    with pytest.raises(LabelError, match=r"has no labels of the format voc"):
        prepared(tmp_path, tmp_path / "out", label_format="voc")


def test_the_flags_of_csv_are_refused_elsewhere(tmp_path):
    write_images(tmp_path)
    with pytest.raises(LabelError, match=r"--rle-base and --rle-order are for CSV, but .* is yolo"):
        prepared(write_yolo(tmp_path), tmp_path / "out", rle_base="0")


@pytest.mark.check(6)
def test_every_annotation_is_accounted_for(tmp_path):
    write_images(tmp_path)
    document = coco_document(polygon)
    shapes = document["annotations"]
    shapes.append({**shapes[0], "segmentation": [[1, 2, 3, 4]]})
    shapes.append({**shapes[0], "image_id": 104, "segmentation": [[1, 1, 90, 1, 90, 5, 1, 5]]})
    shapes.append({**shapes[0], "image_id": 101, "segmentation": None})
    shapes.append({**shapes[0], "image_id": 9})
    shapes.append({**shapes[0], "image_id": 102, "category_id": 3})
    shapes.append("nonsense")
    shapes.append({**shapes[0], "image_id": 105, "segmentation": [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]})
    document["images"][3]["height"] = WIDTH
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(LabelError, match=rf"of {len(shapes)} rows of .*a\.json cannot be used"):
        prepared(tmp_path, tmp_path / "out")
    ledger = read_csv(tmp_path / "out" / "ledger.csv")
    assert [row["line"] for row in ledger] == [str(n) for n in range(1, len(shapes) + 1)]
    reasons = [row["reason"] for row in ledger[8:]]
    for reason, expected in zip(
        reasons,
        ["a polygon has 4 numbers", "2 of its 4 points are outside the image of 40x24, by up to 50",
         "it has only a box, where other annotations have outlines", "not the id of a listed image",
         "category 3 is not listed", "not the id of a listed image", "the outline covers no pixel"],
        strict=True,
    ):  # fmt: skip
        assert expected in reason
    assert all(row["outcome"] == "refused" for row in ledger[8:])
    assert "of an image of 40x40 pixels, but it has 40x24" in ledger[4]["reason"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "has no JSON object"),
        ("{", "is not readable JSON"),
        ("[" * 100_000, "is not readable JSON"),
        ('{"images": [], "categories": []}', "not usable COCO JSON.*'annotations' is missing"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}', "two images"),
        ('{"images": [{"id": NaN, "file_name": "a"}]}', "'id' is missing or is not of the right"),
        ('{"images": [{"id": 1e999, "file_name": "a"}]}', "'id' is missing"),
        ('{"images": [], "categories": [], "annotations": []}', "has no annotations"),
    ],
)
def test_a_coco_file_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LabelError, match=message):
        prepared(tmp_path / "a.json", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "declares a document type"),
        ("<annotation>", "is not readable XML"),
        ("<other/>", "its root is 'other'"),
        (
            "<annotation><object><name>1</name></object></annotation>",
            "bndbox/xmin '' is not a number",
        ),
    ],
)
def test_harmful_or_broken_xml_is_refused(tmp_path, text, reason):
    write_images(tmp_path)
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "part-9.xml").write_text(text)
    with pytest.raises(LabelError, match=rf"part-9\.png: .*{reason}"):
        prepared(tmp_path, tmp_path / "out")


def test_masks_that_are_none_are_refused(tmp_path):
    write_images(tmp_path)
    masks_writer("L", {"1": 1, "2": 2})(tmp_path)
    folder = tmp_path / "masks"
    noise = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    write_png(folder / name(6), noise)
    write_png(folder / name(7), np.zeros((WIDTH, HEIGHT), np.uint8))
    write_png(folder / name(8), np.stack([noise, noise, noise.T.reshape(noise.shape)], axis=2))
    (folder / name(9)).write_bytes((folder / name(0)).read_bytes()[:60])
    with pytest.raises(LabelError, match="rows of .*masks cannot be used"):
        prepared(folder, tmp_path / "out")
    reasons = {row["image_id"]: row["reason"] for row in read_csv(tmp_path / "out" / "ledger.csv")}
    assert "256 different values" in reasons[name(6)]
    assert "of an image of 24x40 pixels, but it has 40x24" in reasons[name(7)]
    assert "different values are not those of a mask" in reasons[name(8)]
    assert "damaged or cut off" in reasons[name(9)]


def test_a_bad_line_of_yolo_is_named_with_its_file(tmp_path):
    write_images(tmp_path)
    write_yolo(tmp_path)
    for index, line in enumerate(["5 .1 .1 .2 .1 .2 .2", "1 a b c d", "0 .5 .5 .2 .2", "0 1 1 1"]):
        path = tmp_path / "labels" / f"part-{6 + index}.txt"
        path.write_text(f"\n{line}\n")
    with pytest.raises(LabelError) as error:
        prepared(tmp_path, tmp_path / "out")
    for expected in (
        "part-6.txt:2: class 5 has no name: 2 classes",
        "part-7.txt:2: '1 a b c d' is not a class",
        "part-8.png: it has only a box",
        "part-9.txt:2: '0 1 1 1' is not a class",
    ):
        assert expected in str(error.value)
