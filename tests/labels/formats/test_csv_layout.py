import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.csv_layout import data_rows, find_layout, ids_and_rle
from defectkit.labels.formats.csv_text import read_csv_text

ROLES = ("id_class", "id", "rle", "class")


@pytest.fixture
def rows(tmp_path):
    """Reads a table as image id, class id and RLE of each row."""

    def read(text):
        (tmp_path / "train.csv").write_text(text)
        content = read_csv_text(tmp_path / "train.csv")
        layout = find_layout(content, roles=ROLES)
        return [ids_and_rle(row.cells, layout) for row in data_rows(content, layout)]

    return read


@pytest.mark.parametrize(
    "header", ["Image_Label", "ImageId_ClassId", "image_class", "filename_label"]
)
def test_image_and_class_may_be_one_cell(rows, header):
    found = rows(f"{header},EncodedPixels\na_1.jpg_deep_scratch,1 3\nb_2_dent,\nc.JPEG_1,5 2\n")
    assert found == [
        ("a_1.jpg", "deep_scratch", "1 3"), ("b_2", "dent", ""), ("c.JPEG", "1", "5 2"),
    ]  # fmt: skip


def test_a_label_beside_an_image_is_its_class(rows):
    assert rows("ImageId,Label,EncodedPixels\na_1,x_y,1 3\n") == [("a_1", "x_y", "1 3")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,label\na.png,scratch\nb.png,\n", r"train.csv: the column 'label' has 'scratch'"),
        ("filename,label\na.png,1\nb.png,0\n", "names classes of images, but not where"),
        ("Image,Labels\na.png,dent\n", r"train.csv:1: the table names classes of images"),
        ("image_id,category\na.png,2\n", r"train.csv:1: the table names classes of images"),
        ("image,mask\na.png,masks/a.png\n", "has names of files, such as 'masks/a.png'. Give the"),
    ],
)
def test_a_table_without_places_is_called_so(rows, text, message):
    with pytest.raises(LabelError, match=message):
        rows(text)


def test_a_label_that_is_an_rle_in_some_row_is_one(rows):
    assert rows("filename,label\na,1\nb,1 3\n") == [("a", "1", "1"), ("b", "1", "1 3")]


@pytest.mark.check(58)
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_table_of_very_many_columns_is_refused(rows, separator):
    header = separator.join(["ImageId", "EncodedPixels", *(f"c{n}" for n in range(100_000))])
    with pytest.raises(LabelError, match="train.csv:1: the table has 100,002 columns, more than"):
        rows(f"{header}\na.png,1 2\n")
