"""Count passes that fail in a row, so that a broken model is tried less and less often.

A live stream whose window failed sends the next at once: without a pause, a broken
model would be tried thousands of times a second, each time with a line in the log.

Pure: no I/O, clock, settings or threads; `now` is an argument.
"""

# Pause after the first failure; each further one doubles it, up to the longest.
_LEAST_PAUSE_S = 0.01
_MOST_PAUSE_S = 1.0
_MOST_DOUBLINGS = 7  # more would not fit into a float at some time

# At most one line in so many seconds.
_LOG_EVERY_S = 1.0


class Failures:
    """The passes that failed since the last successful one."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._unlogged = 0
        self._logged_at: float | None = None

    def note_success(self) -> None:
        """A pass gave results."""
        self._in_a_row = 0

    def note_failure(self, error: Exception, now: float) -> str | None:
        """Count a window that failed by itself.

        Returns:
            The line for the log; None if the last line is too recent.
        """
        self._in_a_row += 1
        self._unlogged += 1
        if self._logged_at is not None and now - self._logged_at < _LOG_EVERY_S:
            return None
        n, self._unlogged, self._logged_at = self._unlogged, 0, now
        windows = "A window" if n == 1 else f"{n} windows"
        return f"{windows} failed, with {type(error).__name__}: {error}"

    @property
    def pause_s(self) -> float:
        """Seconds to wait before the next pass."""
        if not self._in_a_row:
            return 0.0
        doublings = min(self._in_a_row - 1, _MOST_DOUBLINGS)
        return float(min(_MOST_PAUSE_S, _LEAST_PAUSE_S * 2**doublings))
