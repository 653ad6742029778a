"""What a live stream tells whoever listens to it.

A stream is a sequence of utterances, numbered from 1. Each ends with exactly one
`UtteranceFinal`, or `UtteranceFailed` in its place, and these come in order and
without a gap. (If the client clears the audio of an open utterance, the next one
takes over its number.) Hypotheses of an utterance come only after the final of the
one before it; `SpeechStarted` does not wait, so that an agent can stop talking at
once.

Whoever asks for it is told early what an utterance says if it is over (`EagerEnd`).
Then it either is, and its final says the same to the character, or `SpeechResumed`
takes that back.

Positions are samples at 16 kHz since the stream began.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from text import ctc
from text.ctc import Token, Word
from text.transcript import Segment


class Cause(Enum):
    """Why an utterance ended."""

    ENDPOINT = "endpoint"  # silence
    FLUSH = "flush"  # the client asked for it
    END = "end"  # the stream ended
    STALLED = "stalled"  # the client sent nothing more in the middle of speech


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech was heard; it began at `position`."""

    utterance: int
    position: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance is over; its speech ended at `position`."""

    utterance: int
    position: int


@dataclass(frozen=True, slots=True)
class Partial:
    """What the utterance seems to say so far.

    Attributes:
        start: Position where its audio begins.
        position: Up to where audio was listened to.
        committed: Will not change before the final; only grows.
        pending: May change with the next partial.
        tokens: What spells the committed words; spaces between words, and perhaps one
            after the last, are among them.
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
        """What follows the committed text, with the space between the two."""
        text = ctc.text(self.pending)
        space = self.committed and self.pending and self.pending[0].space_before
        return " " + text if space else text


@dataclass(frozen=True, slots=True)
class UtteranceFinal:
    """What the utterance says, heard whole; replaces all hypotheses.

    Attributes:
        start: Position of the first sample that was heard for it.
        end: One past the last.
        cause: Why it ended.
        segments: What was said; empty if nothing was.
        position: Up to where audio had come when it was decided that it is over.
    """

    utterance: int
    start: int
    end: int
    cause: Cause
    segments: tuple[Segment, ...]
    position: int

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(token for segment in self.segments for token in segment.tokens)

    @property
    def text(self) -> str:
        return ctc.text(self.words)


@dataclass(frozen=True, slots=True)
class UtteranceFailed:
    """The utterance could not be transcribed; later ones may be.

    Attributes:
        start: Position of the first sample that belonged to it.
        end: One past the last.
        error: What the model raised.
        position: Up to where audio had come when it was decided that it is over.
    """

    utterance: int
    start: int
    end: int
    cause: Cause
    error: Exception
    position: int


@dataclass(frozen=True, slots=True)
class EagerEnd:
    """The utterance may be over; this is its final then.

    Attributes:
        start: Position of the first sample that was heard for it.
        end: One past the last.
        segments: What was said; never empty.
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
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return ctc.text(self.words)


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The utterance goes on, although its end was told early; known at `position`."""

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
    """Write the texts of utterances one after the other, as `text.ctc.text` would."""
    joined = ""
    for text in texts:
        if joined and text and ctc.pause_separates(joined, text):
            joined += " "
        joined += text
    return joined


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event and how late it is.

    Attributes:
        latency_ms: From the arrival of the newest audio that it speaks for; of a
            final, from the arrival of the audio that ended the utterance, or of the
            client's word.
        audio_position: Samples received so far.
    """

    event: LiveEvent
    latency_ms: float
    audio_position: int
