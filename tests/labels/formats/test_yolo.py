import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.yolo import find_names_file, is_yolo, read_yolo
from defectkit.labels.outlines import Box, Polygons


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "dataset" / "labels"
    made.mkdir(parents=True)
    return made


def write(folder, text, name="part.txt"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_five_numbers_are_a_box_and_more_are_a_polygon(folder):
    boxes = read_yolo(folder, [write(folder, "0 0.5 0.25 0.5 0.5\n\n12 .1 .2 .1 .2\n")])
    assert [row.outline for row in boxes.rows] == [
        Box(0.25, 0.0, 0.75, 0.5, relative=True),
        Box(0.1 - 0.05, 0.2 - 0.1, 0.1 + 0.05, 0.2 + 0.1, relative=True),
    ]
    assert [row.class_id for row in boxes.rows] == ["0", "12"]
    assert (boxes.form, boxes.kind) == ("YOLO", "boxes")
    polygon = read_yolo(folder, [write(folder, "1 0 0 1e-1 0 .1 .1")])
    assert polygon.rows[0].outline == Polygons(((0, 0, 0.1, 0, 0.1, 0.1),), relative=True)
    assert polygon.kind == "masks"


@pytest.mark.parametrize("place", ["", "..", "../.."])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "scratch\n\n dent \n"),
        ("obj.names", "\ufeffscratch\ndent"),
        ("_darknet.labels", "scratch\ndent"),
        ("data.yaml", "names: [scratch, dent]\ntrain: x"),
        ("data.yaml", "path: a\npath: b\nnames: [scratch, dent]\n"),
        ("dataset.yaml", "names:\n  0: scratch\n  1: dent\n"),
    ],
)
def test_classes_are_named_by_a_file_nearby(folder, place, name, text):
    file = write(folder, "1 .5 .5 .1 .1")
    write(folder / place, text, name)
    assert find_names_file(folder) == folder / place / name or place
    table = read_yolo(folder, [file])
    assert table.rows[0].class_id == "dent"
    assert len(table.files) == 2


def test_names_may_lie_beside_the_files_of_each_split(folder):
    files = []
    for split in ("train", "valid"):
        (folder / split).mkdir()
        write(folder, "scratch\ndent", f"{split}/_darknet.labels")
        files.append(write(folder, "1 .5 .5 .1 .1", f"{split}/{split}.txt"))
    assert {row.class_id for row in read_yolo(folder, files).rows} == {"dent"}
    write(folder, "dent\nscratch", "valid/_darknet.labels")
    with pytest.raises(LabelError, match="give different names"):
        read_yolo(folder, files)


def test_one_yaml_of_any_name_beside_the_labels_names_the_classes_and_it_is_said(folder):
    file = write(folder, "1 .5 .5 .1 .1")
    write(folder.parent, "lr: 0.1\n", "hyp.yml")
    write(folder.parent, "nc: 2\nnames: [scratch, dent]\n", "mine.yml")
    table = read_yolo(folder, [file])
    assert table.rows[0].class_id == "dent"
    assert table.notes == (f"{folder.parent / 'mine.yml'} names the classes",)
    write(folder.parent, "names: [dent, scratch]\n", "other.yaml")
    assert read_yolo(folder, [file]).rows[0].class_id == "1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: a, 2: b}", "or one whose numbers have gaps"),
        ("nc: 2", "has no list of names"),
        ("names: [a", "is not readable YAML"),
    ],
)
def test_names_that_cannot_be_read_stop(folder, text, message):
    write(folder, text, "data.yaml")
    with pytest.raises(LabelError, match=message):
        read_yolo(folder, [write(folder, "0 .5 .5 .1 .1")])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 .5 .5 .1 .1", "part.txt:2: class 2 has no name: 2 classes are named"),
        ("0 .5 .5 .1", "part.txt:2: '0 .5 .5 .1' is not a class number with the numbers"),
        ("0 .5 .5 .1 -e", "part.txt:2: '0 .5 .5 .1 -e' has values that are not numbers"),
        ("c .5 .5 .1 .1", "part.txt:2: class 'c' is not one of the 2 that are named"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(folder, line, reason):
    write(folder, "a\nb", "classes.txt")
    table = read_yolo(folder, [write(folder, f"0 .5 .5 .1 .1\n{line}\n")])
    assert [row.class_id for row in table.rows] == ["a"]
    assert table.refused[0].reason.startswith(reason)


def test_classes_may_be_written_as_0_0_and_scores_are_no_labels(folder):
    table = read_yolo(
        folder, [write(folder, "0.0 .5 .5 .1 .1\n1. .5 .5 .1 .1\n2 .5 .5 .1 .1 .9\n")]
    )
    assert [row.class_id for row in table.rows] == ["0", "1"]
    assert "it has six numbers, as detections with a score" in table.refused[0].reason


def test_an_empty_file_is_a_good_image(folder):
    (folder / "lot").mkdir()
    table = read_yolo(folder, [write(folder / "lot", "\n")])
    assert table.empty_files == {"lot/part": "lot/part"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\n0 .5 .5 .1 .1", True), ("0 1 2 3", False), ("scratch\ndent", False), ("", False)],
)
def test_the_first_line_with_text_shows_the_format(folder, text, expected):
    assert is_yolo(write(folder, text)) == expected


def test_a_file_that_is_not_text_is_not_yolo(folder):
    (folder / "part.txt").write_bytes(b"\xff\xfe0 .5 .5 .1 .1")
    assert not is_yolo(folder / "part.txt")


def test_names_by_number_may_be_text(folder):
    (folder / "data.yaml").write_text("names:\n  '0': dent\n  '1': hole\n")
    assert read_yolo(folder, [write(folder, "1 .5 .5 .1 .1")]).rows[0].class_id == "hole"


def test_classes_may_be_written_by_name(folder):
    file = write(folder, "dent .5 .5 .1 .1")
    assert is_yolo(file)
    assert read_yolo(folder, [file]).rows[0].class_id == "dent"
    (folder / "classes.txt").write_text("hole")
    assert "class 'dent' is not one of" in read_yolo(folder, [file]).refused[0].reason


def test_pixels_are_told_from_fractions(folder):
    table = read_yolo(folder, [write(folder, "0 50 40 10 10\n0 1.01 .5 .1 .1")])
    assert "is in pixels, but YOLO is in fractions" in table.refused[0].reason
    assert len(table.rows) == 1


def test_the_points_of_poses_are_no_polygons(folder):
    (folder / "data.yaml").write_text("names: [dent]\nkpt_shape: [3, 2]\n")
    with pytest.raises(LabelError, match="points of poses, not the outlines of defects"):
        read_yolo(folder, [write(folder, "0 .5 .5 .1 .1 .5 .5 .6 .6 .7 .3")])
