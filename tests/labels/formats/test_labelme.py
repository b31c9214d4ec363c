import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from defectkit.errors import LabelError
from defectkit.labels.formats.labelme import read_labelme
from defectkit.labels.outlines import Box, Polygons, rasterize

SIZE = (20, 30)


@pytest.fixture
def read(tmp_path):
    def call(*shapes, image="part.png", folder="lot", **changes):
        file = tmp_path / folder / "part.json"
        file.parent.mkdir(exist_ok=True)
        document = {
            "imagePath": image, "imageHeight": SIZE[0], "imageWidth": SIZE[1],
            "shapes": list(shapes),
            **changes,
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
        (shape([[1, 2]], "circle"), "the shape 'circle' with 1 points is neither polygon nor"),
        (shape([[1, 2], [3, 4]], "line"), "the shape 'line' has no area: draw a polygon"),
        (shape([[1, 2]], "point"), "the shape 'point' has no area"),
        (shape([[1, 2], [1, 2]], "circle"), "its radius is not above 0"),
        (shape([[1, 2], [3, 4]], "mask"), "'mask' is missing"),
        ({**shape([[1, 2], [3, 4]], "mask"), "mask": "bm8="}, "its mask is no readable PNG"),
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
    (refused,) = read(shapes=None).refused
    assert refused.image_id == "lot/part"
    assert refused.reason.startswith("part.json: 'shapes' is missing")


def test_sizes_and_the_path_may_be_missing(read):
    table = read(shape([[1, 2], [5, 2], [5, 9]]), imageHeight=None, imageWidth=0, imagePath=None)
    assert table.rows[0].outline.size is None
    assert table.rows[0].image_id == "lot/part"


def test_a_rectangle_of_four_corners_is_a_box_or_turned(read):
    table = read(shape([[2, 3], [9, 3], [9, 8], [2, 8]], "rectangle"))
    assert table.rows[0].outline == Box(2, 3, 9, 8, SIZE)
    corners = [[5, 1], [9, 5], [5, 9], [1, 5]]
    for kind in ("rectangle", "rotation"):
        table = read(shape(corners, kind))
        assert table.rows[0].outline == Polygons(((5, 1, 9, 5, 5, 9, 1, 5),), SIZE)


def test_a_circle_is_its_center_and_a_point_on_it(read):
    runs, _ = rasterize(read(shape([[10, 10], [10, 16]], "circle")).rows[0].outline, SIZE)
    mask = runs.to_mask(SIZE)
    assert mask[4:16, 4:16].sum() == mask.sum()
    assert abs(mask.sum() - np.pi * 36) < 5


def test_a_mask_is_a_png_between_its_first_and_last_pixel(read):
    pixels = np.zeros((3, 4), np.uint8)
    pixels[1:, 2:] = 1
    file = io.BytesIO()
    Image.fromarray(pixels > 0).save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    table = read({**shape([[5.0, 6.0], [8.0, 8.0]], "mask"), "mask": encoded})
    runs, _ = rasterize(table.rows[0].outline, SIZE)
    expected = np.zeros(SIZE, np.uint8)
    expected[7:9, 7:9] = 1
    np.testing.assert_array_equal(runs.to_mask(SIZE), expected)
    with pytest.raises(LabelError, match="of its 2 points are outside the image"):
        rasterize(replace(table.rows[0].outline, left=27), SIZE)
    runs, note = rasterize(replace(table.rows[0].outline, left=27), SIZE, clip=True)
    assert runs.lengths.sum() == 2
    assert "are cut at its border" in note


def test_no_files_are_no_labels(tmp_path):
    with pytest.raises(LabelError, match="has no annotations"):
        read_labelme(tmp_path, [])


@pytest.mark.parametrize(
    ("flags", "is_good"),
    [({"NG": True, "OK": False}, False), ({"NG": False, "OK": True}, True), ({}, True), (0, True)],
)
def test_an_image_that_is_flagged_as_bad_without_a_shape_is_refused(read, flags, is_good):
    table = read(flags=flags)
    assert [row.reason[:27] for row in table.refused] == ["the image is called 'NG', b"] * (
        not is_good
    )
    assert not any(row.outline.rle for row in table.rows)
    assert not read(shape([[1, 2], [5, 2], [5, 9]]), flags=flags).refused


def test_labels_of_labelme_itself_are_no_classes(read):
    ring = [[1, 2], [5, 2], [5, 9]]
    ignored, background = read(
        shape(ring, label="__ignore__"), shape(ring, label="_background_")
    ).rows
    assert ignored.ignored
    assert ignored.note == "__ignore__: these pixels are ignored"
    assert (background.class_id, background.outline.rle) == ("", "")
