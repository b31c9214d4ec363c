import pytest

from defectkit.errors import LabelError
from defectkit.labels.table import MAX_ID_BYTES, MAX_PATH_BYTES, refuse_names


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
