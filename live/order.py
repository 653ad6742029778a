"""Keep the events of one stream's utterances in order.

Utterances get numbers when the client first learns of them. Each number gets one final
or one failure, and these come in order: an utterance that has ended waits for those
before it. Partials of the next one wait as well.

Knows which utterances have ended and which numbers are given. Does not know when or why
an utterance ends, nor which one is open.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque

from audio_buffer import AudioBuffer
from live.events import LiveEvent, UtteranceFailed, UtteranceFinal
from live.options import StreamOptions
from live.utterance import Request, Utterance


class Order:
    """Takes ended utterances; gives their outcomes in order, each once."""

    def __init__(self) -> None:
        self._ended: deque[Utterance] = deque()  # those whose outcome was not sent
        self._n_numbered = 0

    @property
    def all_told(self) -> bool:
        """Whether the outcomes of all ended utterances were sent; partials may come."""
        return not self._ended

    @property
    def n_waiting(self) -> int:
        """Samples that finals wait for."""
        return sum(utterance.n_waiting for utterance in self._ended)

    def number(self, utterance: Utterance) -> int:
        """Return an utterance's number; the next one, if it has none."""
        if utterance.number is None:
            self._n_numbered += 1
            utterance.number = self._n_numbered
        return utterance.number

    def forget(self, utterance: Utterance) -> None:
        """Let the next utterance take over the number of the newest, if it has one."""
        if utterance.number is not None:
            self._n_numbered -= 1

    def note_end(self, utterance: Utterance) -> None:
        """Take an utterance that has ended; its outcome comes after all others."""
        self.number(utterance)
        self._ended.append(utterance)

    def requests(
        self, audio: AudioBuffer, max_left_context: int | None
    ) -> list[Request]:
        """Return the windows that finals still need, the first utterance's first."""
        return [
            request
            for utterance in self._ended
            for request in utterance.take_requests(audio, max_left_context)
        ]

    def tell_early(
        self, utterance: Utterance | None, options: StreamOptions, position: int
    ) -> list[LiveEvent]:
        """Return the early final of the open utterance, if it is its turn.

        Args:
            utterance: The open utterance; None if there is none.
            options: They set the silence before an early final, if there are any.
            position: One past the newest audio.
        """
        silence = options.eager_silence
        if utterance is None or silence is None:
            return []
        if not (utterance.announced and self.all_told):
            return []
        end = utterance.end_early(silence, position)
        return [] if end is None else [end]

    def settle(self) -> list[UtteranceFinal | UtteranceFailed]:
        """Return the outcomes whose turn has come."""
        told = []
        while self._ended and self._ended[0].settled:
            told.append(self._ended.popleft().outcome())
        return told
