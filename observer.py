"""Tell whoever wants to know what goes on inside.

The scheduler and the streams call an `Observer`; by default it does nothing. What is
counted, and how it is shown, is decided at the edge (`metrics.py`), so that nothing
here depends on it.

Methods are called from the event loop and from the model's thread, some of them while
locks are held: they return at once and raise nothing.
"""

from enum import Enum

from live_events import Cause
from work_queue import Work


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

    def audio_came(self, seconds: float) -> None:
        """A live stream was sent some audio."""

    def partial_made(self, lag_s: float) -> None:
        """A hypothesis was made, so long after the newest audio it speaks for."""

    def first_text_made(self, seconds: float) -> None:
        """An utterance's first text came, so long after its first sound."""

    def final_made(self, cause: Cause, latency_s: float) -> None:
        """A final was made, so long after its end was decided or asked for."""

    def utterance_failed(self) -> None:
        """An utterance has no final, because the model failed."""


NOBODY = Observer()
