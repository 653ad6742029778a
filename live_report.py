"""Tell an observer how timely the events of one stream are."""

from collections.abc import Callable

from live_events import (
    Hypothesis,
    LiveEvent,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from observer import Observer


class LiveReport:
    """Told every event of a stream, in order.

    Args:
        observer: Told in turn.
        age_s: Tells how long ago the audio at a position came, in seconds.
    """

    def __init__(self, observer: Observer, *, age_s: Callable[[int], float]) -> None:
        self._observer = observer
        self._age_s = age_s
        self._onsets: dict[int, int] = {}  # of utterances that are not over
        self._newest_with_text = 0

    def add(self, event: LiveEvent, latency_s: float) -> None:
        """Take the next event, made so long after the audio that it speaks for."""
        match event:
            case SpeechStarted():
                self._onsets[event.utterance] = event.position
            case Hypothesis():
                self._observer.partial_made(latency_s)
                self._note_text(event, some=bool(event.committed or event.pending))
            case UtteranceFinal():
                self._note_text(event, some=bool(event.segments))
                self._observer.final_made(event.cause, latency_s)
                self._onsets.pop(event.utterance, None)
            case UtteranceFailed():
                self._observer.utterance_failed()
                self._onsets.pop(event.utterance, None)

    def _note_text(self, event: Hypothesis | UtteranceFinal, *, some: bool) -> None:
        if not some or event.utterance <= self._newest_with_text:
            return
        self._newest_with_text = event.utterance
        onset = self._onsets.get(event.utterance, event.start)
        self._observer.first_text_made(self._age_s(onset))
