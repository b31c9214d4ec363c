import pytest

from defectkit.errors import LabelError
from defectkit.labels.table import MAX_ID_BYTES, refuse_names


@pytest.mark.parametrize("image_id", ["a.png", "lot 2/a.png", "a..b.png", "圖/一.png", "1:2.png"])
def test_plain_names_and_subfolders_are_taken(image_id):
    refuse_names(image_id, "scratch, deep")


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        ("", "the row has no image id"),
        ("/etc/passwd", "nor start with '/'"),
        ("../a.png", "may not have a drive, a backslash or '..'"),
        ("lot/../../a.png", "or '..'"),
        ("lot/..", "or '..'"),
        ("C:a.png", "may not have a drive"),
        ("lot\\a.png", "a backslash"),
        ("a\x00.png", "control character"),
        ("a\n.png", "control character"),
        ("é" * (MAX_ID_BYTES // 2 + 1), "longer than a file name can be"),
    ],
)
def test_names_that_could_do_harm_are_refused(image_id, message):
    with pytest.raises(LabelError, match=message):
        refuse_names(image_id, "1")


def test_a_class_has_no_control_characters_either():
    with pytest.raises(LabelError, match="or its class has a control character"):
        refuse_names("a.png", "1\t2")
