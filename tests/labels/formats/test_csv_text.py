import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_table import read_table
from defectkit.labels.formats.csv_text import read_csv_text


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"cannot read .*none\.csv: No such file"):
        read_csv_text(tmp_path / "none.csv")
    with pytest.raises(LabelError, match=r"cannot read .*Check the path"):
        read_csv_text(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"train\.csv is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\r\n \n,,,\n", "is empty"),
        (b"PK\x03\x04\x14\x00\x06\x00", "is an Excel or zip file. Save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel file of the old kind"),
        (b"\x1f\x8b\x08\x00", "is a gzip file"),
        (
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff",
            "is neither UTF-8 nor plausible in one other encoding",
        ),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is neither UTF-8 nor plausible in one other encoding"),
    ],
)
def test_what_is_no_csv_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=message):
        read_csv_text(path)


@pytest.mark.parametrize(
    ("text", "line"), [('a,b\n"c,d\n', 2), ('a,b\n"c\n\n",d\ne,"f\ng,h\ni,j\n', 5), ('"', 1)]
)
def test_a_quotation_mark_that_is_never_closed_is_named(tmp_path, text, line):
    path = tmp_path / "train.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=rf"train\.csv:{line}: a quotation mark .* never closed"):
        list(read_csv_text(path).rows(","))


def test_rows_after_a_bad_one_are_read(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('a,"b"c\nd,e\n"f\ng"h,i\n j , "k, l"\n')
    records = list(read_csv_text(path).rows(","))
    assert [(record.line, record.cells) for record in records] == [
        (1, []),
        (2, ["d", "e"]),
        (3, []),
        (5, ["j", "k, l"]),
    ]
    assert records[0].problem == "the quotation marks in line 1 do not pair up"
    assert records[2].problem == "the quotation marks in lines 3 to 4 do not pair up"


@pytest.mark.check(46)
@pytest.mark.parametrize("n_numbers", [10_000, 10_001])
def test_a_cell_that_a_spreadsheet_cut_is_refused(tmp_path, n_numbers):
    whole = " ".join(str(number) for number in range(1, n_numbers))
    cut = whole[:32_767]
    assert len(cut) == 32_767
    path = tmp_path / "train.csv"
    path.write_text(f"ImageId,EncodedPixels\na.png,{cut}\nb.png,{whole}\nc.png,{cut} \n")
    table = read_table(path)
    assert [row.image_id for row in table.rows] == ["b.png", "c.png"]
    (refused,) = table.refused
    assert (refused.line, refused.image_id) == (2, "a.png")
    assert "a cell has 32,767 characters, the most that a spreadsheet keeps" in refused.reason


@pytest.mark.check(58)
def test_a_row_with_an_endless_cell_is_refused_alone(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f"ImageId,EncodedPixels\na.png,{'1 2 ' * 2**22}9\nb.png,1 2\n")
    table = read_table(path)
    (refused,) = table.refused
    assert (refused.line, refused.reason) == (2, "a cell has more than 16,777,216 characters")
    assert [row.image_id for row in table.rows] == ["b.png"]
