import pytest

from defectkit.labels.formats.voc import read_voc
from defectkit.labels.outlines import Box


def box(left, top, right, bottom, name="scratch"):
    edges = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
    inner = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges)
    return f"<object><name>{name}</name><bndbox>{inner}</bndbox></object>"


SIZE = "<size><width>30</width><height>20</height></size>"


@pytest.fixture
def read(tmp_path):
    def call(*bodies):
        files = [tmp_path / f"part{index}.xml" for index in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_text(f"<annotation>{body}</annotation>")
        return read_voc(tmp_path, files)

    return call


def test_pixels_count_from_1_and_the_last_belong_to_the_box(read):
    table = read(f"<filename>a.png</filename>{SIZE}{box(1, 1, 30, 20)}{box(5, 6, 7, 8, 'dent')}")
    assert [(row.image_id, row.class_id) for row in table.rows] == [
        ("a.png", "scratch"), ("a.png", "dent"),
    ]  # fmt: skip
    assert [row.outline for row in table.rows] == [
        Box(0, 0, 30, 20, (20, 30)), Box(4, 5, 7, 8, (20, 30)),
    ]  # fmt: skip
    assert "pixels from 1" in table.form
    assert table.kind == "boxes"


def test_where_any_edge_is_0_all_are_counted_from_0(read):
    table = read(SIZE + box(0, 3, 7, 8), SIZE + box(5, 6, 7, 8))
    assert [row.outline for row in table.rows] == [
        Box(0, 3, 7, 8, (20, 30)), Box(5, 6, 7, 8, (20, 30)),
    ]  # fmt: skip
    assert "edges from 0" in table.form


def test_the_image_is_named_by_the_file_or_by_the_label(read):
    table = read("<filename>C:\\photos\\a.jpg</filename>", "", box(1, 1, 3, 3))
    assert table.empty_files == {"part0": "a.jpg", "part1": "part1"}
    assert table.rows[0].image_id == "part2"
    assert table.rows[0].outline.size is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (box(1, 2, "x", 4), "bndbox/xmax 'x' is not a number"),
        ("<object><name>a</name></object>", "bndbox/xmin '' is not a number"),
        (box(1, 2, 3, 4, name=" "), "the annotation has no class"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(read, body, reason):
    table = read(SIZE + box(1, 1, 2, 2), body)
    assert len(table.rows) == 1
    (refused,) = table.refused
    assert reason in refused.reason


def test_a_size_of_0_is_not_known_and_corners_may_be_exchanged(read):
    size = "<size><width>0</width><height>0</height></size>"
    table = read(size + box(8, 9, 3, 4), "<size/>" + box("5.0", 6, 7, 8))
    assert [row.outline for row in table.rows] == [Box(2, 3, 8, 9), Box(4, 5, 7, 8)]


def test_another_kind_of_xml_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<svg/>")
    (refused,) = read_voc(tmp_path, [tmp_path / "a.xml"]).refused
    assert refused.reason == "a.xml: its root is 'svg' instead of 'annotation'"


def test_turned_boxes_are_refused_as_what_they_are(read):
    table = read("<object><name>a</name><robndbox><cx>5</cx></robndbox></object>")
    assert "its box is turned (robndbox)" in table.refused[0].reason
