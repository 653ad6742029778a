"""Say in which order the utterances of one live stream are told.

Utterances are numbered as they become known. Each number gets one final, or word of
its failure, and these come in order: an utterance that has ended waits for those before
it. Hypotheses of the next one wait as well.

Knows which utterances have ended and which numbers are given. Does not know when or why
an utterance ends, nor what is open.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque

from audio_buffer import AudioBuffer
from live.events import LiveEvent, UtteranceFailed, UtteranceFinal
from live.options import StreamOptions
from live.utterance import Request, Utterance


class Order:
    """Utterances that have ended in, their outcomes out, in order and once each."""

    def __init__(self) -> None:
        self._ended: deque[Utterance] = deque()  # whose outcome was not told
        self._n_numbered = 0

    @property
    def all_told(self) -> bool:
        """Whether every utterance that has ended was told; hypotheses may come."""
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
        """Tell the outcome of an utterance that has ended after all others."""
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
        """Return that the open utterance may be over, if it is its turn.

        Args:
            utterance: The open one; None if there is none.
            options: Say after how much silence, if at all.
            position: Up to where it has come.
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
