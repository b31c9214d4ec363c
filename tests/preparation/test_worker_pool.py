import gc
import multiprocessing
import os
import time

import pytest

from defectkit.errors import ConfigError, WorkerError
from defectkit.preparation.worker_pool import open_worker_pool


def double(number: int) -> int:
    return 2 * number


def idle(seconds: float) -> None:
    time.sleep(seconds)


def die(number: int) -> int:
    os._exit(1)


@pytest.mark.parametrize(("count", "processes"), [(0, 0), (2, 2)])
def test_results_come_in_the_order_of_the_jobs(count, processes):
    with open_worker_pool(count, n_jobs=100) as workers:
        assert workers.count == processes
        assert list(workers.map(double, range(100))) == list(range(0, 200, 2))


def test_only_while_workers_live_is_what_they_inherit_no_garbage():
    with open_worker_pool(1, n_jobs=10):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_little_work_starts_no_process():
    with open_worker_pool(None, n_jobs=60) as workers:
        assert workers.pool is None


def test_no_more_processes_are_started_than_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    with open_worker_pool(None, n_jobs=10_000) as workers:
        assert workers.count == 1


def test_counts_that_cannot_be_are_refused():
    for count in (-1, 62):  # Windows cannot wait for so many
        message = rf"--workers {count} is out of range\. Choose between 0 and 61\."
        with pytest.raises(ConfigError, match=message), open_worker_pool(count, n_jobs=9):
            pass


def test_a_process_that_dies_is_an_error_for_people():
    with (
        pytest.raises(
            WorkerError, match=r"one of 2 worker processes died.*Use fewer: --workers 1\."
        ),
        open_worker_pool(2, n_jobs=10) as workers,
    ):
        list(workers.map(die, range(10)))


def test_an_error_in_the_middle_ends_the_processes():
    pools = []

    def break_off():
        with open_worker_pool(2, n_jobs=1000) as workers:
            pools.append(workers.pool)
            workers.map(idle, [0.02] * 2000)
            raise ValueError("enough")

    start = time.monotonic()
    with pytest.raises(ValueError, match="enough"):
        break_off()
    assert time.monotonic() - start < 10  # all of it would take 20 s
    with pytest.raises(RuntimeError, match="after shutdown"):
        pools[0].submit(double, 1)


@pytest.mark.slow
@pytest.mark.check(56)
def test_an_interrupted_pool_waits_for_no_job_that_takes_long():
    def interrupt() -> None:
        with open_worker_pool(2, n_jobs=1000) as workers:
            workers.map(idle, [60] * 4)
            time.sleep(0.3)
            raise KeyboardInterrupt

    before, start = multiprocessing.active_children(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert time.monotonic() - start < 10
    assert multiprocessing.active_children() == before
