"""Share worker threads among recordings: who has used them least goes first.

A short recording needs a turn or three. In order of arrival each would come after one
of every long recording that is there. By the time that each has used, the short one
passes them all. Every fourth turn goes to whoever has waited longest, so that a stream
of short ones does not stop the long ones.

Safe to be used from several threads.
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
    """Decide whose call a free thread makes.

    Args:
        pool: The threads. Others may use it, too, and wait in its own order.
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
        """Begin to count what one recording uses."""
        return Share(self)

    def submit(self, share: "Share", call: Callable[[], T]) -> Future[T]:
        """Have a call made when its turn has come; see `Share.submit`."""
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
        """Make one of the calls that wait, in a thread of the pool."""
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
        """Tell somebody who waits that a turn will not come: the pool is closed."""
        if turn.cancelled() and (left := self._take()) is not None:
            left.future.cancel()


class Share:
    """What one recording uses of the threads.

    Attributes:
        used_s: Seconds of them so far.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.used_s = 0.0

    def submit(self, call: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        """Have a call made in one of the threads. Cancelling is safe.

        Raises:
            RuntimeError: The pool is closed.
        """
        return self._turns.submit(self, lambda: call(*args))
