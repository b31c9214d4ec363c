import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.cvat import is_cvat, read_cvat
from defectkit.labels.outlines import Box, Polygons, rasterize

SIZE = (20, 30)


@pytest.fixture
def read(tmp_path):
    def call(*shapes, root="annotations"):
        path = tmp_path / "annotations.xml"
        path.write_text(
            f'<?xml version="1.0" encoding="utf-8"?><{root}><meta><task/></meta>'
            f'<image id="0" name="lot/a.png" width="30" height="20">{"".join(shapes)}</image>'
            f'<image id="1" name="b.png" width="30" height="20"><tag label="ok"/></image></{root}>'
        )
        return read_cvat(path)

    return call


def test_the_shapes_of_an_image_and_images_without_any(read):
    table = read(
        '<polygon label="dent" points="1.00,2.00;5.50,2.00;5.00,9.00" z_order="0"/>',
        '<box label="hole" xtl="2" ytl="3" xbr="9.5" ybr="8"/>',
    )
    assert [(row.image_id, row.class_id) for row in table.rows] == [
        ("lot/a.png", "dent"), ("lot/a.png", "hole"),
    ]  # fmt: skip
    assert table.rows[0].outline == Polygons(((1, 2, 5.5, 2, 5, 9),), SIZE)
    assert table.rows[1].outline == Box(2, 3, 9.5, 8, SIZE)
    assert table.unlabeled == ("b.png",)
    assert is_cvat(table.path)


def test_a_mask_runs_along_the_rows_of_its_box(read):
    table = read('<mask label="a" rle="1, 2, 3" left="4" top="5" width="3" height="2"/>')
    runs, _ = rasterize(table.rows[0].outline, SIZE)
    expected = np.zeros(SIZE, np.uint8)
    expected[5, 5:7] = 1
    np.testing.assert_array_equal(runs.to_mask(SIZE), expected)


def test_boxes_may_be_turned_and_ellipses_are_filled(read):
    table = read(
        '<box label="a" xtl="4" ytl="8" xbr="14" ybr="12" rotation="90"/>',
        '<ellipse label="a" cx="15" cy="10" rx="6" ry="3"/>',
    )
    turned, ellipse = (rasterize(row.outline, SIZE)[0].to_mask(SIZE) for row in table.rows)
    expected = np.zeros(SIZE, np.uint8)
    expected[5:15, 7:11] = 1
    np.testing.assert_array_equal(turned, expected)
    assert abs(ellipse.sum() - np.pi * 18) < 5


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('<polyline label="a" points="1,2;3,4"/>', "'polyline' has no area: draw a polygon"),
        ('<cuboid label="a"/>', "'cuboid' is neither polygon, box, ellipse nor mask"),
        ('<polygon label="a" points="1,x"/>', "'1,x' is not a list of numbers"),
        ('<polygon points="1,2;3,4;5,6"/>', "the annotation has no class"),
        ('<box label="a" xtl="1" ytl="2" xbr="3"/>', "its ybr '' is not a number"),
        ('<mask label="a" rle="1, 2" left="4" top="5" width="3" height="2"/>', "do not sum to its"),
        ('<mask label="a" rle="1" left="4" top="5" width="1e9" height="1e9"/>', "or too large"),
        ('<mask label="a" rle="-1, 7" left="4" top="5" width="3" height="2"/>', "its mask are not"),
        ('<box label="a" xtl="1" ytl="2" xbr="3" ybr="4" rotation="x"/>', "rotation 'x' is not a"),
        ('<ellipse label="a" cx="9" cy="9" rx="6" ry="3" rotation="inf"/>', "rotation 'inf' is"),
        ('<mask label="a" rle="1" left="4" top="5" width="2e4" height="2e4"/>', "its mask are not"),
        ('<mask label="a" rle="1.5,2.5" left="4" top="5" width="2" height="2"/>', "1.5 of its"),
        ('<mask label="a" rle="4,inf" left="4" top="5" width="2" height="2"/>', "inf of its mask"),
        ('<mask label="a" rle="1,3" left="4.5" top="5" width="2" height="2"/>', "4.5 of its mask"),
        ('<mask label="a" rle="1" left="nan" top="5" width="3" height="2"/>', "its left 'nan' is"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_used_is_refused_alone(read, shape, reason):
    table = read('<polygon label="dent" points="1,2;5,2;5,9"/>', shape)
    assert len(table.rows) == 1
    assert reason in table.refused[0].reason


def test_other_xml_is_refused(read, tmp_path):
    with pytest.raises(LabelError, match="is not CVAT XML for images: its root is 'annotation'"):
        read(root="annotation")
    assert not is_cvat(tmp_path / "annotations.xml")
    (tmp_path / "video.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(LabelError, match="tracks of a video. Export the task as 'CVAT for images'"):
        read_cvat(tmp_path / "video.xml")


def test_an_image_that_is_called_bad_without_a_shape_is_refused(read):
    table = read('<tag label="NG"/>')
    assert table.unlabeled == ("b.png",)
    assert table.refused[0].image_id == "lot/a.png"
    assert "called 'NG', but no shape says where the defect is" in table.refused[0].reason
    assert not read('<tag label="NG"/>', '<polygon label="a" points="1,2;5,2;5,9"/>').refused


def test_two_images_of_one_name_are_refused(read):
    triangle = '<polygon label="a" points="1,2;5,2;5,9"/>'
    table = read(f'{triangle}</image><image id="7" name="lot/a.png">{triangle}')
    assert (table.rows, table.unlabeled) == ((), ("b.png",))
    assert [row.image_id for row in table.refused] == ["lot/a.png"] * 2
    reason = "'lot/a.png' is listed 2 times: <image> 1 (id '0') and <image> 2 (id '7'). If these"
    assert all(reason in row.reason for row in table.refused)
