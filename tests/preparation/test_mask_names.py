import pytest

from defectkit.errors import LabelError
from defectkit.preparation.mask_names import (
    CLASSES_FILE,
    COLORS_FILE,
    find_mask_names,
    named_meaning,
)
from defectkit.preparation.mask_values import MaskImage

CVAT = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nDent:51,221,255::\n\nwhite : 1, 2, 3\n"


@pytest.fixture
def find(tmp_path):
    """Write a file of names, and find it for masks two folders below."""

    def call(name, text, inner=".", encoding="utf-8"):
        folder = tmp_path / inner
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding)
        return find_mask_names(folder)

    return call


def masks_of(*values):
    return [MaskImage((8, 8), dict.fromkeys(values, "1 1"))]


def test_classes_are_named_beside_the_masks(find):
    names = find(CLASSES_FILE, "value,class_id\n1,dent\n255, scratch\n3,background\n")
    assert (names.classes, names.colors) == ({1: "dent", 255: "scratch", 3: ""}, False)
    meaning = named_meaning(names, masks_of(1, 255, 9))
    assert meaning.classes == {1: "dent", 255: "scratch"}
    assert meaning.problems == {9: "its value 9 has no name in classes.csv"}
    assert meaning.ignored == frozenset()


def test_colors_are_named_in_either_file(find):
    names = find(CLASSES_FILE, "value,class_id\n#ff0000,dent\n")
    assert (names.classes, names.colors) == ({0xFF0000: "dent"}, True)
    assert "#00ff00 has no name" in named_meaning(names, masks_of(0xFF00)).problems[0xFF00]


def test_the_colors_of_cvat_are_found_above_the_masks(find):
    names = find(COLORS_FILE, CVAT, inner="data/SegmentationClass")
    assert names.classes == {0x33DDFF: "Dent", 0x010203: "white"}
    meaning = named_meaning(names, masks_of(0x33DDFF, 0xE0E0C0))
    assert meaning.ignored == {0xE0E0C0}
    assert "#e0e0c0, which labelmap.txt does not name, is ignored" in meaning.notes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CLASSES_FILE, "value,class_id\n1,dent\n"),
        (CLASSES_FILE, "\ufeffvalue;class_id\n1;dent\n"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, dent\n"),
    ],
)
@pytest.mark.parametrize("inner", [".", "masks", "masks/train"])
def test_tables_of_classes_are_read_with_any_delimiter_and_above_the_masks(find, name, text, inner):
    assert find(name, text, inner).classes == {1: "dent"}


def test_tables_of_other_columns_above_the_masks_are_not_about_them(find):
    assert find(CLASSES_FILE, "id,color\n1,dent\n", inner="masks") is None


def test_each_split_may_have_the_same_names(tmp_path):
    folders = [tmp_path / split for split in ("test", "train")]
    for folder in folders:
        folder.mkdir()
        (folder / "_classes.csv").write_text("Pixel Value, Class\n1, dent\n")
    names = find_mask_names(tmp_path, folders)
    assert names is not None
    assert names.classes == {1: "dent"}
    (tmp_path / "test" / "_classes.csv").write_text("Pixel Value, Class\n1, pit\n")
    with pytest.raises(LabelError, match="give different names"):
        find_mask_names(tmp_path, folders)


def test_names_may_be_in_older_encodings_and_it_is_said(find):
    names = find(COLORS_FILE, "Fräsriss:250,50,83::\nÖl:51,221,255::\n", encoding="cp1252")
    assert set(names.classes.values()) == {"Fräsriss", "Öl"}
    assert "cp1252" in named_meaning(names, masks_of(0xFA3253)).notes[0]


def test_255_without_a_name_is_ignored(find):
    names = find(CLASSES_FILE, "value,class_id\n1,dent\n")
    assert named_meaning(names, masks_of(1, 255)).ignored == {255}


@pytest.mark.parametrize("text", ["value\n1\n", "value,class_id\none,dent\n", "a,b\n#gg,dent\n"])
def test_a_file_of_names_that_cannot_be_read_stops(find, text):
    with pytest.raises(LabelError, match=r"classes.csv does not have the columns value and class"):
        find(CLASSES_FILE, text)


@pytest.mark.parametrize("line", ["dent:1,2", "dent:1,2,999::", "dent"])
def test_a_line_that_is_no_color_stops(find, line):
    with pytest.raises(LabelError, match=r"labelmap.txt:1: .* is not label:red,green,blue"):
        find(COLORS_FILE, line)


def test_no_defect_cannot_be_a_class(find):
    with pytest.raises(LabelError, match="names black 'dent', but black is no defect"):
        find(COLORS_FILE, "background:255,255,255::\ndent:0,0,0::\n")


def test_there_may_be_no_names(tmp_path):
    assert find_mask_names(tmp_path) is None
