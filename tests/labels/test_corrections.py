import pytest

from defectkit.errors import LabelError
from defectkit.labels.corrections import CORRECTION_COLUMNS, Correction, read_corrections

HEADER = ",".join(CORRECTION_COLUMNS)


def write(folder, *rows, header=HEADER):
    path = folder / "relabel.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_rows_are_read_in_their_order(tmp_path):
    path = write(
        tmp_path,
        "a.png,dent,3,4,2,1,drop-label,",
        "",
        "b.png,dent,3,4,2,1,set-class,scratch",
        "'=c.png,,0,0,9,9,ignore,",
        "007,,,,,,mark-good,",
    )
    first, *others = read_corrections(path)
    assert first == Correction(
        line=2, image_id="a.png", action="drop-label", class_id="dent", box_xywh=(3, 4, 2, 1)
    )
    assert [one.line for one in others] == [4, 5, 6]
    assert [one.image_id for one in others] == ["b.png", "=c.png", "007"]
    assert [one.new_class for one in others] == ["scratch", "", ""]


def test_two_columns_are_enough_for_images(tmp_path):
    path = write(tmp_path, "a,leave-out", "b,keep", header="image_id,action")
    assert [one.action for one in read_corrections(path)] == ["leave-out", "keep"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,,,,,,delete,", "the action 'delete' is none of drop-label, set-class, ignore"),
        (",,,,,,keep,", "the row has no image_id"),
        ("a,,1,2,3,4,drop-label,", "drop-label needs a class_id and the box of a region"),
        ("a,dent,,,,,drop-label,", "drop-label needs a class_id and the box of a region"),
        ("a,dent,1,2,3,4,set-class,", "set-class needs a new_class"),
        ("a,,,,,,ignore,", "ignore needs a box"),
        ("a,,1,2,0,4,ignore,", "the box '1,2,0,4' is not four whole numbers of pixels"),
        ("a,,1,-2,3,4,ignore,", "the box '1,-2,3,4' is not four whole numbers of pixels"),
        ("a,,1,,3,4,ignore,", "the box '1,,3,4' is not four whole numbers of pixels"),
    ],
)
def test_rows_that_say_nothing_are_refused_with_their_line(tmp_path, row, reason):
    path = write(tmp_path, "x,,,,,,keep,", row)
    with pytest.raises(LabelError) as refused:
        read_corrections(path)
    assert f"1 row of {path} cannot be applied:\n  {path}:3: {reason}" in str(refused.value)
    assert "Fix or remove them" in str(refused.value)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_spreadsheet_may_have_saved_it(tmp_path, delimiter):
    path = write(tmp_path, "a.png,dent,3,4,2,1,drop-label,", "b.png,,,,,,keep,")
    text = path.read_text(encoding="utf-8").replace(",", delimiter).replace("\n", "\r\n")
    path.write_bytes("\ufeff".encode() + text.encode())
    first, second = read_corrections(path)
    assert (first.image_id, first.box_xywh) == ("a.png", (3, 4, 2, 1))
    assert (second.line, second.action) == (3, "keep")


def test_a_file_without_its_columns_is_refused(tmp_path):
    with pytest.raises(LabelError, match="has no column image_id and no column action"):
        read_corrections(write(tmp_path, "a,b", header="name,what"))


def test_of_many_bad_rows_the_first_are_named(tmp_path):
    with pytest.raises(LabelError, match=r"30 rows of [\s\S]*:11: [\s\S]*and 20 more"):
        read_corrections(write(tmp_path, *["a,,,,,,no,"] * 30))
