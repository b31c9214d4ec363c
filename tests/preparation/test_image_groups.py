import pytest

from defectkit.errors import DatasetError
from defectkit.preparation.image_groups import assign_groups


def cells(**by_image):
    return {image_id: dict(one) for image_id, one in by_image.items()}


def test_without_a_column_every_image_is_its_own_group():
    assert assign_groups({"a": {}, "b": {"lot": "1"}}, None) == ({"a": "a", "b": "b"}, 0)


def test_the_column_group_counts_unasked():
    columns = cells(a={"group": "one"}, b={"group": " one "}, c={"group": "two"})
    assert assign_groups(columns, None) == ({"a": "one", "b": "one", "c": "two"}, 0)


def test_any_column_can_be_asked():
    columns = cells(a={"group": "x", "lot": "7"}, b={"group": "y", "lot": "7"})
    assert assign_groups(columns, "lot")[0] == {"a": "7", "b": "7"}


def test_images_without_a_group_stand_alone_and_are_counted():
    columns = {"one": {}, "b": {"group": "one"}, "c": {"group": " "}, "one_": {"group": ""}}
    groups, alone = assign_groups(columns, None)
    assert alone == 3
    assert len(set(groups.values())) == 4, "an image id that reads like a group is not of it"
    assert groups["b"] == "one"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^part(\d+)", {"part1-a.png": "1", "part1-b.png": "1", "part22-a.png": "22"}),
        (r"part\d+", {"part1-a.png": "part1", "part1-b.png": "part1", "part22-a.png": "part22"}),
    ],
)
def test_a_pattern_names_the_group_by_its_first_group_or_all_of_it(pattern, expected):
    assert assign_groups({image_id: {} for image_id in expected}, pattern) == (expected, 0)


def test_images_that_a_pattern_does_not_match_stand_alone():
    groups, alone = assign_groups({"part1-a": {}, "other": {}, "part1-b": {}}, r"part\d")
    assert (groups, alone) == ({"part1-a": "part1", "other": "other", "part1-b": "part1"}, 1)
    groups, alone = assign_groups({"x1": {}, "x": {}}, r"x(\d)?")  # a match without its group
    assert alone == 1


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("lto", r"lto is not a column, and as a pattern it matches no image id\. .*: lot, shift\."),
        ("(", r"--group-by \( is neither a column nor a regular expression"),
    ],
)
def test_what_is_neither_a_column_nor_a_pattern_is_refused(group_by, message):
    with pytest.raises(DatasetError, match=message):
        assign_groups(cells(a={"lot": "1"}, b={"shift": "2"}), group_by)
    with pytest.raises(DatasetError, match="The columns are: none"):
        assign_groups({"a": {}}, group_by)
