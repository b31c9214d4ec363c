import pytest

from defectkit.errors import LabelError
from defectkit.labels.table import (
    MAX_ID_BYTES,
    MAX_PATH_BYTES,
    class_notes,
    clean_class,
    means_good,
    refuse_names,
)


@pytest.mark.parametrize(
    "image_id",
    ["a.png", "lot 2/a.png", "a..b.png", "圖/一.png", "1:2.png", "C:\\x\\a.png", "/x/a.png"],
)
def test_plain_names_and_paths_are_taken(image_id):
    refuse_names(image_id, "scratch, deep")


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        ("", "the row has no image id"),
        ("../a.png", "may not have '..': write its path below the image folder"),
        ("lot/../../a.png", "may not have '..'"),
        ("lot/..", "may not have '..'"),
        ("lot\\..\\a.png", "may not have '..'"),
        ("a\x00.png", "control character"),
        ("a\n.png", "control character"),
        ("é" * (MAX_ID_BYTES // 2 + 1), "longer than a file name can be"),
        ("a/" * (MAX_PATH_BYTES // 2 + 1), "longer than a file name can be"),
    ],
)
def test_names_that_could_do_harm_are_refused(image_id, message):
    with pytest.raises(LabelError, match=message):
        refuse_names(image_id, "1")


def test_a_class_has_no_control_characters_either():
    with pytest.raises(LabelError, match="or its class has a control character"):
        refuse_names("a.png", "1\t2")


@pytest.mark.check(58)
def test_the_name_of_a_class_is_short():
    with pytest.raises(LabelError, match="the class 'xxx.*x'... has 1,000,000 characters, more"):
        refuse_names("a.png", "x" * 10**6)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" scratch", "scratch"), ("deep \t scratch\u00a0", "deep scratch"),
        ("1.0", "1"), ("1.", "1"),
        ("1.5", "1.5"), ("01", "01"), ("u\u0308ber", "\u00fcber"), ("\ufeffdent\u200b", "dent"),
        ("NaN", "NaN"), ("1e5", "1e5"), ("\u5212\u75d5", "\u5212\u75d5"), ("", ""), (" ", ""),
    ],
)  # fmt: skip
def test_a_class_is_written_in_one_way(text, name):
    assert clean_class(text)[0] == name
    assert bool(clean_class(text)[1]) == (text != name)


def test_names_that_differ_by_case_alone_are_warned_of():
    assert class_notes(["a", "b", "a"]) == []
    (note,) = class_notes(["scratch", "Scratch", "dent", "SCRATCH"])
    assert note.startswith("the classes 'SCRATCH', 'Scratch', 'scratch' differ by case alone")


def test_classes_that_are_called_as_good_parts_are_warned_of():
    notes = class_notes(["OK", "dent", "No finding", "OK"])
    assert [note.split(",")[0] for note in notes] == [
        "the class 'No finding' has the name of a good class",
        "the class 'OK' has the name of a good class",
    ]
    assert "its outlines (2) are read as defects" in notes[1]


@pytest.mark.parametrize("name", ["OK", "No Finding", "i.O.", "defect_free", "None", "", "良品"])
def test_words_that_say_good(name):
    assert means_good(name)


@pytest.mark.parametrize("name", ["NG", "n.i.O.", "scratch", "not ok", "0"])
def test_words_that_do_not_say_good(name):
    assert not means_good(name)
