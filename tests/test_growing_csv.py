import sys

import pytest

from defectkit.errors import DiskFullError, OutputError
from defectkit.files import read_csv, write_csv
from defectkit.growing_csv import GrowingCsv, read_whole_rows

COLUMNS = ("image_id", "text")
ROWS = [("=1.png", "a\nb"), ("b,c.png", None), ("零\udce9.png", "x")]


@pytest.mark.check(54)
def test_rows_are_on_disk_as_they_come_and_as_a_whole_table_has_them(tmp_path):
    with GrowingCsv(tmp_path / "grown.csv", COLUMNS) as table:
        for count, row in enumerate(ROWS):
            assert len(read_csv(tmp_path / "grown.csv")) == count
            table.append([row])
    write_csv(tmp_path / "whole.csv", COLUMNS, ROWS)
    assert (tmp_path / "grown.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits on file sizes")
@pytest.mark.check(54)
def test_a_row_that_the_disk_has_no_space_for_is_not_there_in_part(tmp_path):
    from full_disk import files_of_at_most

    with GrowingCsv(tmp_path / "x.csv", COLUMNS) as table:
        table.append([("a.png", "fits")])
        with files_of_at_most(1000):
            with pytest.raises(DiskFullError, match=r"cannot write .*x\.csv: File too large"):
                table.append([("b.png", "b" * 2000)])
            table.append([("c.png", "fits")])
    assert [row["image_id"] for row in read_csv(tmp_path / "x.csv")] == ["a.png", "c.png"]


def test_no_table_is_written_over(tmp_path):
    (tmp_path / "x.csv").touch()
    with pytest.raises(OutputError, match=r"cannot write .*x\.csv: File exists"):
        GrowingCsv(tmp_path / "x.csv", COLUMNS)


def test_whole_rows_are_read_back_and_end_where_a_continuation_may_begin(tmp_path):
    path = tmp_path / "x.csv"
    with GrowingCsv(path, COLUMNS) as table:
        sizes = []
        for row in ROWS[:2]:
            table.append([row])
            sizes.append(table.size)
    with path.open("ab") as file:
        file.write(b"cut,of")
    read = list(read_whole_rows(path, COLUMNS))
    assert read == [([ROWS[0][0], ROWS[0][1]], sizes[0]), ([ROWS[1][0], ""], sizes[1])]
    with GrowingCsv(path, COLUMNS, keep=read[-1][1]) as table:
        table.append([("d.png", "new")])
    names = [cells[0] for cells, _ in read_whole_rows(path, COLUMNS)]
    assert names == ["=1.png", "b,c.png", "d.png"]


def test_damaged_rows_and_other_columns_are_no_rows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("image_id,text\na.png,x\nb.png\n")
    rows = read_whole_rows(path, COLUMNS)
    assert next(rows)[0] == ["a.png", "x"]
    with pytest.raises(ValueError, match=r"x\.csv has a row of 1 cells"):
        next(rows)
    with pytest.raises(ValueError, match=r"x\.csv has other columns than image_id"):
        list(read_whole_rows(path, ("image_id",)))
    path.write_text("")
    assert list(read_whole_rows(path, COLUMNS)) == []
