import numpy as np
import pytest
from PIL import Image

from defectkit.data.images import write_png
from defectkit.labels import rle
from defectkit.labels.read_options import ReadOptions
from defectkit.preparation.mask_files import MaskFile
from defectkit.preparation.mask_folder import read_masks
from defectkit.preparation.mask_names import CLASSES_FILE, COLORS_FILE


@pytest.fixture
def read(tmp_path):
    """Write masks, by name, and read them; a name ``a__dent`` is a's for the class dent."""

    def call(names=None, **masks):
        for name, mask in masks.items():
            write_png(tmp_path / f"{name}.png", np.asarray(mask, np.uint8))
        if names is not None:
            (tmp_path / (COLORS_FILE if ":" in names else CLASSES_FILE)).write_text(names)
        files = [
            MaskFile(path, path.stem.partition("__")[0], path.stem.partition("__")[2])
            for path in sorted(tmp_path.glob("*.png"))
        ]
        return read_masks(tmp_path, files, ReadOptions(**options), workers=0)

    options = {}
    call.options = options
    return call


def mask(*rows):
    return [[int(value) for value in row.split()] for row in rows]


WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
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
    assert table.notes == ()
    assert [path.name for path in table.files] == ["a.png", "good.png"]


def test_more_values_are_a_class_each(read):
    table = read(a=mask("0 1 2", "2 0 7"), b=mask("0 1 2", "0 0 7"))
    assert [row.class_id for row in table.rows] == ["1", "2", "7"] * 2
    assert table.rows[1].outline.rle == rle.encode(np.array(mask("0 0 1", "1 0 0")))
    assert table.form == "mask images, several classes"


def test_classes_are_named_in_a_file(read):
    table = read(
        "value,class_id\n1,dent\n255,scratch\n4,background\n",
        a=mask("0 1", "255 0"), b=mask("0 3"), c=mask("0 4"),
    )  # fmt: skip
    rows = [(row.image_id, row.class_id) for row in table.rows]
    assert rows == [("a", "dent"), ("a", "scratch"), ("c", "")]
    (refused,) = table.refused
    assert (refused.image_id, refused.class_id) == ("b", "3")
    assert refused.reason == "its value 3 has no name in classes.csv"


def test_values_of_smooth_edges_may_be_classes_that_are_named(read):
    soft = mask(*["0 1 2 3"] * 9)
    assert len(read(a=soft).refused) == 1
    assert len(read("value,class_id\n1,a\n2,b\n3,c\n", a=soft).rows) == 3


def test_ignored_pixels_are_rows_without_a_class(read):
    table = read(a=mask("0 1 255"), b=mask("0 0 255"))
    assert [(row.image_id, row.class_id, row.ignored) for row in table.rows] == [
        ("a", "1", False), ("a", "", True), ("b", "", True),
    ]  # fmt: skip
    assert table.rows[1].outline.rle == "3 1"
    assert table.rows[1].note == "these pixels are ignored"


def test_a_name_gives_the_class(read):
    table = read(a__dent=np.array(ONE) * 255, a__scratch=np.zeros((2, 3)), b__dent=mask("0 1 2"))
    rows = [(row.image_id, row.class_id, row.outline.rle) for row in table.rows]
    assert rows == [("a", "dent", rle.encode(np.array(ONE))), ("a", "", "")]
    assert {row.reason for row in table.refused} == {
        "it has several values, but its name or folder says that it is of dent: "
        "--mask-threshold 1 makes all of them one"
    }


def test_colors_are_those_of_a_file_and_white_is_one_where_others_are_colors(read):
    red, white = np.dstack([ONE, np.zeros((2, 3)), np.zeros((2, 3))]) * 255, np.array(ONE) * 255
    table = read(a=red, b=white)
    assert [row.class_id for row in table.rows] == ["#ff0000", "#ffffff"]
    table = read("dent:255,0,0::\nbackground:255,255,255::\n", a=red, b=white)
    assert [row.class_id for row in table.rows] == ["dent", ""]


def test_options_make_one_class_whatever_names_say(read):
    read.options["mask_threshold"] = 2
    table = read("value,class_id\n1,dent\n", a=mask("0 1 2 3"))
    assert [(row.class_id, row.outline.rle) for row in table.rows] == [("1", "3 2")]


def test_a_photograph_and_a_damaged_file_are_refused(read, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = read(a=ONE, photo=np.arange(100).reshape(10, 10))
    assert [row.image_id for row in table.rows] == ["a"]
    reasons = {row.image_id: row.reason for row in table.refused}
    assert reasons["photo"] == "its 100 different values are not those of a mask"
    assert "damaged" in reasons


@pytest.mark.check(40)
def test_a_mask_of_too_many_values_is_never_good(read):
    many = np.kron(np.arange(100).reshape(10, 10), np.ones((3, 3)))
    for names in (None, "value,class_id\n1,dent\n"):
        table = read(names, a=np.pad(many, 60), b=np.zeros((9, 9)))
        assert [row.image_id for row in table.rows] == ["b"]
        assert [row.image_id for row in table.refused] == ["a"]


@pytest.mark.parametrize(
    ("colors", "background", "invert"),
    [
        ([WHITE, BLACK], 0, False),
        ([WHITE, BLACK], 0, True),
        ([RED, BLACK], 1, False),
        ([RED, BLACK], 1, True),
    ],
)
def test_the_background_of_palettes_is_told_over_all_masks(
    read, tmp_path, colors, background, invert
):
    for name, defect in (("a", ONE), ("b", np.zeros((2, 3)))):
        image = Image.fromarray((np.array(defect, np.uint8) ^ background).astype(np.uint8), "P")
        image.putpalette([channel for color in colors for channel in color])
        image.save(tmp_path / f"{name}.png")
    if invert:
        read.options["invert"] = True
    defective, good = read().rows
    assert defective.outline.rle == rle.encode(np.array(ONE))
    assert good.outline.rle == ""


def test_inverted_masks_are_warned_of(read):
    table = read(a=255 - np.array(ONE) * 255, b=np.full((2, 3), 255))
    assert "--invert" in table.notes[0]
