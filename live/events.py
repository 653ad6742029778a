"""The events of a live stream.

A stream is a sequence of utterances, numbered from 1. Each ends with exactly one
`UtteranceFinal`, or with `UtteranceFailed` instead, and these come in order and without
a gap. (If the client clears the audio of an open utterance, the next one takes over its
number.) Partials of an utterance come only after the final of the utterance before it;
`SpeechStarted` does not wait, so that an agent can stop talking at once.

A client can ask for an early final when an utterance may be over (`EagerEnd`). Then
either the utterance is over, and its final has the same text to the character, or
`SpeechResumed` takes the early final back.

Positions are samples at 16 kHz since the stream began.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from text import ctc
from text.ctc import Token, Word
from text.transcript import Segment, raw_of, words_of


class Cause(Enum):
    """Why an utterance ended."""

    ENDPOINT = "endpoint"  # silence
    FLUSH = "flush"  # the client asked for its final
    END = "end"  # the stream ended
    STALLED = "stalled"  # the client sent nothing more in the middle of speech


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at `position`."""

    utterance: int
    position: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance is over; its speech ended at `position`."""

    utterance: int
    position: int


@dataclass(frozen=True, slots=True)
class Partial:
    """The text of the open utterance so far.

    Attributes:
        start: Position where its audio begins.
        position: One past the audio that the model has heard.
        committed: Words that do not change before the final; they only grow.
        pending: Words that may change with the next partial.
        tokens: The tokens of the committed words, with the spaces between them and
            perhaps one after the last.
    """

    utterance: int
    start: int
    position: int
    committed: tuple[Word, ...]
    pending: tuple[Word, ...]
    tokens: tuple[Token, ...] = ()

    @property
    def committed_text(self) -> str:
        return ctc.text(self.committed)

    @property
    def pending_text(self) -> str:
        """The text after the committed text, with the space between the two."""
        text = ctc.text(self.pending)
        space = self.committed and self.pending and self.pending[0].space_before
        return " " + text if space else text


@dataclass(frozen=True, slots=True)
class UtteranceFinal:
    """The text of the whole utterance; replaces all partials.

    Attributes:
        start: Position of the first sample that was transcribed.
        end: One past the last such sample.
        cause: Why it ended.
        segments: Its words; empty if there are none.
        position: One past the newest audio when its end was decided.
    """

    utterance: int
    start: int
    end: int
    cause: Cause
    segments: tuple[Segment, ...]
    position: int

    @property
    def words(self) -> tuple[Word, ...]:
        return words_of(self.segments)

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(token for segment in self.segments for token in segment.tokens)

    @property
    def text(self) -> str:
        return ctc.text(self.words)

    @property
    def raw(self) -> str | None:
        """The text as the model wrote it, if the words are a written form of it."""
        return raw_of(self.segments)


@dataclass(frozen=True, slots=True)
class UtteranceFailed:
    """The utterance could not be transcribed; later ones may be.

    Attributes:
        start: Position of its first sample.
        end: One past its last sample.
        error: The model's error.
        position: One past the newest audio when its end was decided.
    """

    utterance: int
    start: int
    end: int
    cause: Cause
    error: Exception
    position: int


@dataclass(frozen=True, slots=True)
class EagerEnd:
    """The utterance may be over; this would be its final.

    Attributes:
        start: Position of the first sample that was transcribed.
        end: One past the last such sample.
        segments: Its words; never empty.
    """

    utterance: int
    start: int
    end: int
    segments: tuple[Segment, ...]

    @property
    def position(self) -> int:
        return self.end

    @property
    def words(self) -> tuple[Word, ...]:
        return words_of(self.segments)

    @property
    def text(self) -> str:
        return ctc.text(self.words)


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The utterance goes on after an `EagerEnd`; known at `position`."""

    utterance: int
    position: int


LiveEvent = (
    SpeechStarted
    | SpeechEnded
    | Partial
    | EagerEnd
    | SpeechResumed
    | UtteranceFinal
    | UtteranceFailed
)


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts of utterances, as `text.ctc.text` would."""
    joined = ""
    for text in texts:
        if joined and text and ctc.pause_separates(joined, text):
            joined += " "
        joined += text
    return joined


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event and its latency.

    Attributes:
        latency_ms: Milliseconds since the arrival of the newest audio that the event
            covers; for a final, since the arrival of the audio, or of the client's
            request, that ended the utterance.
        audio_position: Samples received so far.
        channel: Number of its channel, from 0, where one client has several.
    """

    event: LiveEvent
    latency_ms: float
    audio_position: int
    channel: int = 0
