"""Write the messages about the events of a stream, and those about all of it.

No I/O, no clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from audio.samples import seconds
from live.events import (
    Cause,
    Partial,
    SpeechEnded,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
    join_texts,
)
from protocols.native import messages as wire

_CAUSES: dict[Cause, wire.CauseName] = {
    Cause.ENDPOINT: "endpoint",
    Cause.FLUSH: "flush",
    Cause.END: "end",
    Cause.STALLED: "stalled",
}


@dataclass(frozen=True, slots=True)
class Times:
    """The fields of every message about audio."""

    latency_ms: float
    audio_duration: float
    channel: int | None  # from 1; None if there is only one


class Telling:
    """Writes the messages of one session, and keeps the texts of its finals.

    Args:
        language_of: Returns the fields about the language of a text.

    Attributes:
        n_words: Words in the finals so far.
    """

    def __init__(self, language_of: Callable[[str], dict[str, Any]]) -> None:
        self._language_of = language_of
        self._texts: list[tuple[int, str]] = []  # finals, with their starts
        self._n_utterances: dict[int | None, int] = {}  # of each channel
        self.n_words = 0

    def mark(
        self, event: SpeechStarted | SpeechEnded, times: Times
    ) -> wire.SpeechStarted | wire.SpeechEnded:
        """Write that speech began or ended."""
        started = isinstance(event, SpeechStarted)
        kind = wire.SpeechStarted if started else wire.SpeechEnded
        return kind(
            channel=times.channel,
            utterance=event.utterance,
            audio_position=seconds(event.position),
            audio_duration=times.audio_duration,
            latency_ms=times.latency_ms,
        )

    def partial(
        self, event: Partial, times: Times, *, with_words: bool
    ) -> wire.Transcript:
        """Write a partial."""
        words = None
        if with_words:
            words = (
                *wire.word_times(event.committed, confirmed=True),
                *wire.word_times(event.pending, confirmed=False),
            )
        return wire.Transcript(
            channel=times.channel,
            utterance=event.utterance,
            text=event.committed_text + event.pending_text,
            confirmed_text=event.committed_text,
            pending_text=event.pending_text,
            start=seconds(event.start),
            audio_position=seconds(event.position),
            words=words,
            audio_duration=times.audio_duration,
            latency_ms=times.latency_ms,
        )

    def final(
        self, event: UtteranceFinal, times: Times, *, with_words: bool
    ) -> wire.Transcript:
        """Write a final."""
        self._n_utterances[times.channel] = event.utterance
        self._texts.append((event.start, event.text))
        self.n_words += len(event.words)
        words = wire.word_times(event.words, confirmed=True)
        return wire.Transcript(
            channel=times.channel,
            utterance=event.utterance,
            text=event.text,
            confirmed_text=event.text,
            pending_text="",
            utterance_final=True,
            cause=_CAUSES[event.cause],
            **self._language_of(event.text),
            raw=event.raw,
            start=seconds(event.start),
            audio_position=seconds(event.end),
            words=words if with_words else None,
            audio_duration=times.audio_duration,
            latency_ms=times.latency_ms,
        )

    def failure(
        self, event: UtteranceFailed, times: Times, *, message: str
    ) -> wire.Error:
        """Write that an utterance has no final."""
        self._n_utterances[times.channel] = event.utterance
        return wire.Error(
            code="utterance_failed",
            message=message,
            fatal=False,
            channel=times.channel,
            utterance=event.utterance,
            utterance_final=True,
        )

    def whole(self, *, latency_ms: float, audio_position: int) -> wire.Transcript:
        """Write the text of the whole session."""
        # Finals of several channels come in any order.
        in_order = sorted(self._texts, key=lambda final: final[0])
        text = join_texts([final for _, final in in_order])
        return wire.Transcript(
            utterance=sum(self._n_utterances.values()),
            text=text,
            confirmed_text=text,
            pending_text="",
            is_final=True,
            **self._language_of(text),
            start=0.0,
            audio_position=seconds(audio_position),
            audio_duration=seconds(audio_position),
            latency_ms=round(latency_ms, 1),
        )
