import subprocess
import sys

import pytest
from peak_memory import can_measure, taken_bytes

import defectkit.memory
from defectkit.data import stored_image
from defectkit.errors import ImageError, ImageMemoryError
from defectkit.memory import GIB, check_memory, free_memory, peak_memory, return_freed

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system whose files are in a folder."""
    monkeypatch.setattr(defectkit.memory, "SYSTEM", tmp_path)

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


@pytest.mark.check(61)
@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"proc/meminfo": MEMINFO}, 8000 * 1024),
        (
            {
                "proc/meminfo": MEMINFO,
                f"{V2}/memory.max": "5000000\n",
                f"{V2}/memory.current": "4000000\n",
                f"{V2}/memory.stat": "anon 7\ninactive_file 500000\n",
            },
            1_500_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                f"{V2}/memory.max": "max\n",
                f"{V2}/memory.current": "4000000\n",
            },
            8000 * 1024,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                f"{V1}/memory.limit_in_bytes": "3000000",
                f"{V1}/memory.usage_in_bytes": "4000000",
                f"{V1}/memory.stat": "total_inactive_file 1\n",
            },
            0,
        ),
    ],
    ids=["machine", "container", "container without a limit", "old container that is full"],
)
def test_the_smallest_limit_counts(system, files, free):
    system(files)
    assert free_memory() == free


def test_a_system_that_tells_nothing_refuses_nothing(monkeypatch):
    monkeypatch.setattr(defectkit.memory, "_free", lambda: iter(()))
    assert free_memory() is None
    check_memory(1e18, what="x")


def test_what_is_needed_and_free_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setattr(defectkit.memory, "free_memory", lambda: 3 * GIB)
    check_memory(3 * GIB, what="x")
    message = r"a\.png: decoding takes about 4\.50 GiB of memory, but 3\.00 GiB are free\. Cut the"
    with pytest.raises(ImageError, match=message) as raised:
        check_memory(4.5 * GIB, what="a.png: decoding")
    assert raised.value.exit_code == 5


@pytest.mark.check(57)
def test_too_little_memory_is_no_bad_row_to_leave_out(cli, source_csv, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ImageMemoryError("decoding takes too much")

    monkeypatch.setattr(stored_image, "check_memory", refuse)
    words = ["prepare", source_csv, "--skip-bad-rows", "--workers", 0, "--out", tmp_path / "out"]
    ended = cli(*words)
    assert ended.code == 5, ended.err
    assert "decoding takes too much" in ended.err
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_free_memory_is_not_asked_for_where_little_is_needed(monkeypatch):
    monkeypatch.setattr(defectkit.memory, "free_memory", lambda: 0)
    check_memory(10**7, what="x")
    with pytest.raises(ImageError):
        check_memory(10**8, what="x")


LIMITED = """
import io, resource, numpy as np
from PIL import Image
from defectkit.data.images import decode_image
from defectkit.errors import ImageError
buffer = io.BytesIO()
Image.new("L", (16384, 16384)).save(buffer, "PNG", compress_level=1)
size = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, resource.RLIM_INFINITY))
try:
    decode_image(buffer.getvalue(), name="large.png")
except ImageError as error:
    print(error)
buffer = io.BytesIO()
Image.new("L", (1000, 1000)).save(buffer, "PNG")
print(decode_image(buffer.getvalue(), name="small.png").shape)
"""


@pytest.mark.check(61)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_a_limited_process_refuses_an_image_and_goes_on():
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )
    refused, read = ended.stdout.splitlines()
    assert refused.startswith("large.png: decoding the image takes about 1.00 GiB of memory, but 0")
    assert read == "(1000, 1000)"


@pytest.mark.slow
def test_the_most_memory_that_was_taken_stays():
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not tell")
    block = b"1" * (before + 2**26)
    assert len(block) < peak_memory() < before + len(block) + 2**26
    del block
    assert peak_memory() > before + 2**26


@pytest.mark.skipif(not can_measure(), reason="the memory cannot be measured")
def test_what_was_freed_goes_back_to_the_system():
    blocks = [bytearray(50_000) for _ in range(2000)]
    last = bytearray(50_000)  # It is behind all others: what is freed before it is kept.
    taken = taken_bytes()
    del blocks
    return_freed()
    assert taken_bytes() < taken - 50 * 2**20
    assert len(last) == 50_000


def test_another_system_returns_it_itself(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(defectkit.memory.ctypes, "CDLL", lambda _: 1 / 0)
    return_freed()
