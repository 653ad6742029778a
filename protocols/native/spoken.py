"""Write the messages of the native protocol about what is said.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from audio.samples import seconds
from languages.detection import detect
from languages.hints import Hints
from live.events import (
    Cause,
    Partial,
    SpeechEnded,
    SpeechStarted,
    UtteranceFinal,
    join_texts,
)
from protocols.native import messages as wire
from schemas import probability

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


@dataclass(frozen=True, slots=True)
class Naming:
    """How the language of a text is found; see `languages.detection.detect`."""

    hints: Hints
    default: str | None

    def fields_of(self, text: str) -> dict[str, Any]:
        """Return the fields of a final that say its language and script."""
        found = detect(text, self.hints, default=self.default)
        return {
            "language": found.tag,
            "language_probability": probability(found),
            "script": found.script,
        }


def mark(
    event: SpeechStarted | SpeechEnded, times: Times
) -> wire.SpeechStarted | wire.SpeechEnded:
    """Write that speech started or ended."""
    started = isinstance(event, SpeechStarted)
    kind = wire.SpeechStarted if started else wire.SpeechEnded
    return kind(
        channel=times.channel,
        utterance=event.utterance,
        audio_position=seconds(event.position),
        audio_duration=times.audio_duration,
        latency_ms=times.latency_ms,
    )


def partial(event: Partial, times: Times, *, with_words: bool) -> wire.Transcript:
    """Write the text of an utterance so far."""
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
    event: UtteranceFinal, times: Times, naming: Naming, *, with_words: bool
) -> wire.Transcript:
    """Write the final of an utterance."""
    words = wire.word_times(event.words, confirmed=True) if with_words else None
    return wire.Transcript(
        channel=times.channel,
        utterance=event.utterance,
        text=event.text,
        confirmed_text=event.text,
        pending_text="",
        utterance_final=True,
        cause=_CAUSES[event.cause],
        **naming.fields_of(event.text),
        raw=event.raw,
        start=seconds(event.start),
        audio_position=seconds(event.end),
        words=words,
        audio_duration=times.audio_duration,
        latency_ms=times.latency_ms,
    )


def whole_session(
    finals: Iterable[tuple[int, str]],
    times: Times,
    naming: Naming,
    *,
    n_utterances: int,
) -> wire.Transcript:
    """Write the last message of a session.

    Args:
        finals: Where each final starts, and its text; those of several channels come
            in any order.
    """
    in_order = sorted(finals, key=lambda own: own[0])
    text = join_texts([own for _, own in in_order])
    return wire.Transcript(
        utterance=n_utterances,
        text=text,
        confirmed_text=text,
        pending_text="",
        is_final=True,
        **naming.fields_of(text),
        start=0.0,
        audio_position=times.audio_duration,
        audio_duration=times.audio_duration,
        latency_ms=times.latency_ms,
    )
