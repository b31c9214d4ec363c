import json

import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.labelme import read_labelme
from defectkit.labels.outlines import Box, Polygons

SIZE = (20, 30)


@pytest.fixture
def read(tmp_path):
    def call(*shapes, image="part.png", folder="lot", **changes):
        file = tmp_path / folder / "part.json"
        file.parent.mkdir(exist_ok=True)
        document = {
            "imagePath": image, "imageHeight": SIZE[0], "imageWidth": SIZE[1],
            "shapes": list(shapes), **changes,
        }  # fmt: skip
        file.write_text(json.dumps(document))
        return read_labelme(tmp_path, [file])

    return call


def shape(points, kind="polygon", label="scratch"):
    return {"label": label, "shape_type": kind, "points": points}


def test_a_polygon_is_the_list_of_its_points(read):
    table = read(shape([[1, 2], [5.5, 2], [5, 9]]))
    assert table.rows[0].image_id == "lot/part.png"
    assert table.rows[0].class_id == "scratch"
    assert table.rows[0].outline == Polygons(((1, 2, 5.5, 2, 5, 9),), SIZE)
    assert (table.form, table.kind) == ("labelme JSON", "masks")


def test_a_rectangle_has_any_two_opposite_corners(read):
    table = read(shape([[9, 8], [2, 3]], "rectangle"), shape([[2, 8], [9, 3]], "rectangle"))
    assert [row.outline for row in table.rows] == [Box(2, 3, 9, 8, SIZE)] * 2
    assert table.kind == "boxes"


@pytest.mark.parametrize("path", ["C:\\photos\\part.png", "../photos/part.png", "part.png"])
def test_the_image_lies_beside_its_label_wherever_it_was_drawn(read, path):
    assert list(read(image=path).empty_files.values()) == ["lot/part.png"]
    assert list(read(image=path, folder=".").empty_files.values()) == ["part.png"]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (shape([[1, 2], [3, 4]], "circle"), "the shape 'circle' is neither polygon nor rectangle"),
        (shape([[1, 2], [3, 4], [5, 6]], "rectangle"), "the shape 'rectangle'"),
        (shape([[1, 2, 3]]), "a point does not have two numbers"),
        (shape([1, 2]), "not a list of numbers"),
        ({"points": [[1, 2]]}, "'label' is missing"),
        ("text", "'label' is missing"),
    ],
)
def test_a_shape_that_cannot_be_used_is_refused_alone(read, one, reason):
    table = read(shape([[1, 2], [5, 2], [5, 9]]), one)
    assert len(table.rows) == 1
    (refused,) = table.refused
    assert (refused.line, refused.image_id) == (2, "lot/part.png")
    assert reason in refused.reason


def test_a_file_that_is_not_labelmes_is_refused_under_its_own_name(read):
    (refused,) = read(imageHeight="20").refused
    assert refused.image_id == "lot/part"
    assert refused.reason.startswith("part.json: 'imageHeight' is missing")


def test_no_files_are_no_labels(tmp_path):
    with pytest.raises(LabelError, match="has no annotations"):
        read_labelme(tmp_path, [])
