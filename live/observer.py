"""Tell an observer the events of live streams, and their latencies.

Pure: no I/O, clock, settings or threads.
"""

from collections import deque
from collections.abc import Callable

from audio.samples import SAMPLE_RATE
from engine.observer import Observer
from live.events import (
    Cause,
    LiveEvent,
    Partial,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)


class LiveObserver(Observer):
    """Ignores the events of the engine and of streams; subclasses use them."""

    def audio_came(self, seconds: float) -> None:
        """A live stream received some audio."""

    def partial_made(self, lag_s: float) -> None:
        """A partial was made, `lag_s` after its newest audio."""

    def first_text_made(self, seconds: float) -> None:
        """An utterance's first text came, `seconds` after its first sound."""

    def final_made(self, cause: Cause, latency_s: float) -> None:
        """A final was made, `latency_s` after its end was decided or requested."""

    def utterance_failed(self) -> None:
        """An utterance has no final, because the model failed."""


NOBODY = LiveObserver()

# A client may send so many seconds of audio at once without being early.
_SLACK_S = 2.0


class Arrivals:
    """Remembers when the audio of one stream came; the clock is the caller's."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=4096)
        self._said_by = 0.0  # when a speaker would have said all audio so far

    def note(self, position: int, now: float) -> None:
        """Note that audio up to a position has come."""
        before = self._arrivals[-1][0] if self._arrivals else 0
        seconds = (position - before) / SAMPLE_RATE
        self._said_by = max(self._said_by, now) + seconds
        self._arrivals.append((position, now))

    def ask(self, position: int, now: float) -> None:
        """Count ages from now: until now the client has not waited for text."""
        if self._arrivals:
            self._arrivals[-1] = (position, now)

    def early_s(self, now: float) -> float:
        """Return by how many seconds audio has come faster than speech."""
        return max(0.0, self._said_by - now - _SLACK_S)

    def age_s(self, position: int, now: float) -> float:
        """Return the seconds since the audio up to a position had come."""
        arrived = now
        for end, time_s in reversed(self._arrivals):
            if end < position:
                break
            arrived = time_s
        return now - arrived


class LiveReport:
    """Takes every event of a stream, in order, and tells an observer.

    Args:
        observer: The observer.
        age_s: Returns how many seconds ago the audio at a position came.
    """

    def __init__(
        self, observer: LiveObserver, *, age_s: Callable[[int], float]
    ) -> None:
        self._observer = observer
        self._age_s = age_s
        self._onsets: dict[int, int] = {}  # those of utterances that are not over
        self._newest_with_text = 0

    def note_event(self, event: LiveEvent, latency_s: float) -> None:
        """Take the next event, made `latency_s` after its newest audio."""
        match event:
            case SpeechStarted():
                self._onsets[event.utterance] = event.position
            case Partial():
                self._observer.partial_made(latency_s)
                self._note_text(event, some=bool(event.committed or event.pending))
            case UtteranceFinal():
                self._note_text(event, some=bool(event.segments))
                self._observer.final_made(event.cause, latency_s)
                self._onsets.pop(event.utterance, None)
            case UtteranceFailed():
                self._observer.utterance_failed()
                self._onsets.pop(event.utterance, None)

    def _note_text(self, event: Partial | UtteranceFinal, *, some: bool) -> None:
        if not some or event.utterance <= self._newest_with_text:
            return
        self._newest_with_text = event.utterance
        onset = self._onsets.get(event.utterance, event.start)
        self._observer.first_text_made(self._age_s(onset))
