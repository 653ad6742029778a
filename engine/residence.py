"""Decide when a model is unloaded, and when it is loaded again.

A model that has had no work for a while can leave memory, if the operator wants that
(`UNLOAD_AFTER_S`). Work is a window that waits or is in a pass, and an open live
stream, however silent: its next word should not wait for a disk. For the same reason a
stream that opens loads the model at once, before it has sent any audio.

After a load that failed only a window tries again; an open stream alone does not, or
the disk would be read for ever.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from enum import Enum, auto


class Step(Enum):
    """What a thread of the model does next."""

    WAIT = auto()
    SERVE = auto()
    LOAD = auto()
    UNLOAD = auto()
    END = auto()


class _State(Enum):
    UNLOADED = auto()
    MOVING = auto()  # a thread loads or unloads it
    LOADED = auto()


class Residence:
    """Whether a model is in memory, and should be.

    Args:
        unload_after_s: Seconds without work after which it is unloaded; 0: never.

    Attributes:
        load_s: Seconds that the last load took.
    """

    def __init__(self, unload_after_s: float) -> None:
        self._unload_after_s = unload_after_s
        self._state = _State.UNLOADED
        self._worked = 0.0  # when there last was work
        self._due = False  # to be unloaded
        self._failed = False  # the last load
        self.load_s = 0.0

    @property
    def moving(self) -> bool:
        """Whether a thread loads or unloads the model."""
        return self._state is _State.MOVING

    def note_loaded(self, now: float, *, took_s: float) -> None:
        """Note that the model is in memory from now on."""
        self._state, self._failed = _State.LOADED, False
        self.load_s = took_s
        self._worked = now

    def note_failure(self) -> None:
        """Note that it could not be loaded."""
        self._state, self._failed = _State.UNLOADED, True

    def note_unloaded(self) -> None:
        """Note that it is not in memory any more."""
        self._state = _State.UNLOADED

    def note_work(self, now: float) -> None:
        """Note that there is work, or was until now."""
        self._worked = now

    def look(self, now: float, *, busy: bool) -> bool:
        """Return whether to unload it; `next_step` says so, too.

        Args:
            now: The time in seconds.
            busy: Whether there is work.
        """
        if busy:
            self._worked = now
        if busy or not self._unload_after_s or self._state is not _State.LOADED:
            return False
        self._due = now - self._worked >= self._unload_after_s
        return self._due

    def next_step(self, *, n_windows: int, n_streams: int, closed: bool) -> Step:
        """Return what the asking thread does next; LOAD and UNLOAD are for it alone.

        Args:
            n_windows: Windows that wait.
            n_streams: Live streams that are open.
            closed: Whether no more windows come.
        """
        if closed and not n_windows:
            return Step.END
        if self._state is _State.LOADED:
            due, self._due = self._due, False
            if n_windows:
                return Step.SERVE
            if not due or n_streams:
                return Step.WAIT
            self._state = _State.MOVING
            return Step.UNLOAD
        wanted = n_windows or (n_streams and not self._failed)
        if self._state is _State.MOVING or not wanted:
            return Step.WAIT
        self._state = _State.MOVING
        return Step.LOAD
