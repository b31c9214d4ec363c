import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.preparation.mask_folder import CLASSES_FILE, read_masks


@pytest.fixture
def read(tmp_path):
    """Write masks, by name, and read them."""

    def call(names=None, **masks):
        for name, mask in masks.items():
            write_png(tmp_path / f"{name}.png", np.asarray(mask, np.uint8))
        if names is not None:
            (tmp_path / CLASSES_FILE).write_text(names)
        return read_masks(tmp_path, sorted(tmp_path.glob("*.png")), workers=0)

    return call


def mask(*rows):
    return [[int(value) for value in row.split()] for row in rows]


ONE = mask("0 1 1", "0 0 0")


@pytest.mark.parametrize("high", [1, 255])
def test_two_values_are_one_class(read, high):
    table = read(a=np.array(ONE) * high, good=np.zeros((2, 3)))
    defective, good = table.rows
    assert (defective.image_id, defective.class_id) == ("a", "1")
    assert defective.outline.rle == rle.encode(np.array(ONE))
    assert defective.outline.size == (2, 3)
    assert (good.image_id, good.class_id, good.outline.rle) == ("good", "", "")
    assert table.form == "mask images, 0 and one value"


def test_more_values_are_a_class_each(read):
    table = read(a=mask("0 1 2", "2 0 7"))
    assert [row.class_id for row in table.rows] == ["1", "2", "7"]
    assert table.rows[1].outline.rle == rle.encode(np.array(mask("0 0 1", "1 0 0")))
    assert table.form == "mask images, a value for each class"


def test_classes_are_named_in_a_file(read):
    table = read("value,class_id\n1,dent\n255,scratch\n", a=mask("0 1", "255 0"), b=mask("0 3"))
    assert [(row.image_id, row.class_id) for row in table.rows] == [("a", "dent"), ("a", "scratch")]
    (refused,) = table.refused
    assert (refused.image_id, refused.class_id) == ("b", "3")
    assert refused.reason == "its value 3 has no name in classes.csv"


@pytest.mark.parametrize("names", ["value\n1\n", "value,class_id\none,dent\n"])
def test_a_file_of_names_that_cannot_be_read_stops(read, names):
    with pytest.raises(LabelError, match=r"classes.csv does not have the columns value and class"):
        read(names, a=ONE)


def test_255_beside_other_values_is_refused(read):
    table = read(a=mask("0 1 255"))
    assert [row.class_id for row in table.rows] == ["1"]
    assert "255 beside other values is not a class" in table.refused[0].reason


def test_an_ending_that_all_masks_have_is_not_part_of_the_name(read, tmp_path):
    assert [row.image_id for row in read(a_mask=ONE, b_mask=ONE).rows] == ["a", "b"]
    assert [row.image_id for row in read(c=ONE).rows] == ["a_mask", "b_mask", "c"]


def test_a_photograph_and_a_damaged_file_are_refused(read, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = read(a=ONE, photo=np.arange(100).reshape(10, 10))
    assert [row.image_id for row in table.rows] == ["a"]
    reasons = {row.image_id: row.reason for row in table.refused}
    assert reasons["photo"] == "its 100 different values are not those of a mask"
    assert "damaged" in reasons
