"""Whose call a thread makes next: counted in turns, with threads that a test plays."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from recordings.turns import Share, Turns

STEP_S = 0.1


class OneTurnAtATime(Executor):
    """Makes a call when the test says so, and each takes as long."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []
        self.now = 0.0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._calls.append(lambda: fn(*args, **kwargs))
        return Future()

    def turn(self) -> None:
        self._calls.pop(0)()

    def clock(self) -> float:
        self.now += STEP_S
        return self.now


class Recording:
    """Wants a turn as soon as it has had one."""

    def __init__(self, turns: Turns, name: str, told: list[str]) -> None:
        self._share: Share = turns.share()
        self._name = name
        self._told = told
        self.want()

    def want(self) -> None:
        self._share.submit(self._step)

    def _step(self) -> None:
        self._told.append(self._name)
        self.want()


def busy(n_recordings: int, n_turns: int) -> tuple[OneTurnAtATime, Turns, list[str]]:
    """Threads for which long recordings compete, for some time already."""
    pool = OneTurnAtATime()
    turns = Turns(pool, clock=pool.clock)
    told: list[str] = []
    for number in range(n_recordings):
        Recording(turns, f"long {number}", told)
    for _ in range(n_turns):
        pool.turn()
    return pool, turns, told


def test_a_short_recording_passes_forty_long_ones() -> None:
    """Its three turns come among the next few, not after a round of all others each."""
    pool, turns, told = busy(40, 200)
    told.clear()
    Recording(turns, "short", told)

    for _ in range(6):
        pool.turn()

    assert told.count("short") >= 3


def test_long_ones_get_about_the_same() -> None:
    """None is ahead of another by more than some turns."""
    _, _, told = busy(10, 1000)
    counts = [told.count(f"long {number}") for number in range(10)]

    assert sum(counts) == 1000
    assert max(counts) - min(counts) <= 10


def test_short_ones_do_not_stop_a_long_one() -> None:
    """Every fourth turn is for the recording that waits longest, however many come."""
    pool, turns, told = busy(1, 50)
    told.clear()
    for number in range(400):
        turns.share().submit(told.append, f"short {number}")
        turns.share().submit(told.append, f"short {number}")
        pool.turn()

    assert told.count("long 0") >= 1
    assert len(told) == 400


def test_a_call_that_is_cancelled_is_not_made() -> None:
    """And takes no turn of another."""
    pool = OneTurnAtATime()
    turns = Turns(pool, clock=pool.clock)
    told: list[str] = []
    turns.share().submit(told.append, "cancelled").cancel()
    turns.share().submit(told.append, "made")

    pool.turn()
    pool.turn()

    assert told == ["made"]


def test_results_and_errors_reach_who_waits() -> None:
    """From real threads."""
    with ThreadPoolExecutor(2) as pool:
        share = Turns(pool).share()

        assert share.submit(divmod, 7, 2).result(10) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            share.submit(divmod, 7, 0).result(10)


def test_nobody_waits_for_threads_that_have_ended() -> None:
    """Neither later calls are made, nor waiting ones."""
    pool = ThreadPoolExecutor(1)
    share = Turns(pool).share()
    may_end: Future[None] = Future()
    running = share.submit(may_end.result)
    waiting = share.submit(divmod, 7, 2)
    pool.shutdown(wait=False, cancel_futures=True)
    may_end.set_result(None)

    assert running.result(10) is None
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        share.submit(divmod, 7, 2)
