import pytest

from defectkit.data.table_checks import check_inside, check_same_classes
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
