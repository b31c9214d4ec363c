import subprocess
import sys

import pytest

OPENED = """
import os
from contextlib import suppress
from defectkit.streams import open_streams, output_failure
open_streams()
print("said")
with open("data.txt", "w") as file:
    with suppress(OSError):
        os.write(2, b"a message of a library")
    file.write("data")
print(output_failure())
"""


@pytest.mark.check(54)
@pytest.mark.skipif(sys.platform == "win32", reason="a shell redirects them")
@pytest.mark.parametrize("streams", ["", "1>&-", "2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_no_file_gets_the_number_of_a_closed_stream(streams, tmp_path):
    (tmp_path / "opened.py").write_text(OPENED)
    command = f"'{sys.executable}' opened.py {streams}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "data.txt").read_text() == "data"
    assert ended.stdout == ("" if "1>" in streams else "said\nNone\n")
