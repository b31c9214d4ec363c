import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_table import read_meta, read_table

SHARED = Path(__file__).parents[4] / "shared/data"


@pytest.fixture
def table(tmp_path):
    def read(text):
        path = tmp_path / "train.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_table(path)

    return read


@pytest.fixture
def meta(tmp_path):
    def read(text):
        path = tmp_path / "images.csv"
        path.write_bytes(text.encode())
        return read_meta(path)

    return read


def plain(table):
    return [(row.line, row.image_id, row.class_id, row.rle) for row in table.rows]


def reasons(table):
    return [(row.line, row.reason) for row in table.refused]


FORMS = {
    "ImageId,ClassId,EncodedPixels": (
        "ImageId,ClassId,EncodedPixels\na.png,1,1 3\na.png,2,5 2\nb.png,,\n",
        [(2, "a.png", "1", "1 3"), (3, "a.png", "2", "5 2"), (4, "b.png", "", "")],
    ),
    "ImageId_ClassId,EncodedPixels": (
        "ImageId_ClassId,EncodedPixels\na_b_1.png_1,1 3\na_b_1.png_2,\nc_12,5 2\n",
        [(2, "a_b_1.png", "1", "1 3"), (3, "a_b_1.png", "2", ""), (4, "c", "12", "5 2")],
    ),
    "ImageId,EncodedPixels": (
        "ImageId,EncodedPixels\na.png,1 3\na.png,5 2\nb.png,\n",
        [(2, "a.png", "1", "1 3"), (3, "a.png", "1", "5 2"), (4, "b.png", "1", "")],
    ),
    "filename,label": ("filename,label\n0,1 3\n1,-1\n", [(2, "0", "1", "1 3"), (3, "1", "1", "")]),
    "id,rle": ("id,rle\na,1 3\n", [(2, "a", "1", "1 3")]),
    "image,mask": ("image,mask\na,1 3\n", [(2, "a", "1", "1 3")]),
    "img,rle_mask": ("img,rle_mask\na,1 3\n", [(2, "a", "1", "1 3")]),
    "img,label,mask": ("img,label,mask\na,-1,1 3\n", [(2, "a", "-1", "1 3")]),
    "id,name,rle": ("id,name,rle\n7,a.png,1 3\n", [(2, "a.png", "1", "1 3")]),
    "image,label,rle": ("image,label,rle\na,scratch,1 3\n", [(2, "a", "scratch", "1 3")]),
    "Image Name,CLASS,Mask-RLE": (
        "Image Name,CLASS,Mask-RLE\na,x,1 3\n",
        [(2, "a", "x", "1 3")],
    ),
    "EncodedPixels,ImageId": ("EncodedPixels,ImageId\n1 3,a\n", [(2, "a", "1", "1 3")]),
    ",ImageId,EncodedPixels": (",ImageId,EncodedPixels\n0,a,1 3\n", [(2, "a", "1", "1 3")]),
    "id,filename,rle": ("id,filename,rle\n7,a.png,1 3\n", [(2, "a.png", "1", "1 3")]),
    "id,rle (no header)": ("0,1 3\n7,\n", [(1, "0", "1", "1 3"), (2, "7", "1", "")]),
    "id,class,rle (no header)": ("0,2,1 3\n1,,\n", [(1, "0", "2", "1 3"), (2, "1", "", "")]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_understood(table, form):
    text, expected = FORMS[form]
    read = table(text)
    assert read.form == form
    assert plain(read) == expected
    assert read.refused == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_delimiters_line_ends_and_encodings(table, delimiter, end, encoding):
    rows = [
        ("ImageId", "ClassId", "EncodedPixels"),
        ("图像 1.png", "划痕", "1 3"),
        (),
        ('"b,;.png"', "2", "5 2"),
    ]
    text = end.join(delimiter.join(row) for row in rows)
    read = table(text.encode(encoding))
    assert read.encoding == ("gb18030" if encoding == "gb18030" else "utf-8")
    assert plain(read) == [(2, "图像 1.png", "划痕", "1 3"), (4, "b,;.png", "2", "5 2")]


TRICKY_IDS = [
    "007", "0", "NA", "nan", "None", "null", "-1", "1e5", "1.0", "0x10", "1_000", "TRUE", "inf",
    "2020-01-01", "=1+1", "@x", "a b.png", "a,b.png", 'a"b.png', "a;b.png", "a_1_2", "lot 1/007",
    "图像.png", "\u3000wide", "e\u0301.png", "a..b.png", "..png", "#1", "'quoted'", "9" * 60,
]  # fmt: skip


@pytest.mark.check(6)
@pytest.mark.parametrize("image_id", TRICKY_IDS)
@pytest.mark.parametrize("header", ["ImageId,EncodedPixels", "ImageId_ClassId,EncodedPixels", None])
def test_ids_stay_text(table, image_id, header):
    buffer = io.StringIO()
    combined = header is not None and "_" in header
    csv.writer(buffer).writerow([image_id + ("_1" if combined else ""), "1 3"])
    read = table(f"{header}\n{buffer.getvalue()}" if header else buffer.getvalue())
    assert plain(read) == [(1 if header is None else 2, image_id.strip(), "1", "1 3")]


@pytest.mark.parametrize(
    "cell",
    ["", " ", "NaN", "nan", "NAN", "-1", " -1 ", "None", "null", "NULL", "NA", "<NA>", '""', "[]"],
)
def test_what_stands_for_no_defect(table, cell):
    assert plain(table(f"ImageId,ClassId,EncodedPixels\na.png,2,{cell}\n")) == [
        (2, "a.png", "2", "")
    ]
    assert plain(table(f"a.png,2,{cell}\n")) == [(1, "a.png", "2", "")]


@pytest.mark.parametrize("cell", ["", "  "])
def test_a_good_image_may_have_no_class_but_a_mask_may_not(table, cell):
    read = table(f"ImageId,ClassId,EncodedPixels\na.png,{cell},\nb.png,{cell},1 3\n")
    assert plain(read) == [(2, "a.png", "", "")]
    assert reasons(read) == [(3, "the row has an RLE but no class")]
    assert read.refused[0].image_id == "b.png"


@pytest.mark.parametrize("name", ["NA", "none", "null", "nan", "NaN", "<NA>"])
def test_a_class_may_be_called_what_elsewhere_stands_for_nothing(table, name):
    read = table(f"ImageId,ClassId,EncodedPixels\na.png,{name},1 3\nb.png,{name},\n")
    assert plain(read) == [(2, "a.png", name, "1 3"), (3, "b.png", "", "")]
    read = table(f"ImageId_ClassId,EncodedPixels\na.png_{name},1 3\n")
    assert plain(read) == [(2, "a.png", name, "1 3")]


REFUSED = [
    ("a.png,1", "the row has 2 cells instead of 3"),
    ("a.png", "the row has 1 cells instead of 3"),
    ("a.png,1,1 3,", "the row has 4 cells instead of 3"),
    (",1,1 3", "the row has no image id"),
    ("  ,,1 3", "the row has no image id"),
    ("../a.png,1,1 3", "image id '../a.png' may not"),
    ("x/../../a.png,1,1 3", "may not have '..': write its path below the image folder"),
    ("..,1,1 3", "image id '..' may not"),
    ("..\\a.png,1,1 3", "may not"),
    ("a\0.png,1,1 3", r"image id 'a\x00.png' or its class has a control character"),
    ('"a\nb.png",1,1 3', r"image id 'a\nb.png' or its class has a control character"),
    ("a.png,1\0,1 3", "or its class has a control character"),
    (f"{'x' * 256},1,1 3", "is longer than a file name can be"),
    (f"{'图' * 86},1,1 3", "is longer than a file name can be"),
    ('"a"b.png,1,1 3', "the quotation marks in line 3 do not pair up"),
    ('a.png,1,"1\n3"5', "the quotation marks in lines 3 to 4 do not pair up"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED)
def test_bad_rows_are_refused_with_the_reason_and_the_rest_is_read(table, line, reason):
    read = table(f"ImageId,ClassId,EncodedPixels\ngood.png,1,1 3\n{line}\nlast.png,,\n")
    last = 4 + line.count("\n")
    assert plain(read) == [(2, "good.png", "1", "1 3"), (last, "last.png", "", "")]
    (refused,) = read.refused
    assert refused.line == 3
    assert reason in refused.reason
    assert len(refused.reason) < 160


def test_a_combined_id_without_a_class_is_refused(table):
    read = table("ImageId_ClassId,EncodedPixels\na.png,1 3\na.png_,1 3\n_1,1 3\nb.png,\n")
    assert plain(read) == [(5, "b.png", "", "")]
    assert [(row.line, row.image_id, row.reason) for row in read.refused] == [
        (2, "a.png", "the row has an RLE but no class"),
        (3, "a.png", "the row has an RLE but no class"),
        (4, "", "the row has no image id"),
    ]


def test_lines_are_physical_and_blank_ones_are_skipped(table):
    read = table('\n\nImageId,EncodedPixels\n\n"a.png","1 3\n5 2"\n   \n,\nb.png,7 1\n\n')
    assert plain(read) == [(5, "a.png", "1", "1 3\n5 2"), (9, "b.png", "1", "7 1")]


def test_cells_may_be_longer_than_the_csv_module_likes(table):
    rle = " ".join(f"{start} 1" for start in range(1, 60_001, 2))
    assert len(rle) > 131_072
    assert plain(table(f"ImageId,EncodedPixels\na.png,{rle}\n")) == [(2, "a.png", "1", rle)]


def test_further_columns_become_meta(table):
    read = table(
        ",ImageId,Group,ClassId,EncodedPixels,SPLIT,lot,Line Speed,defect no,\n"
        "0,a.png,7,1,1 3,Train,L1,9,1,x\n"
        "1,a.png,7,2,5 2,train,,9,2,x\n"
        "2,b.png,,,,,L2,,,x\n"
        "3,c.png,,,,,,,,x\n"
    )
    assert read.refused == ()
    assert read.meta == {
        "a.png": {"group": "7", "split": "train", "lot": "L1", "Line Speed": "9"},
        "b.png": {"lot": "L2"},
    }


@pytest.mark.parametrize(
    ("column", "one", "other"), [("group", "1", "01"), ("split", "val", "test"), ("lot", "a", "b")]
)
def test_an_image_is_in_one_group_split_and_lot(table, column, one, other):
    read = table(
        f"ImageId,EncodedPixels,{column}\na,1 3,{one}\na,5 2,{other}\nb,,{other}\na,8 1,{one}\n"
    )
    assert [row.line for row in read.rows] == [2, 4, 5]
    assert reasons(read) == [(3, f"{column} {other!r} contradicts {one!r} of an earlier row")]
    assert read.meta["a"] == {column: one}


def test_a_refused_row_leaves_no_meta(table):
    read = table("ImageId,EncodedPixels,group,split\n../a,1 3,1,val\nb,1 3,2,part\n")
    assert read.meta == {}
    assert reasons(read)[1] == (3, "split 'part' is not one of train, val, test")


HEADERS = [
    ("foo,bar\na.png,1 3\n", "1: the header must name the columns ImageId and EncodedPixels"),
    ("foo,bar\n", "but has 'foo', 'bar'"),
    ("ImageId,ClassId\na.png,1\n", "1: the table names classes of images, but not where"),
    ("filename,label\na.png,scratch\n", "'label' has 'scratch': the table names classes of"),
    ("image,mask\na.png,\nb.png,b_mask.png\n", "'mask' has names of files, such as 'b_mask.png'"),
    ("\n\nClassId;EncodedPixels\n", "3: .* but has 'ClassId', 'EncodedPixels'"),
    ("ImageId\na.png\n", "but has 'ImageId'"),
    ("a.png,1,2,1 3\n", "but has 'a.png', '1', '2', '1 3'"),
    ("<!DOCTYPE html>\n<html>\n", "but has '<!DOCTYPE html>'"),
    ('""\n', "but has none"),
    ("ImageId,EncodedPixels,image_id\n", "two columns are called 'ImageId'"),
    ("ImageId,EncodedPixels,group,Group\n", "two columns are called 'group'"),
]


@pytest.mark.parametrize(("text", "message"), HEADERS)
def test_a_header_without_ids_or_rles_is_refused(table, text, message):
    with pytest.raises(LabelError, match=rf"train\.csv:.*{message}"):
        table(text)


CELLS = st.one_of(
    st.sampled_from(["", " ", "a.png", "b_1", "1", "1 3", "-1", "NaN", "../x", "val", "a\nb", '"']),
    st.text(st.sampled_from('ab1 ,;\t"\n-./\\\0_\u56fe'), max_size=6),
)
HEADS = st.sampled_from(
    ["ImageId,ClassId,EncodedPixels", "ImageId_ClassId,EncodedPixels", "id,rle,group,split,x"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=HEADS, rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=8))
@example(head="id,rle", rows=[["a", "1 3"], ["b\n", "1\n3"], ["", ""], ["c"], ["d", "-1", "x"]])
def test_every_row_of_a_messy_file_is_in_the_result_once(table, head, rows):
    text, lines = head + "\n", []
    for cells in rows:
        if any(cell.strip() for cell in cells):
            lines.append(text.count("\n") + 1)
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
        text += buffer.getvalue()
    read = table(text)
    assert sorted(row.line for row in (*read.rows, *read.refused)) == lines
    for row in read.rows:
        assert row.image_id
        assert ".." not in row.image_id.split("/")
        assert row.class_id or not row.rle
    assert all(row.reason for row in read.refused)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=HEADS, body=st.text(st.sampled_from("ab1 ,,;\t\n\n\n-./\\\0_\u56fe"), max_size=60))
@example(head="id,rle", body="a,1\rb,2\r\nc")
def test_every_line_without_quotes_is_in_the_result_once(table, head, body):
    read = table(f"{head}\n{body}")
    lines = body.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    expected = [number for number, line in enumerate(lines, start=2) if line.strip(" \t,")]
    assert sorted(row.line for row in (*read.rows, *read.refused)) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.text('aid,rle1;\t"\n\r -', max_size=40)))
@example(b'""')
@example("\u3000")
@example('id,rle\n"')
def test_any_file_is_read_or_refused(table, content):
    try:
        read = table(content)
    except LabelError:
        return
    assert len(read.form.split(",")) >= 2


def test_meta_lists_images_and_keeps_every_column(meta):
    read = meta(
        "ImageId,group,Split,LOT,Operator,name\n007,1,TRAIN,,NA,x\nb.png,,val,L,,\nc.png,,,,,\n007,1,,,,\n"
    )
    assert read == {
        "007": {"group": "1", "split": "train", "Operator": "NA", "name": "x"},
        "b.png": {"split": "val", "lot": "L"},
        "c.png": {},
    }


def test_meta_may_be_a_bare_list_of_ids(meta):
    assert meta("ImageId\na.png\n\nb.png\n") == {"a.png": {}, "b.png": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group\n1\n", "1: the header must name the columns ImageId, but has 'group'"),
        ("a.png,1\n", "1: the header must name the columns ImageId, but has 'a.png', '1'"),
        ("ImageId,group\na.png\n", r"2: the row has 1 cells instead of 2\. Fix or remove"),
        ("ImageId,group\n,1\n", "2: the row has no image id"),
        ("ImageId,split\na.png,part\n", "2: split 'part' is not one of train, val, test"),
        ("ImageId,group\na,1\nb,1\na,2\n", "4: group '2' contradicts '1' of an earlier row"),
        ("ImageId,x\na,1\na,2\n", "3: x '2' contradicts '1' of an earlier row"),
        ("ImageId\n../a\n", "2: image id '../a' may not"),
    ],
)
def test_meta_with_a_bad_row_is_refused(meta, text, message):
    with pytest.raises(LabelError, match=rf"images\.csv:{message}"):
        meta(text)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data sets beside the repository")
def test_the_magnetic_tile_table_is_read_whole():
    read = read_table(SHARED / "magnetic_tile/train.csv")
    assert (len(read.rows), len(read.refused)) == (1344, 0)
    assert sum(row.rle != "" for row in read.rows) == 388
    assert read_meta(SHARED / "magnetic_tile/images.csv").keys() == {
        row.image_id for row in read.rows
    }


@pytest.mark.parametrize("header", ["class_id,class_name", "category_id,category_name"])
def test_the_name_of_a_class_counts_before_its_number(table, header):
    read = table(f"image_id,{header},rle\na.png,0,dent,1 2\n")
    assert [row.class_id for row in read.rows] == ["dent"]
