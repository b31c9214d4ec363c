import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_boxes import BoxColumns, find_box_columns, read_box, scale_boxes
from defectkit.labels.formats.csv_table import has_boxes, read_table
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow

BLANKS = frozenset({"", "nan"})


@pytest.fixture
def table(tmp_path):
    def read(text):
        (tmp_path / "boxes.csv").write_text(text)
        return read_table(tmp_path / "boxes.csv")

    return read


SIZED = Box(4, 5, 9, 8, (20, 30))
PLAIN = Box(4, 5, 9, 8)


@pytest.mark.parametrize(
    ("header", "row", "box"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,30,20,dent,4,5,9,8", SIZED),
        ("class,x_min,y_min,x_max,y_max,image", "dent,4,5,9,8,a.png", PLAIN),
        ("path,x1,y1,x2,y2,class_name", "a.png,9,8,4,5,dent", PLAIN),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax", "a.png,dent,4,9,5,8", PLAIN),
        ("image_id,left,top,right,bottom,label", "a.png,4,5,9,8,dent", PLAIN),
        ("image_id,x,y,w,h,width,height,class", "a.png,4,5,5,3,30,20,dent", SIZED),
        ("image_id,x,y,width,height,class", "a.png,4,5,5,3,dent", PLAIN),
        ("image,bbox_x,bbox_y,bbox_width,bbox_height,label", "a.png,4,5,5,3,dent", PLAIN),
        ("image_id,width,height,bbox,class", 'a.png,30,20,"[4.0, 5.0, 5.0, 3.0]",dent', SIZED),
        ("image_id,class,x_center,y_center,width,height", "a.png,dent,6.5,6.5,5,3", PLAIN),
    ],
)
def test_the_columns_say_what_the_numbers_are(table, header, row, box):
    read = table(f"{header}\n{row}\n")
    assert read.refused == ()
    (only,) = read.rows
    assert (only.image_id, only.class_id, only.outline) == ("a.png", "dent", box)
    assert (read.kind, only.rle) == ("boxes", "")
    assert "in pixels" in read.form


def test_tables_without_a_header_and_with_decimal_commas(table):
    read = table("lot/a.png,4,5,9,8,dent\nlot/b.png,,,,,\n")
    assert [(row.line, row.image_id, row.class_id, row.outline) for row in read.rows] == [
        (1, "lot/a.png", "dent", PLAIN), (2, "lot/b.png", "", None),
    ]  # fmt: skip
    read = table("sep=;\nfilename;xmin;ymin;xmax;ymax;class\na;4,5;5;9;8;dent\n")
    assert read.rows[0].outline == Box(4.5, 5, 9, 8)
    assert read.rows[0].line == 3


def test_a_row_without_a_box_is_a_good_image(table):
    read = table("filename,xmin,ymin,xmax,ymax,class\na,1,2,3,4,dent\nb,,,,,\nc,nan,nan,nan,nan,\n")
    assert [row.image_id for row in read.rows if row.outline is None] == ["b", "c"]
    assert read.refused == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,1,2,x,4,dent", "'x' is not a number of its box"),
        ("a,1,2,,4,dent", "'' is not a number of its box"),
        ("a,1,2,3,4,", "the row has a box but no class"),
        ("a,1,2,3,1e999x,dent", "'1e999x' is not a number"),
        ("a,1,2,3", "the row has 4 cells instead of 6"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_alone(table, row, reason):
    read = table(f"filename,xmin,ymin,xmax,ymax,class\na,1,2,3,4,dent\n{row}\n")
    assert len(read.rows) == 1
    assert read.refused[0].line == 3
    assert reason in read.refused[0].reason


def test_four_numbers_in_one_cell_are_all_there():
    columns = BoxColumns("corner and sides", (0,), None)
    assert read_box(["4 5 5 3"], columns, BLANKS) == PLAIN
    with pytest.raises(LabelError, match=r"'\[4, 5, 5\]' is not a number of its box, or not all"):
        read_box(["[4, 5, 5]"], columns, BLANKS)


def test_other_tables_have_no_boxes():
    assert find_box_columns(["imageid", "encodedpixels"]) is None
    assert find_box_columns(["xmin", "ymin", "xmax"]) is None
    assert find_box_columns(["x", "y", "width", "height"]).size is None


def test_numbers_up_to_1_are_fractions(table):
    rows = [LabelRow(1, "a", "1", "", Box(0.1, 0.2, 0.5, 1)), LabelRow(2, "b", "", "")]
    scaled, unit = scale_boxes(rows)
    assert scaled == [LabelRow(1, "a", "1", "", Box(0.1, 0.2, 0.5, 1, relative=True)), rows[1]]
    assert unit == "in fractions of the sides"
    pixel = [LabelRow(1, "a", "1", "", Box(0, 0, 1, 1))]
    assert scale_boxes(pixel) == (pixel, "in pixels")


def test_a_table_of_boxes_without_classes_has_one(table):
    assert table("image,x1,y1,x2,y2\na,1,2,3,4\n").rows[0].class_id == "1"


def test_a_table_of_boxes_is_known_by_its_header(tmp_path):
    for text, expected in (
        ("image,x1,y1,x2,y2\n", True), ("ImageId,EncodedPixels\na,1 3\n", False),
        ("filename,region_shape_attributes,region_attributes\n", True), ("", False),
    ):  # fmt: skip
        (tmp_path / "a.csv").write_text(text)
        assert has_boxes(tmp_path / "a.csv") == expected


def test_an_rle_beside_a_box_counts(table):
    read = table("image,rle,x1,y1,x2,y2\na,1 3,1,2,3,4\n")
    assert (read.kind, read.rows[0].rle) == ("masks", "1 3")


def test_a_class_without_a_box_is_refused_unless_it_says_good(table):
    read = table(
        "image,class,xmin,ymin,xmax,ymax\na.png,dent,,,,\nb.png,No finding,,,,\nc.png,,,,,\n"
        "d.png,dent,1,2,3,4\n"
    )
    assert [(row.image_id, row.class_id) for row in read.rows] == [
        ("b.png", ""), ("c.png", ""), ("d.png", "dent"),
    ]  # fmt: skip
    assert "the class 'dent' has no box" in read.refused[0].reason


def test_it_is_said_that_x_and_y_are_a_corner_unless_it_is_certain(table):
    text = "image,x,y,width,height,class\na.png,40,50,10,12,dent\n"
    assert table(text).notes[0].startswith("x and y are read as the left top corner of a box")
    assert table(text).rows[0].outline == Box(40, 50, 50, 62)
    assert table(text + "b.png,2,50,10,12,dent\n").notes == ()
    assert table(text.replace("x,y", "left,top")).notes == ()
