"""Notice that the model, or voice activity detection, gives no more results.

Streams and recordings say when they expect a result, and when they have it. If one is
expected of the model and none at all has come for 20 seconds, something is stuck; so it
is if voice activity detection has owed one for so long. A model that raises an error
three times in a row is broken. All are reported as trouble until a result comes.

A pass that is expected to take long gets proportionally more time: eight windows of
40 s, on a slow processor, are no sign of trouble. Neither is silence: without speech no
result is expected. A pass that has begun is expected to end, even if all that waited
for it have given up.

Safe to use from several threads.
"""

import threading
import time
from collections.abc import Callable

_PATIENCE_S = 20.0
# How many times as long as expected a pass may take.
_SLACK = 4.0
_MAX_FAILED = 3


class Watchdog:
    """Takes note of expected results and of results; knows whether there is trouble.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards all of these
        self._owed: dict[object, float] = {}  # since when; the oldest first
        self._owed_soon: dict[object, float] = {}  # the same
        self._last_result = clock()
        self._running: dict[object, float] = {}  # passes, and what each should take
        self._n_failed = {False: 0, True: 0}  # by whether it is the quick model
        self._error = ""

    def expect(self, *, soon: bool = False) -> Callable[[], None]:
        """Note that a result is expected.

        Args:
            soon: Whether it is overdue by itself, whatever results others get, because
                nothing that takes long comes before it.

        Returns:
            A function to call when the result is there, or is no longer needed; a
            second call does no harm.
        """
        with self._lock:
            return self._expect(self._owed_soon if soon else self._owed)

    def _expect(self, owed: dict[object, float]) -> Callable[[], None]:
        key = object()
        owed[key] = self._clock()

        def settle() -> None:
            with self._lock:
                owed.pop(key, None)

        return settle

    def begin(self, expected_s: float, *, soon: bool = False) -> Callable[[], None]:
        """Note that a pass begins, and how long one like it usually takes.

        Args:
            expected_s: That time.
            soon: As in `expect`.

        Returns:
            A function to call when the pass has ended in any way.
        """
        with self._lock:
            settle = self._expect(self._owed_soon if soon else self._owed)
            self._running[settle] = expected_s

        def end() -> None:
            settle()
            with self._lock:
                self._running.pop(settle, None)

        return end

    def succeed(self, *, quick: bool = False, apart: bool = False) -> None:
        """Note that a pass gave results, or that the model was loaded again.

        Args:
            quick: Whether it was a pass of the quick one of two models.
            apart: Whether that has a device of its own, so that its passes say nothing
                of the other one; what it owes is expected soon.
        """
        with self._lock:
            self._end_pass(quick, apart)
            self._n_failed[quick] = 0

    def fail(
        self, error: Exception, *, quick: bool = False, apart: bool = False
    ) -> None:
        """Note that a pass, or loading the model again, raised an error."""
        with self._lock:
            self._end_pass(quick, apart)
            self._n_failed[quick] += 1
            self._error = type(error).__name__

    def _end_pass(self, quick: bool, apart: bool) -> None:
        if not (quick and apart):
            self._last_result = self._clock()

    @property
    def trouble(self) -> str | None:
        """What is wrong, in a sentence; None if all is well."""
        with self._lock:
            if (n_failed := max(self._n_failed.values())) >= _MAX_FAILED:
                return (
                    f"The model failed {n_failed} times in a row, at last with "
                    f"{self._error}; the log has the details."
                )
            waited_s = self._waited_s()
            if waited_s < self._patience_s():
                return None
            return f"Audio has waited {waited_s:.0f} s without any result."

    @property
    def stuck_s(self) -> float | None:
        """For how many seconds results have been overdue; None if none is."""
        with self._lock:
            overdue_s = self._waited_s() - self._patience_s()
            return overdue_s if overdue_s >= 0 else None

    def _waited_s(self) -> float:
        now = self._clock()
        oldest = next(iter(self._owed.values()), now)
        soonest = next(iter(self._owed_soon.values()), now)
        return now - min(soonest, max(oldest, self._last_result))

    def _patience_s(self) -> float:
        slowest_s = max(self._running.values(), default=0.0)
        return max(_PATIENCE_S, _SLACK * slowest_s)
