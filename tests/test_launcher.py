import os
import signal
import subprocess
import sys
import time

import pytest

from defectkit import launcher
from defectkit.errors import ConfigError

PLACE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
         "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    def launch(**changes: str) -> None:
        for name, value in {**PLACE, **changes}.items():
            monkeypatch.setenv(name, value)

    return launch


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # clusters set it for other reasons
    assert launcher.launched() == (0, 1)
    assert (launcher.launch_name(), launcher.restarts(), launcher.on_this_machine()) == ("", 0, 1)


def test_torchrun_tells_place_restarts_and_launch(launched):
    launched(TORCHELASTIC_RESTART_COUNT="3", TORCHELASTIC_RUN_ID="seven")
    assert launcher.launched() == (1, 2)
    assert (launcher.restarts(), launcher.on_this_machine()) == (3, 2)
    assert launcher.launch_name() == "seven"
    launched(TORCHELASTIC_RUN_ID="none")
    assert launcher.launch_name().endswith(f":{os.getppid()}")


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("-1", "2"), ("x", "2"), ("0", "")])
def test_a_place_that_is_none_is_a_mistake(launched, rank, world):
    launched(RANK=rank, WORLD_SIZE=world)
    with pytest.raises(ConfigError, match="are no place among processes. Start them with torchrun"):
        launcher.launched()


PARENT = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]]).pid, flush=True)
sys.stdin.read()
"""
CHILD = """
import sys, time
from pathlib import Path
from defectkit import launcher
from defectkit.signals import orderly_end
with orderly_end():
    launcher.end_with_launcher()
    Path(sys.argv[1], "ready").touch()
    try:
        time.sleep(60)
    except SystemExit as ended:
        Path(sys.argv[1], "ended").write_text(str(ended.code))
"""


@pytest.mark.skipif(os.name == "nt", reason="parents that have ended are not seen")
def test_a_process_ends_in_order_after_its_launcher_was_killed(tmp_path):
    words = [sys.executable, "-c", PARENT, CHILD, str(tmp_path)]
    pipe = subprocess.PIPE
    parent = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
    assert parent.stdout
    int(parent.stdout.readline())
    wait_for(tmp_path / "ready")
    assert not (tmp_path / "ended").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(tmp_path / "ended")
    assert (tmp_path / "ended").read_text() == "143"


def wait_for(path):
    deadline = time.monotonic() + 30
    while not (path.exists() and (path.name == "ready" or path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
