"""What a signal does to a real command, in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.check(56),
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]

COMMAND = """
import sys, time
from pathlib import Path
from defectkit import signals
signals.SECONDS_TO_END = 1.0
with signals.orderly_end():
    try:
        Path(sys.argv[1]).touch()
        time.sleep(60)
    finally:
        {cleanup}
        print("cleaned", flush=True)
"""


@pytest.fixture
def command(tmp_path):
    """Start a command that waits, then cleans up; return it when it waits."""

    def start(
        cleanup: str, ignored: tuple[int, ...] = (), text: str = COMMAND
    ) -> "subprocess.Popen[str]":
        def set_signals() -> None:  # Of a job in the background the shell ignores some.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

        ready = tmp_path / "ready"
        words = [sys.executable, "-c", text.format(cleanup=cleanup), str(ready)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            words, stdout=pipe, stderr=pipe, text=True, preexec_fn=set_signals
        )
        while not ready.exists():
            time.sleep(0.01)
        return process

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order_with_128_and_the_number_of_the_signal(number, command):
    process = command("pass")
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "cleaned\n"
    assert process.returncode == 128 + number


def test_more_signals_do_not_disturb_the_end(command):
    process = command("time.sleep(0.6)")
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.1)
    assert process.communicate(timeout=30)[0] == "cleaned\n"
    assert process.returncode == 128 + signal.SIGINT


def test_an_end_that_hangs_is_cut_short(command):
    process = command("time.sleep(60)")
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - start < 10


def test_what_nohup_ignores_stays_ignored(command):
    process = command("pass", ignored=(signal.SIGHUP,))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "cleaned\n"


IN_A_DESTRUCTOR = """
import sys, time
from pathlib import Path
from defectkit.signals import orderly_end
class Slow:
    def __del__(self):
        Path(sys.argv[1]).touch()
        time.sleep(60)
with orderly_end():
    try:
        Slow()
        time.sleep(60)
    finally:
        print("cleaned", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_again_where_python_drops_its_exception(number, command):
    process = command("", text=IN_A_DESTRUCTOR)
    process.send_signal(number)
    assert process.communicate(timeout=6) == ("cleaned\n", "")
    assert process.returncode == 128 + number


LATE = """
import atexit, os
from defectkit.signals import orderly_end
with orderly_end():
    pass
atexit.register(os.kill, os.getpid(), {number})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_command_that_is_done_ends_it_without_a_traceback(number):
    words = [sys.executable, "-c", LATE.format(number=int(number))]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (128 + number, "")


NOTED = """
import signal, sys, time
from defectkit.signals import noted_signal, noted_signals, orderly_end
with orderly_end():
    try:
        with noted_signals():
            signal.raise_signal(signal.SIGTERM)
            print("goes on", noted_signal() if {asked} else "", flush=True)
        print("after", flush=True)
    finally:
        print("cleaned", flush=True)
"""


@pytest.mark.parametrize(
    ("asked", "printed", "status"),
    [(True, "goes on 15\nafter\ncleaned\n", 0), (False, "goes on \ncleaned\n", 143)],
)
def test_a_noted_signal_ends_nothing_until_it_is_asked_for(asked, printed, status):
    words = [sys.executable, "-c", NOTED.format(asked=asked)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == (printed, status)
