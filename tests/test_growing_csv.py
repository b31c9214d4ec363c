import resource
import signal
import sys

import pytest

from defectkit.errors import DiskFullError, OutputError
from defectkit.files import read_csv, write_csv
from defectkit.growing_csv import GrowingCsv

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
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with GrowingCsv(tmp_path / "x.csv", COLUMNS) as table:
        table.append([("a.png", "fits")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(DiskFullError, match=r"cannot write .*x\.csv: File too large"):
                table.append([("b.png", "b" * 2000)])
            table.append([("c.png", "fits")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
    assert [row["image_id"] for row in read_csv(tmp_path / "x.csv")] == ["a.png", "c.png"]


def test_no_table_is_written_over(tmp_path):
    (tmp_path / "x.csv").touch()
    with pytest.raises(OutputError, match=r"cannot write .*x\.csv: File exists"):
        GrowingCsv(tmp_path / "x.csv", COLUMNS)
