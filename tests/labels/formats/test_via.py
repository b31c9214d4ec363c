import json

import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_table import read_table
from defectkit.labels.formats.via import is_via, is_via_table, read_via
from defectkit.labels.outlines import Box, Polygons, rasterize

TRIANGLE = {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [2, 2, 9]}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


@pytest.fixture
def read(tmp_path):
    def call(*regions, project=True, as_dict=False):
        listed = {str(i): one for i, one in enumerate(regions)} if as_dict else list(regions)
        images = {
            "a.png9": {"filename": "a.png", "size": 9, "regions": listed},
            "b.png9": {"filename": "b.png", "size": 9, "regions": []},
        }
        document = {"_via_settings": {}, "_via_img_metadata": images} if project else images
        assert is_via(document)
        (tmp_path / "via.json").write_text(json.dumps(document))
        return read_via(tmp_path / "via.json")

    return call


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("as_dict", [True, False])
def test_projects_and_exports_of_both_versions(read, project, as_dict):
    rect = {"name": "rect", "x": 2, "y": 3, "width": 7, "height": 5}
    table = read(
        region(TRIANGLE, type="dent"), region(rect, type="hole"), project=project, as_dict=as_dict
    )
    assert [(row.image_id, row.class_id) for row in table.rows] == [
        ("a.png", "dent"), ("a.png", "hole"),
    ]  # fmt: skip
    assert table.rows[0].outline == Polygons(((1, 2, 5, 2, 5, 9),))
    assert table.rows[1].outline == Box(2, 3, 9, 8)
    assert table.unlabeled == ("b.png",)


def test_circles_and_ellipses_are_filled(read):
    ellipse = {"name": "ellipse", "cx": 20, "cy": 20, "rx": 10, "ry": 4, "theta": np.pi / 2}
    circle = {"name": "circle", "cx": 20, "cy": 20, "r": 6}
    table = read(region(ellipse), region(circle))
    assert [row.class_id for row in table.rows] == ["1", "1"]  # no region has an attribute
    tall, round_ = (rasterize(row.outline, (40, 40))[0].to_mask((40, 40)) for row in table.rows)
    assert tall[10:30, 16:24].sum() == tall.sum() > 100
    assert abs(round_.sum() - np.pi * 36) < 5


@pytest.mark.parametrize(
    ("attributes", "class_id"),
    [
        ({"anything": "dent"}, "dent"),
        ({"note": "x", "class": "dent"}, "dent"),
        ({"note": "", "kind": "dent"}, "dent"),
        ({"type": {"dent": True, "hole": False}}, "dent"),
        ({"Defect": "dent", "size": "big"}, "dent"),
    ],
)
def test_the_class_is_the_attribute_that_says_so(read, attributes, class_id):
    assert read(region(TRIANGLE, **attributes)).rows[0].class_id == class_id


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (region(TRIANGLE, note="x", size="big"), "its class is not clear"),
        (region(TRIANGLE, type={"dent": True, "hole": True}), "its class is not clear"),
        (region(TRIANGLE), "the annotation has no class"),
        (region({"name": "polyline"}, a="x"), "'polyline' has no area"),
        (region({"name": "star"}, a="x"), "the shape 'star' is not one of VIA's"),
        (region({"name": "rect", "x": 1}, a="x"), "not a list of numbers"),
        (region({**TRIANGLE, "all_points_x": [1]}, a="x"), "it has 1 x and 3 y of points"),
    ],
)
def test_a_region_that_cannot_be_used_is_refused_alone(read, one, reason):
    table = read(region(TRIANGLE, a="dent"), one)
    assert len(table.rows) == 1
    assert reason in table.refused[0].reason


def test_the_csv_has_a_row_for_each_region(tmp_path):
    header = "filename,size,attributes,count,id,region_shape_attributes,region_attributes"
    shape = json.dumps(TRIANGLE).replace('"', '""')
    (tmp_path / "via.csv").write_text(
        f'{header}\na.png,9,"{{}}",1,0,"{shape}","{{""type"":""dent""}}"\n'
        'b.png,9,"{}",0,0,"{}","{}"\nc.png,9,"{}",1,0,"{bad","{}"\n'
    )
    assert is_via_table(header.split(","))
    table = read_table(tmp_path / "via.csv")
    assert [(row.image_id, row.class_id) for row in table.rows] == [("a.png", "dent")]
    assert table.unlabeled == ("b.png",)
    assert (table.refused[0].image_id, table.form) == ("c.png", "VIA CSV")
    assert table.refused[0].reason.startswith("line 4: ")


def test_other_json_is_refused(tmp_path):
    for document in ({"images": [], "annotations": []}, {}, [1], {"a": {"filename": "b"}}):
        assert not is_via(document)
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(LabelError, match="is not JSON of VIA"):
        read_via(tmp_path / "a.json")


def test_two_files_of_one_name_are_refused(tmp_path):
    document = {
        f"{name}{size}": {"filename": name, "size": size, "regions": regions}
        for name, size, regions in (
            ("x.png", 10, [region(TRIANGLE)]), ("x.png", 20, []), ("y.png", 10, []),
        )
    }  # fmt: skip
    (tmp_path / "via.json").write_text(json.dumps(document))
    table = read_via(tmp_path / "via.json")
    assert (table.rows, table.unlabeled) == ((), ("y.png",))
    assert [row.image_id for row in table.refused] == ["x.png", "x.png"]
    reason = "'x.png' is listed 2 times: the entry 'x.png10' and the entry 'x.png20'. If these are"
    assert all(reason in row.reason for row in table.refused)


@pytest.mark.parametrize("size", ["size", "file_size"])
def test_two_files_of_one_name_are_refused_in_the_csv_too(tmp_path, size):
    shape = json.dumps(TRIANGLE).replace('"', '""')
    rows = [f'{name},"{shape}","{{}}"' for name in ("x.png,10", "x.png,20", "y.png,10", "y.png,10")]
    header = f"filename,{size},region_shape_attributes,region_attributes"
    (tmp_path / "via.csv").write_text("\n".join([header, *rows]))
    table = read_table(tmp_path / "via.csv")
    assert [row.image_id for row in table.rows] == ["y.png", "y.png"]
    assert "listed 2 times: with 10 bytes and with 20 bytes" in table.refused[1].reason
