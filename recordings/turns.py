"""Share worker threads among recordings: the one that has used them least goes first.

A short recording needs one to three turns. In order of arrival, each of these would
come after a turn of every long recording. In order of the time used, the short
recording overtakes them all. Every fourth turn goes to the recording that has waited
longest, so that a series of short recordings does not stop the long ones.

Safe to use from several threads.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_OLDEST_EVERY = 4


@dataclass(slots=True, eq=False)
class _Waiting:
    share: "Share"
    call: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class Turns:
    """Decide which recording's call a free thread makes.

    Args:
        pool: The threads. Calls from elsewhere use it, too, in the pool's own order.
        clock: Tells the time in seconds.
    """

    def __init__(
        self, pool: Executor, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._lock = threading.Lock()  # guards all of these
        self._waiting: list[_Waiting] = []  # in order of arrival
        self._n_turns = 0

    def share(self) -> "Share":
        """Begin to count how long one recording uses the threads."""
        return Share(self)

    def submit(self, share: "Share", call: Callable[[], T]) -> Future[T]:
        """Make a call in a thread when its turn has come; see `Share.submit`."""
        waiting = _Waiting(share, call)
        with self._lock:
            self._waiting.append(waiting)
        try:
            turn = self._pool.submit(self._take_turn)
        except RuntimeError:  # the pool is closed
            self._take(waiting)
            raise
        turn.add_done_callback(self._note_end)
        return waiting.future

    def _take_turn(self) -> None:
        """Make one of the waiting calls, in a thread of the pool."""
        chosen = self._take()
        if chosen is None or not chosen.future.set_running_or_notify_cancel():
            return
        began = self._clock()
        try:
            result = chosen.call()
        except BaseException as error:
            chosen.share.used_s += self._clock() - began
            chosen.future.set_exception(error)
        else:
            chosen.share.used_s += self._clock() - began
            chosen.future.set_result(result)

    def _take(self, wanted: _Waiting | None = None) -> _Waiting | None:
        with self._lock:
            if wanted is None and self._waiting:
                self._n_turns += 1
                wanted = (
                    self._waiting[0]
                    if self._n_turns % _OLDEST_EVERY == 0
                    else min(self._waiting, key=lambda waiting: waiting.share.used_s)
                )
            if wanted not in self._waiting:
                return None
            self._waiting.remove(wanted)
            return wanted

    def _note_end(self, turn: Future[None]) -> None:
        """Fail a waiting call whose turn will not come: the pool is closed."""
        if turn.cancelled() and (left := self._take()) is not None:
            left.future.cancel()


class Share:
    """One recording's use of the threads.

    Attributes:
        used_s: Seconds of the threads that it has used so far.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.used_s = 0.0

    def submit(self, call: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        """Make a call in one of the threads. Cancelling is safe.

        Raises:
            RuntimeError: The pool is closed.
        """
        return self._turns.submit(self, lambda: call(*args))
