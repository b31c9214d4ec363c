import errno
import multiprocessing
import os
import signal
import time
from collections import namedtuple
from pathlib import Path

import pytest

from defectkit import processes
from defectkit.errors import DefectkitWarning, WorkerError

pytestmark = pytest.mark.check(56)

posix = pytest.mark.skipif(os.name == "nt", reason="forks and kills")


@pytest.mark.parametrize(("free", "allowed"), [(2**20, 3), (150_000, 1), (60_000, 0)])
def test_no_more_workers_than_shared_memory_has_room_for(free, allowed, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(processes.shutil, "disk_usage", lambda _: usage(free))
    if allowed == 3:
        assert processes.allowed_workers(3, option="--workers 0", shared_bytes=80_000) == 3
        return
    message = rf"shared memory \(.*: {free:,} bytes are free\) allows {allowed} of 3 .*--workers 0"
    with pytest.warns(DefectkitWarning, match=message):
        assert processes.allowed_workers(3, option="--workers 0", shared_bytes=80_000) == allowed


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOSPC])
def test_without_locks_there_are_no_workers(number, monkeypatch):
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    with pytest.warns(DefectkitWarning, match=rf"{os.strerror(number)}\) allows 0 of 2 worker"):
        assert processes.allowed_workers(2, option="--workers 0") == 0


def test_a_process_that_cannot_be_started_is_an_error_with_the_way_out():
    message = r"cannot be started \(.*\)\. Start none: --workers 0\."
    with pytest.raises(WorkerError, match=message), processes.explain_failed_start("--workers 0"):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def start_worker(ready) -> None:
    processes.prepare_worker()
    ready.set()
    time.sleep(60)


def start_parent(numbers) -> None:
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    worker = fork.Process(target=start_worker, args=(ready,))
    worker.start()
    ready.wait()
    numbers.send(worker.pid)
    time.sleep(60)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@posix
def test_a_worker_does_not_outlive_its_parent():
    fork = multiprocessing.get_context("fork")
    numbers, sent = fork.Pipe(duplex=False)
    parent = fork.Process(target=start_parent, args=(sent,))
    parent.start()
    worker = numbers.recv()
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        # Nobody may be there to take its exit status; then it stays as a zombie.
        if "\nState:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.05)
    assert not is_alive(worker)


@posix
@pytest.mark.parametrize(
    ("number", "ended"), [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, True)]
)
def test_a_signal_to_all_processes_leaves_the_first_word_to_the_parent(number, ended):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    worker = fork.Process(target=start_worker, args=(ready,))
    worker.start()
    ready.wait()
    os.kill(worker.pid, number)
    worker.join(0.5)
    assert worker.is_alive()
    worker.join(processes.PARENT_FIRST_SECONDS)
    assert worker.is_alive() != ended
    worker.kill()
    worker.join()


@posix
def test_workers_are_killed_also_where_their_end_is_not_awaited(monkeypatch):
    before = multiprocessing.active_children()
    fork = multiprocessing.get_context("fork")
    worker = fork.Process(target=time.sleep, args=(60,))
    worker.start()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as second:
        second.setattr(type(worker), "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            processes.end_workers(before)
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL
