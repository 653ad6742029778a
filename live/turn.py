"""Keep a stream's turn in the queue while its windows are exchanged.

While a window waits for the model, newer audio or a pause of the speaker wants another
one in its place. If each began to wait anew, a stream with many pauses would hardly
ever have its turn when there is too little time. So the next window that shows text is
due when the first of those was that the model never heard.

Pure: no I/O, clock, settings or threads; times are arguments. Not safe for concurrent
use.
"""

from math import inf

from engine.work_queue import Work
from live.utterance import Request


class Turn:
    """When the next window of one stream that shows text is due at the latest."""

    def __init__(self) -> None:
        self._due = inf

    def keep(self, request: Request, work: Work, due: float) -> None:
        """Note that a window which was due then left the queue without being heard."""
        if _shows_text(request, work):
            self._due = min(self._due, due)

    def take(self, request: Request, due: float) -> float:
        """Return when a window is due that enters the queue, `due` at the latest."""
        if not _shows_text(request, request.work):
            return due
        due, self._due = min(due, self._due), inf
        return due

    def end(self) -> None:
        """Note that the stream had its turn."""
        self._due = inf


def _shows_text(request: Request, work: Work) -> bool:
    """Whether the labels of a window, heard for some work, are shown as a partial."""
    if work is Work.STREAM_SPECULATION:
        return not request.utterance.has_quick
    return work is Work.STREAM_PARTIAL
