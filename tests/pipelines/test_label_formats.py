"""One truth in every form: it must come out as the same masks, and go back out again."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco
from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.errors import DatasetError, LabelError, OutputError
from defectkit.files import read_csv, read_json
from defectkit.labels import rle
from defectkit.pipelines import convert, prepare

HEIGHT, WIDTH = 24, 40
CLASSES = ("1", "2")
# By image: class and corners of polygons with sides along the axes, an L and an off-border box.
L_SHAPE = ((3, 4), (12, 4), (12, 8), (7, 8), (7, 20), (3, 20))
TRUTH: list[list[tuple[str, tuple[tuple[int, int], ...]]]] = [
    [("1", L_SHAPE)],
    [("2", ((0, 0), (9, 0), (9, 5), (0, 5))), ("1", ((30, 10), (40, 10), (40, 24), (30, 24)))],
    [("1", ((5, 5), (6, 5), (6, 6), (5, 6)))],
    [("2", ((20, 1), (33, 1), (33, 4), (20, 4))), ("2", ((20, 9), (22, 9), (22, 12), (20, 12)))],
    [("2", L_SHAPE)],
    [("1", ((0, 3), (40, 3), (40, 5), (0, 5)))],
    [],
    [],
    [],
    [],
]
QUIET = Console(file=io.StringIO())


def corners_mask(corners) -> np.ndarray:
    """By hand: the L is a bar and a stem, all others are boxes."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if corners == L_SHAPE:
        mask[4:8, 3:12] = mask[8:20, 3:7] = 1
    else:
        (left, top), _, (right, bottom), _ = corners
        mask[top:bottom, left:right] = 1
    return mask


def class_masks(index: int) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for class_id, corners in TRUTH[index]:
        masks[class_id] = masks.get(class_id, 0) | corners_mask(corners)
    return masks


def name(index: int) -> str:
    return f"part-{index}.png"


def write_images(folder: Path) -> None:
    for index in range(len(TRUTH)):
        pixels = np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        write_png(folder / "images" / name(index), pixels)


def write_csv_form(folder: Path) -> Path:
    rows = [["ImageId", "ClassId", "EncodedPixels"]]
    for index in range(len(TRUTH)):
        masks = class_masks(index)
        rows += [[name(index), c, rle.encode(mask)] for c, mask in masks.items()]
        rows += [] if masks else [[name(index), "", ""]]
    with (folder / "train.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "train.csv"


def coco_document(segmentation) -> dict:
    annotations = []
    for index, shapes in enumerate(TRUTH):
        for class_id, corners in shapes:
            mask = corners_mask(corners)
            packed = pycoco.encode(np.asfortranarray(mask))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 100, "iscrowd": 0,
                 "category_id": int(class_id) + 7, "area": int(mask.sum()),
                 "bbox": pycoco.toBbox(packed).tolist(),
                 "segmentation": segmentation(mask, corners, packed)}
            )  # fmt: skip
    images = [
        {"id": index + 100, "file_name": name(index), "height": HEIGHT, "width": WIDTH}
        for index in range(len(TRUTH))
    ]
    categories = [{"id": int(c) + 7, "name": c} for c in reversed(CLASSES)]
    return {"images": images, "categories": categories, "annotations": annotations}


def polygon(mask, corners, packed):
    return [[float(number) for corner in corners for number in corner]]


def compressed(mask, corners, packed):
    return {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()}


def uncompressed(mask, corners, packed):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=-1))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff(edges, prepend=0).tolist()}


def coco_writer(segmentation):
    def write(folder: Path) -> Path:
        (folder / "annotations").mkdir()
        path = folder / "annotations" / "instances.json"
        path.write_text(json.dumps(coco_document(segmentation)))
        return path

    return write


def masks_writer(mode: str, values: dict[str, int], names: bool = False):
    def write(folder: Path) -> Path:
        (folder / "masks").mkdir()
        for index in range(len(TRUTH)):
            pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
            for class_id, mask in class_masks(index).items():
                pixels[mask > 0] = values[class_id]
            image = Image.fromarray(pixels, "P" if mode == "P" else "L")
            if mode == "P":
                image.putpalette([255, 255, 255, 200, 0, 0, 0, 90, 0] + [7] * 759)
            if mode == "RGB":
                image = image.convert("RGB")
            if mode == "I;16":
                image = Image.fromarray(pixels.astype(np.uint16))
            image.save(folder / "masks" / name(index))
        if names:
            rows = "".join(f"{value},{class_id}\n" for class_id, value in values.items())
            (folder / "masks" / "classes.csv").write_text(f"value,class_id\n{rows}")
        return folder

    return write


def write_labelme(folder: Path) -> Path:
    (folder / "labels").mkdir()
    for index, shapes in enumerate(TRUTH):
        document = {
            "version": "5.0.1", "flags": {}, "imageData": base64.b64encode(b"x").decode(),
            "imagePath": f"..\\images\\{name(index)}", "imageHeight": HEIGHT, "imageWidth": WIDTH,
            "shapes": [
                {"label": class_id, "points": [list(map(float, corner)) for corner in corners],
                 "shape_type": "polygon", "group_id": None, "flags": {}}
                for class_id, corners in shapes
            ],
        }  # fmt: skip
        (folder / "labels" / f"part-{index}.json").write_text(json.dumps(document))
    return folder


def write_yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names:\n  0: '1'\n  1: '2'\n")
    for index, shapes in enumerate(TRUTH):
        lines = [
            f"{CLASSES.index(c)} "
            + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)
            for c, corners in shapes
        ]
        (folder / "labels" / f"part-{index}.txt").write_text("\n".join(lines))
    return folder


FORMS = {
    "coco polygons": ("coco", coco_writer(polygon)),
    "coco compressed": ("coco", coco_writer(compressed)),
    "coco uncompressed": ("coco", coco_writer(uncompressed)),
    "masks index": ("masks", masks_writer("L", {"1": 1, "2": 2})),
    "masks palette": ("masks", masks_writer("P", {"1": 1, "2": 2})),
    "masks gray as RGB": ("masks", masks_writer("RGB", {"1": 1, "2": 2})),
    "masks 16 bits": ("masks", masks_writer("I;16", {"1": 1, "2": 2})),
    "masks named": ("masks", masks_writer("L", {"1": 120, "2": 255}, names=True)),
    "labelme": ("labelme", write_labelme),
    "yolo polygons": ("yolo", write_yolo),
}


def prepared(source: Path, out: Path, **options) -> Path:
    prepare.run(source, out=out, workers=0, split="0.4/0.3/0.3", console=QUIET, **options)
    return out


def defects(dataset: Path) -> set[tuple[str, ...]]:
    """The regions; they are numbered by class, in the order of the source."""
    rows = read_csv(dataset / "defects.csv")
    return {tuple(cell for key, cell in row.items() if key != "defect_id") for row in rows}


@pytest.fixture(scope="module")
def by_csv(tmp_path_factory) -> Path:
    """The truth, prepared from a CSV. Do not change."""
    folder = tmp_path_factory.mktemp("csv")
    write_images(folder)
    return prepared(write_csv_form(folder), folder / "dataset")


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


# Boxes


def write_voc(folder: Path, origin: int = 1) -> Path:
    (folder / "Annotations").mkdir()
    for index, shapes in enumerate(TRUTH):
        objects = "".join(
            f"<object><name>{c}</name><bndbox><xmin>{left + origin}</xmin><ymin>{top + origin}"
            f"</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for c, (left, top, right, bottom) in boxes(shapes)
        )
        text = (
            f"<annotation><filename>{name(index)}</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>1</depth></size>{objects}</annotation>"
        )
        (folder / "Annotations" / f"part-{index}.xml").write_text(text)
    return folder


def write_yolo_boxes(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "labels" / "classes.txt").write_text("1\n2\n")
    for index, shapes in enumerate(TRUTH):
        lines = [
            f"{CLASSES.index(c)} "
            f"{(left + right) / 2 / WIDTH:.6f} {(top + bottom) / 2 / HEIGHT:.6f} "
            f"{(right - left) / WIDTH:.6f} {(bottom - top) / HEIGHT:.6f}"
            for c, (left, top, right, bottom) in boxes(shapes)
        ]
        (folder / "labels" / f"part-{index}.txt").write_text("\n".join(lines))
    return folder


def write_coco_boxes(folder: Path) -> Path:
    document = coco_document(lambda *_: [])
    (folder / "boxes.json").write_text(json.dumps(document))
    return folder


def write_labelme_boxes(folder: Path) -> Path:
    write_labelme(folder)
    for index, shapes in enumerate(TRUTH):
        path = folder / "labels" / f"part-{index}.json"
        document = json.loads(path.read_text())
        for shape, (_, (left, top, right, bottom)) in zip(
            document["shapes"], boxes(shapes), strict=True
        ):
            shape.update(shape_type="rectangle", points=[[right, bottom], [left, top]])
        path.write_text(json.dumps(document))
    return folder


def boxes(shapes):
    for class_id, corners in shapes:
        xs, ys = zip(*corners, strict=True)
        yield class_id, (min(xs), min(ys), max(xs), max(ys))


BOX_FORMS = {
    "voc": write_voc,
    "voc from 0": lambda folder: write_voc(folder, origin=0),
    "yolo": write_yolo_boxes,
    "coco": write_coco_boxes,
    "labelme": write_labelme_boxes,
}


@pytest.mark.parametrize("form", BOX_FORMS)
def test_boxes_are_boxes_and_serve_box_alone(tmp_path, form, cli):
    write_images(tmp_path)
    out = prepared(BOX_FORMS[form](tmp_path), tmp_path / "out")
    info = read_json(out / "dataset.json")
    assert info["truth"] == "boxes"
    assert info["warnings"][0].startswith("the labels are boxes: they serve --approach box alone")
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
        assert f"holds boxes and no masks, so {approach} has no outlines" in ended.err
        assert "Use --approach box" in ended.err


def test_boxes_go_back_out_as_coco_alone(tmp_path):
    write_images(tmp_path)
    data = prepared(write_yolo_boxes(tmp_path), tmp_path / "out")
    for to in ("csv", "masks"):
        with pytest.raises(DatasetError, match=rf"holds boxes and no masks, which {to} cannot say"):
            convert.run(data, to=to, out=tmp_path / "new", console=QUIET)
    convert.run(data, to="coco", out=tmp_path / "boxes.json", console=QUIET)
    again = prepared(tmp_path / "boxes.json", tmp_path / "again")
    assert read_json(again / "dataset.json")["truth"] == "boxes"
    assert defects(again) == defects(data)


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
        ["a polygon has 4 numbers", "the point (90, 1) lies outside the image of 40x24",
         "it has only a box, where other annotations have outlines", "not that of an image",
         "category 3 is not listed", "not that of an image", "the outline covers no pixel"],
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
        ('{"images": [{"id": NaN}]}', "NaN is not a number"),
        ('{"images": [{"id": 1e999}]}', "1e999 is too large"),
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
    masks_writer("L", {"1": 1, "2": 255})(tmp_path)
    folder = tmp_path / "masks"
    noise = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    write_png(folder / name(6), noise)
    write_png(folder / name(7), np.zeros((WIDTH, HEIGHT), np.uint8))
    write_png(folder / name(8), np.stack([noise, noise, noise.T.reshape(noise.shape)], axis=2))
    (folder / name(9)).write_bytes((folder / name(0)).read_bytes()[:60])
    with pytest.raises(LabelError, match="rows of .*masks cannot be used"):
        prepared(folder, tmp_path / "out")
    reasons = {row["image_id"]: row["reason"] for row in read_csv(tmp_path / "out" / "ledger.csv")}
    assert "255 beside other values is not a class" in reasons[name(4)]
    assert "256 different values" in reasons[name(6)]
    assert "of an image of 24x40 pixels, but it has 40x24" in reasons[name(7)]
    assert "not colors (mode RGB)" in reasons[name(8)]
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


def test_an_existing_file_is_not_written_over(tmp_path, by_csv):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.csv is there already"):
        convert.run(by_csv, to="csv", out=tmp_path / "a.csv", console=QUIET)
