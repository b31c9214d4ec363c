from defectkit.reporting.html import breakdown
from defectkit.reporting.html.breakdown import by_class, by_group


def region(image_id, class_id, found, kind="true"):
    return {"image_id": image_id, "kind": kind, "class_id": class_id, "found": found}


def test_classes_count_images_escapes_and_regions():
    regions = [
        region("a", "pit", True),
        region("a", "pit", False),
        region("b", "pit", False),
        region("b", "dent", True),
        region("c", "pit", None, kind="false_alarm"),
    ]
    rows = by_class(regions, {"a": "hit", "b": "escape", "c": "overkill"})
    assert [row[:4] for row in rows] == [("dent", 1, 1, 1), ("pit", 2, 1, 3)]
    assert rows[1].found.startswith("1 of 3, 33.3 % (95 % interval 0.8 to 90.6 %)")
    assert by_class([], {}) == []


def image(group, outcome, defective=False):
    return {"group": group, "outcome": outcome, "defective": defective}


def test_groups_with_most_escapes_come_first_and_those_without_errors_are_counted():
    images = [
        *(image("fine", "pass"), image("fine", "hit", True)),
        *(image("overkills", "overkill"), image("overkills", "overkill")),
        *(image("escape", "escape", True), image("escape", "pass")),
        image("review", "review"),
    ]
    rows, others = by_group(images)
    assert rows == [
        ("escape", 2, 1, 1, 0, 0),
        ("overkills", 2, 0, 0, 2, 0),
        ("review", 1, 0, 0, 0, 1),
    ]
    assert others == 1


def test_groups_of_one_image_tell_nothing():
    assert by_group([image(str(n), "escape", True) for n in range(5)]) == ([], 0)
    assert by_group([image("", "escape", True) for _ in range(5)]) == ([], 0)
    assert by_group([]) == ([], 0)


def test_of_many_groups_the_worst_are_listed(monkeypatch):
    monkeypatch.setattr(breakdown, "MAX_GROUPS", 2)
    images = [image(name, "escape", True) for name in "abbccc"]
    rows, others = by_group(images)
    assert [row.name for row in rows] == ["c", "b"]
    assert others == 1
