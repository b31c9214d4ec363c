import json

import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.label_studio import is_label_studio, read_label_studio
from defectkit.labels.outlines import Box, Polygons, rasterize

SIZE = (20, 50)
TRIANGLE = {"points": [[2, 10], [10, 10], [10, 45]], "polygonlabels": ["dent"]}


def result(value, kind="polygonlabels", **changes):
    item = {"id": "x", "type": kind, "original_width": 50, "original_height": 20, "value": value}
    return {**item, **changes}


def task(*results, link="/data/upload/3/0a1b2c3d-a.png", **changes):
    made = [{"result": list(results), "was_cancelled": False}]
    return {"id": 1, "data": {"image": link}, "annotations": made, **changes}


@pytest.fixture
def read(tmp_path):
    def call(*tasks):
        assert is_label_studio(list(tasks))
        (tmp_path / "project.json").write_text(json.dumps(tasks))
        return read_label_studio(tmp_path / "project.json")

    return call


def test_numbers_are_percents_of_the_sides(read):
    box = {"x": 4, "y": 10, "width": 21, "height": 50, "rotation": 0, "rectanglelabels": ["hole"]}
    table = read(task(result(TRIANGLE), result(box, "rectanglelabels", id="y")))
    assert [(row.image_id, row.class_id) for row in table.rows] == [
        ("a.png", "dent"), ("a.png", "hole"),
    ]  # fmt: skip
    ring = (0.02, 0.1, 0.1, 0.1, 0.1, 0.45)
    assert table.rows[0].outline == Polygons((ring,), SIZE, relative=True)
    assert table.rows[1].outline == Box(0.04, 0.1, 0.25, 0.6, SIZE, relative=True)


def test_turned_rectangles_and_ellipses(read):
    turned = {"x": 40, "y": 10, "width": 20, "height": 20, "rotation": 90, "labels": ["a"]}
    ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 40, "ellipselabels": ["a"]}
    table = read(task(result(turned, "rectangle"), result(ellipse, "ellipselabels", id="y")))
    box, round_ = (rasterize(row.outline, SIZE)[0].to_mask(SIZE) for row in table.rows)
    expected = np.zeros(SIZE, np.uint8)
    expected[2:12, 16:20] = 1
    np.testing.assert_array_equal(box, expected)
    assert abs(round_.sum() - np.pi * 5 * 8) < 6


@pytest.mark.parametrize(
    ("link", "image_id"),
    [
        ("/data/upload/3/0a1b2c3d-a b.png", "a b.png"),
        ("/data/local-files/?d=lot1/a.png", "lot1/a.png"),
        ("s3://bucket/lot1/a.png", "lot1/a.png"),
        ("https://host/x/a%20b.JPG?token=1", "x/a b.JPG"),
        ("C:\\photos\\a.png", "/photos/a.png".lstrip("/")),
    ],
)
def test_the_link_names_the_image(read, link, image_id):
    assert read(task(link=link)).unlabeled == (image_id,)


def test_a_link_that_is_none_is_refused(read):
    (refused,) = read(task(link="https://[host/a.png")).refused
    assert "'https://[host/a.png' is not a link" in refused.reason


def test_what_was_not_annotated_is_not_good(read):
    table = read(
        task(), task(link="b.png", annotations=[]),
        task(link="c.png", annotations=[{"result": [], "was_cancelled": True}]),
    )  # fmt: skip
    assert table.unlabeled == ("a.png",)
    assert "2 tasks that nobody has annotated yet are left out" in table.notes


def test_of_several_annotations_the_ground_truth_counts(read):
    first = {"result": [result(TRIANGLE)]}
    empty = {"result": []}
    (refused,) = read(task(annotations=[first, empty])).refused
    assert (refused.image_id, refused.reason[:27]) == ("a.png", "its task has 2 annotations.")
    table = read(task(annotations=[empty, {**first, "ground_truth": True}]))
    assert len(table.rows) == 1


def test_json_min_and_shapes_whose_label_is_beside_them(read):
    flat = {"id": 1, "image": "/data/upload/1/a.png", "annotator": 1, "annotation_id": 2,
            "label": [{**TRIANGLE, "original_width": 50, "original_height": 20}]}  # fmt: skip
    assert [row.class_id for row in read(flat).rows] == ["dent"]
    by_hand = {key: flat[key] for key in ("id", "image", "label")}
    assert read(by_hand).rows == read(flat).rows
    points = {"points": TRIANGLE["points"]}
    labeled = result({**points, "labels": ["dent"]}, "labels")
    choice = {"id": "z", "type": "choices", "value": {"choices": ["bad"]}}
    table = read(task(result(points, "polygon"), labeled, choice))
    assert ([row.class_id for row in table.rows], table.refused) == (["dent"], ())


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (result({**TRIANGLE, "polygonlabels": []}), "has 0 labels instead of one"),
        (result({**TRIANGLE, "polygonlabels": ["a", "b"]}), "has 2 labels instead of one"),
        (result(TRIANGLE, image_rotation=90), "its image was turned in Label Studio"),
        (result({"rle": [1], "brushlabels": ["a"]}), "its brush mask is cut off"),
        (result({"rle": [1], "labels": ["a"]}, original_width=0), "the size of its image"),
        (result({"x": 1, "rectanglelabels": ["a"]}), "not a list of numbers"),
        (result({"points": [[1]], "polygonlabels": ["a"]}), "does not have two numbers"),
        ("text", "has 0 labels"),
    ],
)
def test_a_shape_that_cannot_be_used_is_refused_alone(read, one, reason):
    table = read(task(result(TRIANGLE), {**one, "id": "y"} if isinstance(one, dict) else one))
    assert len(table.rows) == 1
    assert reason in table.refused[0].reason


def test_other_json_is_refused(tmp_path):
    for document in ([], {}, [1], [{"a": 1}]):
        assert not is_label_studio(document)
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(LabelError, match="is not JSON of Label Studio"):
        read_label_studio(tmp_path / "a.json")


@pytest.mark.parametrize(("choice", "is_good"), [("NG", False), ("OK", True), ("no defect", True)])
def test_an_image_that_is_called_bad_without_a_shape_is_refused(read, choice, is_good):
    chosen = {"type": "choices", "from_name": "q", "value": {"choices": [choice]}}
    table = read(task(chosen))
    assert table.unlabeled == (("a.png",) if is_good else ())
    assert [row.image_id for row in table.refused] == ([] if is_good else ["a.png"])
    assert not read(task(chosen, result(TRIANGLE))).refused


def test_of_several_images_the_one_that_the_results_name_is_labeled(read):
    data = {"ref": "golden.png", "image": "a.png"}
    other = {"ref": "golden.png", "image": "b.png"}
    table = read(task(result(TRIANGLE, to_name="image"), data=data), task(data=other))
    assert [row.image_id for row in table.rows] == ["a.png"]
    assert table.unlabeled == ("b.png",)
    assert "several images" in read(task(result(TRIANGLE), data=data)).refused[0].reason


MINIMAL = {"id": 1, "image": "/data/upload/1/0a1b2c3d-a.png", "annotator": 1, "annotation_id": 2,
           "created_at": "2024-01-02T03:04:05Z", "lead_time": 1.5}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "is_good"),
    [
        ({}, True),
        ({"label": [], "quality": "OK", "agreement": "x"}, True),
        ({"quality": {"choices": ["good", "ok"]}}, True),
        ({"quality": "Defect"}, False),
        ({"quality": {"choices": ["OK", "Defect"]}}, False),
        ({"quality": ["Defect", "dirty"]}, False),
        ({"kinds": [{"taxonomy": [["Defect", "scratch"]]}]}, False),
        ({"label": [{"x": 1, "rectanglelabels": ["Defect"]}]}, False),
    ],
)
def test_json_min_does_not_call_an_image_good_against_a_word_about_it(read, more, is_good):
    table = read({**MINIMAL, **more})
    assert table.unlabeled == (("a.png",) if is_good else ())
    assert [row.image_id for row in table.refused] == ([] if is_good else ["a.png"])
    assert is_good or "'Defect'" in table.refused[0].reason
    shape = {**TRIANGLE, "original_width": 50, "original_height": 20}
    assert not read({**MINIMAL, **more, "shapes": [shape]}).refused


def test_several_items_of_one_image_are_refused_in_all_exports(read):
    shape = {**TRIANGLE, "original_width": 50, "original_height": 20}
    by_two = read({**MINIMAL, "label": [shape]}, {**MINIMAL, "annotator": 2, "label": []})
    repeated = read(task(result(TRIANGLE)), task())
    uploads = read(
        task(result(TRIANGLE), link="/data/upload/1/aaaaaaaa-a.png"),
        task(result(TRIANGLE), link="/data/upload/1/bbbbbbbb-a.png"),
    )
    for table in (by_two, repeated, uploads):
        assert (table.rows, table.unlabeled) == ((), ())
        assert [row.image_id for row in table.refused] == ["a.png"] * 2
        assert "'a.png' is listed 2 times: task 1 (/data/upload/" in table.refused[1].reason
    assert "task 2 (/data/upload/1/bbbbbbbb-a.png)" in uploads.refused[0].reason
    waiting = task(link="/data/upload/1/bbbbbbbb-a.png", annotations=[])
    assert len(read(task(result(TRIANGLE)), waiting).refused) == 1
