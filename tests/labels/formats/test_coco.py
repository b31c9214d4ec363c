import json

import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.coco import read_coco
from defectkit.labels.outlines import Box, CocoMask, Polygons

IMAGES = [
    {"id": 7, "file_name": "a.png", "height": 20, "width": 30},
    {"id": "x", "file_name": "b.png"},
    {"id": 9, "file_name": "good.png", "height": 20, "width": 30},
]
CATEGORIES = [{"id": 3, "name": "scratch"}, {"id": 4, "name": "stain"}]
TRIANGLE = [1, 2, 5, 2, 5, 9.5]


@pytest.fixture
def read(tmp_path):
    def call(*annotations, images=IMAGES, categories=CATEGORIES):
        path = tmp_path / "labels.json"
        document = {"images": images, "categories": categories, "annotations": annotations}
        path.write_text(json.dumps(document))
        return read_coco(path)

    return call


def shape(image_id=7, category_id=3, **kind):
    return {"id": 1, "image_id": image_id, "category_id": category_id, **kind}


def test_polygons_masks_and_images_without_either(read):
    table = read(
        shape(segmentation=[TRIANGLE, TRIANGLE]),
        shape(segmentation={"counts": "abc", "size": [20, 30]}),
        shape("x", 4, segmentation={"counts": [0, 600], "size": [20, 30]}),
    )
    assert [(row.line, row.image_id, row.class_id) for row in table.rows] == [
        (1, "a.png", "scratch"), (2, "a.png", "scratch"), (3, "b.png", "stain"),
    ]  # fmt: skip
    assert [row.outline for row in table.rows] == [
        Polygons((tuple(TRIANGLE), tuple(TRIANGLE)), (20, 30)),
        CocoMask("abc", (20, 30)),
        CocoMask((0, 600), (20, 30)),
    ]
    assert table.unlabeled == ("good.png",)
    assert (table.form, table.kind, table.refused) == ("COCO JSON", "masks", ())


def test_the_box_beside_polygons_is_kept_if_it_is_one(read):
    boxes = ([1, 2, 5, 8.5], None, [1, 2], ["1", 2, 3, 4])
    table = read(*(shape(segmentation=[TRIANGLE], bbox=box) for box in boxes))
    assert [row.outline.box_sides for row in table.rows] == [(5, 8.5), None, None, None]


def test_boxes_alone_are_boxes(read):
    table = read(shape(segmentation=[], bbox=[1, 2, 10, 5.5]), shape("x", bbox=[0, 0, 3, 3]))
    assert table.kind == "boxes"
    assert table.rows[0].outline == Box(1, 2, 11, 7.5, (20, 30))
    assert table.rows[1].outline == Box(0, 0, 3, 3)  # the image's size is not known


def test_fields_that_nobody_needs_may_be_anything(read):
    table = read(
        shape("7", 3.0, segmentation=TRIANGLE, area=float("nan"), bbox=[float("inf")]),
        shape(7.0, "3", segmentation=[[[1, 2], [5, 2], [5, 9.5]]], iscrowd=1),
        images=[{**IMAGES[0], "height": "20", "width": 30.0, "license": None}],
    )
    assert [row.outline for row in table.rows] == [Polygons((tuple(TRIANGLE),), (20, 30))] * 2
    assert [row.note for row in table.rows] == [
        "",
        "marked as a crowd (iscrowd) and read as a defect",
    ]


@pytest.mark.parametrize("size", [{"height": 0, "width": 0}, {"height": None, "width": None}, {}])
def test_a_size_may_be_missing(read, size):
    table = read(shape(segmentation=[TRIANGLE]), images=[{"id": 7, "file_name": "a.png", **size}])
    assert table.rows[0].outline.size is None


def test_categories_of_one_name_are_one_class_and_may_be_missing(read):
    twins = [{"id": 3, "name": "scratch"}, {"id": 4, "name": " scratch"}, {"id": 5}]
    shapes = [shape(7, number, segmentation=[TRIANGLE]) for number in (3, 4, 5)]
    table = read(*shapes, categories=twins)
    assert [row.class_id for row in table.rows] == ["scratch", "scratch", "5"]
    assert table.notes == ("2 categories are called 'scratch' and are one class",)
    table = read(*shapes, categories=None)
    assert [row.class_id for row in table.rows] == ["3", "4", "5"]
    assert table.notes == ("no categories are listed: the classes are called by their numbers",)


def test_an_image_may_be_listed_again(read):
    assert read(images=[*IMAGES, IMAGES[0]]).unlabeled == ("a.png", "b.png", "good.png")


@pytest.mark.parametrize("annotations", [{}, {"annotations": None}, {"annotations": {}}])
def test_images_are_good_only_where_a_list_of_annotations_says_so(tmp_path, annotations):
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"images": IMAGES, "categories": [], **annotations}))
    with pytest.raises(LabelError, match=r"b.json is not usable COCO JSON: 'annotations' is miss"):
        read_coco(path)
    path.write_text(json.dumps({"images": IMAGES, "categories": [], "annotations": []}))
    assert len(read_coco(path).unlabeled) == 3


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (shape(8, segmentation=[TRIANGLE]), "image_id is not the id of a listed image"),
        (shape(7, 5, segmentation=[TRIANGLE]), "category 5 is not listed"),
        (shape(7, True, segmentation=[TRIANGLE]), "'category_id' is missing"),
        (shape(segmentation={"counts": "a", "size": [30, 20]}), r"RLE, \[30, 20\], is not that"),
        (shape(segmentation={"size": [20, 30]}), "'counts' is missing"),
        (shape(segmentation="abc"), "neither polygons nor an RLE"),
        (shape(segmentation=[["1", "2"]]), "not a list of numbers"),
        (shape(bbox=[1, 2, 3]), "four numbers x, y, width and height"),
        (shape(), "not a list of numbers"),
        ("text", "image_id is not the id of a listed image"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_refused_alone(read, annotation, reason):
    table = read(shape(segmentation=[TRIANGLE]), annotation)
    assert len(table.rows) == 1
    (refused,) = table.refused
    assert refused.line == 2
    with pytest.raises(LabelError, match=reason):
        raise LabelError(refused.reason)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [*IMAGES, {"id": 7, "file_name": "c.png"}]}, "two images have the id '7'"),
        (
            {"images": [*IMAGES, {"id": 8, "file_name": "a.png"}]},
            "two images .* or the name 'a.png'",
        ),
        (
            {"categories": [*CATEGORIES, {"id": 3, "name": "dent"}]},
            "two categories have the id '3'",
        ),
        ({"images": {"id": 7}}, "'images' is missing or is not of the right kind"),
    ],
)
def test_ids_that_are_there_twice_are_refused(read, changes, message):
    with pytest.raises(LabelError, match=message):
        read(shape(segmentation=[TRIANGLE]), **changes)


@pytest.mark.parametrize("document", [{"classes": [], "tags": []}, {"objects": [], "size": {}}])
def test_files_of_supervisely_are_known(tmp_path, document):
    (tmp_path / "meta.json").write_text(json.dumps(document))
    with pytest.raises(LabelError, match="is JSON of Supervisely. Export the project as COCO"):
        read_coco(tmp_path / "meta.json")
