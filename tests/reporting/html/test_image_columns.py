import json

import pytest

from defectkit.reporting.html.image_columns import COLUMNS, image_columns


def entry(name, *regions, group="", scores=""):
    known = dict.fromkeys(COLUMNS, 0) | {"id": name, "group": group}
    return known | {"regions": list(regions), "more": 0, "scores": scores}


def region(kind, area, class_id=None):
    return {"kind": kind, "area": area} | ({"class": class_id} if class_id else {})


def details(shown):
    return [json.loads(line) for line in shown.details.split("\n")]


def test_names_that_repeat_are_numbers():
    entries = [
        entry("a", region("true", 5, "dent"), region("found", 9, "scratch"), group="x"),
        entry("b", group="y"),
        entry("c", region("false_alarm", 7, "dent"), region("false_alarm", 8), group="x"),
    ]
    shown = image_columns(entries, max_layers=0)
    assert shown.columns["group"] == [0, 1, 0]
    assert shown.columns["names"] == ["x", "y"]
    names = shown.columns["class_names"]
    assert [[names[one] for one in own] for own in shown.columns["classes"]] == [
        ["dent", "scratch"], [], ["dent"],
    ]  # fmt: skip
    assert shown.columns["size"] == [5, None, 8]
    assert details(shown) == [
        {"regions": entries[0]["regions"]},
        {},
        {"regions": entries[2]["regions"]},
    ]


@pytest.mark.parametrize(("room", "taken"), [(0, ""), (3, "a"), (5, "ac"), (9, "abc")])
def test_scores_are_taken_in_while_there_is_room(room, taken):
    entries = [entry(name, scores=name * size) for name, size in [("a", 3), ("b", 4), ("c", 2)]]
    shown = image_columns(entries, max_layers=room)
    assert "".join(one.get("scores", "")[:1] for one in details(shown)) == taken


@pytest.mark.check(28)
def test_no_name_ends_its_line_or_the_page():
    evil = "</script>\n\u2028<b>"
    shown = image_columns([entry("a", region("true", 1, evil)), entry("b")], max_layers=0)
    assert not set("<>\u2028") & set(shown.details)
    assert len(details(shown)) == 2
