from pathlib import Path

import pytest

from defectkit.data.table_checks import check_inside, check_same_classes, empty_split
from defectkit.regions import Region


def region(x, y, width, height, class_id="1"):
    return Region(class_id=class_id, box_xywh=(x, y, width, height), area=1)


def test_both_tables_have_the_same_classes():
    check_same_classes({"a": {"1": "1 1"}}, {"a": [region(0, 0, 1, 1)]})
    with pytest.raises(ValueError, match="only one of them has class 2 of a"):
        check_same_classes({"a": {"1": "1 1", "2": "3 1"}}, {"a": [region(0, 0, 1, 1)]})


def test_regions_are_inside():
    check_inside([region(0, 0, 20, 10), region(19, 9, 1, 1)], "a", (10, 20))
    for outside in (region(-1, 0, 2, 2), region(0, 0, 21, 1), region(3, 9, 1, 2)):
        with pytest.raises(ValueError, match="outside of a, which is 20x10"):
            check_inside([outside], "a", (10, 20))


@pytest.mark.check(60)
@pytest.mark.parametrize(
    ("name", "way_out"),
    [("test", "evaluate another with --split val, or run"), ("val", "run"), ("train", "run")],
)
def test_an_empty_split_is_said_with_what_there_is_and_the_way_out(name, way_out):
    error = empty_split(Path("data"), name, ["train", "val", "train"])
    assert str(error).startswith(
        f"data has no image in the {name} split (2 in train, 1 in val, 0 in test): {way_out} "
        "'defectkit prepare' again with more images"
    )
