"""Tell an observer what goes on at the model.

The scheduler calls an `Observer`; by default it does nothing. What is counted, and how
it is shown, is decided at the edge (`api/metrics.py`), so that nothing here depends on
it. `live/observer.py` has what streams tell besides.

Methods are called from the event loop and from the model's thread, some of them while
locks are held: they return at once and raise nothing.
"""

from enum import Enum

from engine.work_queue import Work


class Drop(Enum):
    """What is left out when there is more of it than time."""

    STALE_PARTIAL = "stale_partial"  # a window gave way to one with newer audio
    UNREAD_PARTIAL = "unread_partial"  # a hypothesis nobody had read gave way
    UNSENT_MESSAGE = "unsent_message"  # the client had not read what came before
    LATE_WINDOW = "late_window"  # its turn did not come within the longest wait


class Observer:
    """Does nothing with what it is told."""

    def window_waited(self, work: Work, seconds: float) -> None:
        """A window's turn at the model has come."""

    def batch_labelled(self, *, n_windows: int, audio_s: float, seconds: float) -> None:
        """A forward pass took some time for windows that hold some audio."""

    def batch_failed(self) -> None:
        """A forward pass raised an error, and not for want of memory to halve."""

    def dropped(self, what: Drop, n: int = 1) -> None:
        """Something was left out."""


NOBODY = Observer()
