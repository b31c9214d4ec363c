from pathlib import Path

import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.table_builder import (
    Annotation,
    TableBuilder,
    collect_annotations,
    settle_boxes,
)
from defectkit.labels.outlines import Box, Polygons, RleMask

BOX = Box(1, 2, 5, 6)
POLYGON = Polygons(((1, 1, 3, 1, 3, 3),))


def annotation(image_id="a.png", class_id="1", outline=POLYGON):
    return lambda: Annotation(image_id, class_id, outline)


def malformed():
    raise LabelError("it is malformed")


@pytest.fixture
def builder():
    return TableBuilder(Path("labels"))


def test_used_and_refused_annotations_are_numbered_together(builder):
    builder.add("", "", annotation())
    builder.add("b.png", "2", malformed)
    builder.add("", "", annotation("c.png"))
    table = builder.build("form", [Path("labels/a")])
    assert [(row.line, row.image_id) for row in table.rows] == [(1, "a.png"), (3, "c.png")]
    (refused,) = table.refused
    assert (refused.line, refused.image_id, refused.class_id) == (2, "b.png", "2")
    assert refused.reason == "it is malformed"
    assert (table.path, table.form, table.files) == (Path("labels"), "form", (Path("labels/a"),))


def test_names_that_could_do_harm_and_missing_classes_are_refused(builder):
    builder.add("", "", annotation("../a.png"))
    builder.add("", "", annotation(class_id=""))
    builder.add("", "", annotation(class_id="", outline=RleMask("", (4, 4))))  # needs no class
    table = builder.build("form", [])
    assert [row.line for row in table.rows] == [3]
    assert "'..'" in table.refused[0].reason
    assert table.refused[1].reason == "the annotation has no class"


def test_boxes_are_labels_of_their_own_kind_and_refused_among_outlines(builder):
    builder.add("", "", annotation(outline=BOX))
    assert builder.build("form", []).kind == "boxes"
    builder.add("", "", annotation("b.png"))
    builder.add("", "", malformed)
    table = settle_boxes(builder.build("form", []), boxes=False)
    assert table.kind == "masks"
    assert [row.line for row in table.refused] == [1, 3]
    assert [row.image_id for row in table.rows] == ["b.png"]
    assert table.refused[0].line == 1
    assert "has only a box" in table.refused[0].reason
    assert "--boxes" in table.refused[0].reason
    table = settle_boxes(builder.build("form", []), boxes=True)
    assert (table.kind, len(table.rows), len(table.refused)) == ("boxes", 2, 1)


def test_class_names_are_cleaned_and_the_ledger_says_so(builder):
    for name in ("scratch", " scratch ", "1.0", "1", "Scratch"):
        builder.add("", "", annotation(class_id=name))
    table = builder.build("form", [])
    assert [row.class_id for row in table.rows] == ["scratch", "scratch", "1", "1", "Scratch"]
    assert [row.note for row in table.rows] == [
        "", "class ' scratch ' is read as 'scratch'", "class '1.0' is read as '1'", "", "",
    ]  # fmt: skip
    assert table.notes == (
        "the classes 'Scratch', 'scratch' differ by case alone and are different classes. "
        "If they are one, write them alike",
    )


def test_boxes_alone_are_shifted(builder):
    builder.add("", "", annotation(outline=BOX))
    builder.add("", "", annotation())
    builder.shift_boxes(left=-1, top=-2)
    assert [row.outline for row in builder.rows] == [Box(0, 0, 5, 6), POLYGON]


def test_a_source_without_annotations_is_refused(builder):
    with pytest.raises(LabelError, match="labels has no annotations"):
        builder.build("form", [])
    builder.unlabeled.append("good.png")
    assert builder.build("form", []).unlabeled == ("good.png",)


def test_what_several_entries_say_of_one_name_is_refused(builder):
    for number, name in enumerate(("a.png", "b.png", "a.png", "c.png", "c.png", "c.png")):
        builder.enter(name, f"entry {number}")
        builder.enter(name, f"entry {number}")  # The same one: VIA's CSV has a row for each region.
        if number < 3:
            builder.add("", "", annotation(name))
        else:
            builder.unlabeled.append(name)
    table = builder.build("form", [])
    assert [(row.line, row.image_id) for row in table.rows] == [(2, "b.png")]
    assert table.unlabeled == ()
    assert [(row.line, row.image_id) for row in table.refused] == [
        (1, "a.png"), (3, "a.png"), (4, "c.png"), (5, "c.png"), (6, "c.png"),
    ]  # fmt: skip
    assert "'a.png' is listed 2 times: entry 0 and entry 2. If" in table.refused[0].reason
    assert "'c.png' is listed 3 times: entry 3 and entry 4 and others" in table.refused[4].reason


def test_files_of_one_image_each_are_collected():
    def read_file(file, inner):
        if file.stem == "bad":
            raise LabelError("it is broken")
        reads = [] if file.stem == "good" else [annotation(f"{inner}/{file.stem}"), malformed]
        return (inner / file.stem).as_posix(), reads

    root = Path("labels")
    files = [root / "lot" / name for name in ("one.x", "bad.x", "good.x")]
    table = collect_annotations(root, files, read_file).build("form", files)
    assert [row.image_id for row in table.rows] == ["lot/one"]
    assert [(row.line, row.image_id, row.reason) for row in table.refused] == [
        (2, "lot/one", "it is malformed"), (3, "lot/bad", "bad.x: it is broken"),
    ]  # fmt: skip
    assert table.empty_files == {"lot/good": "lot/good"}
    assert {row.label_file for row in table.rows} == {"lot/one"}
    assert [row.label_file for row in table.refused] == ["lot/one", "lot/bad"]
