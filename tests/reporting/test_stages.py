import threading
import time
from contextlib import closing

import pytest

from defectkit.reporting.stages import Room, Stage, run_stages


def watch():
    """Return a function that notes what it is called with, and its notes."""
    seen = []

    def note(item):
        seen.append(item)
        return item

    return note, seen


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    def sometimes_slow(item):
        time.sleep(0.02 if item % 4 == 0 else 0)
        return item * 10

    stages = [Stage(sometimes_slow, threads), Stage(lambda item: item + 1)]
    assert list(run_stages(range(20), stages, ahead=4)) == [10 * n + 1 for n in range(20)]
    assert list(run_stages([], stages, ahead=4)) == []


def test_stages_work_at_the_same_time():
    both = threading.Barrier(2, timeout=30)

    def meet(item):
        if item in (0, 1):  # The second stage has the first item, and the first stage the second.
            both.wait()
        return item

    first = Stage(lambda item: meet(item) if item == 1 else item)
    second = Stage(lambda item: meet(item) if item == 0 else item)
    assert list(run_stages(range(3), [first, second], ahead=2)) == [0, 1, 2]


def test_no_more_items_are_taken_than_may_wait():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with closing(run_stages(items(), [Stage(lambda item: item)], ahead=3)) as results:
        next(results)
        time.sleep(0.3)
        assert len(taken) <= 1 + 3 + 1  # One was yielded, three wait, one waits for its place.


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("place", [0, 1])
def test_what_a_stage_raises_is_raised_after_the_results_before(error, place):
    def fail(item):
        if item == 2:
            raise error
        return item

    stages = [Stage(lambda item: item), Stage(lambda item: item)]
    stages[place] = Stage(fail)
    results = []
    with pytest.raises(type(error)):
        results.extend(run_stages(range(9), stages, ahead=2))
    seen = []
    with pytest.raises(type(error)):  # noqa: PT012
        for result in run_stages(range(9), stages, ahead=2):
            seen.append(result)  # noqa: PERF402
    assert seen == [0, 1]


def test_what_the_items_raise_is_raised_after_the_results_before():
    def items():
        yield from (0, 1)
        raise OSError("gone")

    seen = []
    with pytest.raises(OSError, match="gone"):  # noqa: PT012
        for result in run_stages(items(), [Stage(lambda item: item)], ahead=2):
            seen.append(result)  # noqa: PERF402
    assert seen == [0, 1]


def test_after_the_end_no_further_work_begins_and_none_is_waited_for():
    at_work, go_on = threading.Event(), threading.Event()
    drawn, seen = watch()

    def slow(item):
        if item == 1:
            at_work.set()
            go_on.wait(30)
        return item

    begun = time.monotonic()
    with closing(run_stages(range(9), [Stage(slow), Stage(drawn)], ahead=4)) as results:
        assert next(results) == 0
        assert at_work.wait(30)
        time.sleep(0.1)  # The second stage waits for it by now.
    assert time.monotonic() - begun < 10
    go_on.set()
    time.sleep(0.3)
    assert seen == [0]


def test_room_is_taken_until_it_is_given_back():
    room, taken = Room(10), []

    def take(*sizes):
        for size in sizes:
            room.take(size)
            taken.append(size)

    taker = threading.Thread(target=take, args=(6, 4, 3, 99), daemon=True)
    taker.start()
    for before, size in [([6, 4], 6), ([6, 4, 3], 4), ([6, 4, 3], 3)]:
        deadline = time.monotonic() + 30
        while taken != before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert taken == before
        room.give_back(size)
    taker.join(30)
    assert taken == [6, 4, 3, 99]  # What is too large gets all of it.
    room.give_back(99)
    room.take(10)


def test_a_closed_room_lets_nobody_wait():
    room = Room(1)
    room.take(1)
    waiting = threading.Thread(target=room.take, args=(1,), daemon=True)
    waiting.start()
    room.close()
    waiting.join(30)
    assert not waiting.is_alive()


def test_at_the_end_no_thread_is_left():
    before = set(threading.enumerate())

    def work(number: int) -> int:
        time.sleep(0.01)
        return number + 1

    assert list(run_stages(range(5), [Stage(work, 2), Stage(work)], ahead=2)) == [2, 3, 4, 5, 6]
    assert set(threading.enumerate()) == before
