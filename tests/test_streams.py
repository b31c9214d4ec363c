import io
import subprocess
import sys
from types import SimpleNamespace

import pytest

from defectkit import streams

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


MUCH = """
import os
import sys
from defectkit.streams import open_streams
os.set_blocking(1, False)
os.set_blocking(2, False)
open_streams()
print("x" * 200_000)
for _ in range(100):
    print("y" * 2_000, file=sys.stderr)
"""


@pytest.mark.check(54)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_full_pipe_that_does_not_block_is_waited_for(tmp_path):
    (tmp_path / "much.py").write_text(MUCH)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, tmp_path / "much.py"], stdout=pipe, stderr=pipe) as ran:
        with pytest.raises(subprocess.TimeoutExpired):
            ran.wait(1)  # Nobody reads, and both pipes are full.
        out, err = ran.communicate()
    assert ran.returncode == 0, err[-500:]
    assert out == b"x" * 200_000 + b"\n"
    assert err == (b"y" * 2_000 + b"\n") * 100


def test_a_console_of_windows_stays_as_it_is(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(streams, "os", SimpleNamespace(name="nt"))
    assert streams._lenient("stderr", 2, stream) is stream
