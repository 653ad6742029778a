"""Tell an observer what happens at the model.

The scheduler calls an `Observer`; the default one does nothing. The edge
(`api/metrics.py`) decides what to count and how to show it, so the engine does not
depend on it. `live/observer.py` has the events of streams.

Methods are called from the event loop and from the model's thread, some of them while
locks are held: they return at once and raise nothing.
"""

from enum import Enum

from engine.work_queue import Work


class Drop(Enum):
    """What is left out for lack of time."""

    STALE_PARTIAL = "stale_partial"  # a window was replaced by one with newer audio
    UNREAD_PARTIAL = "unread_partial"  # an unread partial was replaced by a newer one
    UNSENT_MESSAGE = "unsent_message"  # the client had not read the messages before it
    LATE_WINDOW = "late_window"  # its turn did not come within the longest wait


class Observer:
    """Ignores all events; subclasses override the methods that they need."""

    def window_waited(self, work: Work, seconds: float) -> None:
        """A window's turn at the model has come."""

    def batch_labelled(
        self, *, n_windows: int, audio_s: float, seconds: float, quick: bool
    ) -> None:
        """A forward pass over a batch ended; it took `seconds`.

        `quick` says whether it was a pass of the quick one of two models.
        """

    def batch_failed(self) -> None:
        """A forward pass raised an error that halving the batch does not solve."""

    def dropped(self, what: Drop, n: int = 1) -> None:
        """Something was left out."""


NOBODY = Observer()
