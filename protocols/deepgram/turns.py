"""Turn the events of a stream's utterances into Flux's turns.

An utterance with words is a turn. The messages about a turn have this order: its start,
with a word; updates; its eager end; then either the end, with the same text, which is
never empty, or the message that takes the eager end back.

Knows what the client was told. Does not know the format of messages.

Pure: no I/O, clock, settings or threads.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from live.events import (
    Cause,
    EagerEnd,
    Partial,
    UtteranceFailed,
    UtteranceFinal,
)
from protocols.deepgram.thresholds import Thresholds, confidence_after
from text.ctc import Word

Kind = Literal["StartOfTurn", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]


@dataclass(frozen=True, slots=True)
class Said:
    """The text of a turn so far; positions in the stream."""

    text: str
    words: tuple[Word, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Told:
    """A message about a turn.

    Attributes:
        index: Number of the turn, from 0.
        confidence: Confidence that the turn is over.
        trigger: What has ended it; None unless it has ended.
    """

    kind: Kind
    index: int
    said: Said
    confidence: float = 0.0
    trigger: str | None = None


class Turns:
    """Takes events of one stream; gives messages about its turns."""

    def __init__(self) -> None:
        self._open: Said | None = None
        # The eager end that was sent and not taken back.
        self._eager: Said | None = None
        self._n_ended = 0

    def extend(self, event: Partial) -> list[Told]:
        """Take a partial."""
        said = Said(
            event.committed_text + event.pending_text,
            (*event.committed, *event.pending),
            event.start,
            event.position,
        )
        if not said.words:
            return []
        if self._open is None:
            return self._start(said)
        self._open = said
        return [] if self._eager is not None else [self._told("Update", said)]

    def end_early(self, event: EagerEnd, thresholds: Thresholds) -> list[Told]:
        """Take the early final of an utterance."""
        threshold = thresholds.eager_eot_threshold
        if threshold is None or self._eager is not None:
            return []  # the client has changed its mind
        said = Said(event.text, event.words, event.start, event.end)
        start = self._start(said)
        self._open = self._eager = said
        return [*start, self._told("EagerEndOfTurn", said, confidence=threshold)]

    def resume(self) -> list[Told]:
        """Take the end back, with no fewer words than it had."""
        eager, self._eager = self._eager, None
        if eager is None or self._open is None:
            return []
        if len(self._open.words) < len(eager.words):
            self._open = eager
        return [self._told("TurnResumed", self._open)]

    def end(
        self, event: UtteranceFinal | UtteranceFailed, thresholds: Thresholds
    ) -> list[Told]:
        """End the turn with its final text; after a failure, with the text so far."""
        said: Said | None = None
        if isinstance(event, UtteranceFinal) and event.segments:
            said = Said(event.text, event.words, event.start, event.end)
        said = said or self._eager or self._open
        if said is None:
            return []
        start = self._start(said)
        trigger, confidence = _why(event, said, thresholds)
        end = self._told("EndOfTurn", said, confidence=confidence, trigger=trigger)
        self._open = self._eager = None
        self._n_ended += 1
        return [*start, end]

    def _start(self, said: Said) -> list[Told]:
        """Start a turn, unless one has started."""
        if self._open is not None:
            return []
        self._open = said
        return [self._told("StartOfTurn", said)]

    def _told(
        self,
        kind: Kind,
        said: Said,
        *,
        confidence: float = 0.0,
        trigger: str | None = None,
    ) -> Told:
        return Told(kind, self._n_ended, said, confidence, trigger)


def _why(
    event: UtteranceFinal | UtteranceFailed, said: Said, thresholds: Thresholds
) -> tuple[str, float]:
    """Return what has ended a turn, and the confidence that it is over."""
    silence = max(0, event.position - said.words[-1].end)
    match event.cause:
        case Cause.ENDPOINT if not thresholds.ends_by_timeout:
            return "model", thresholds.eot_threshold
        case Cause.ENDPOINT | Cause.STALLED:
            return "timeout", 1.0
        case Cause.FLUSH:
            return "manual", confidence_after(silence)
        case Cause.END:
            return "end", confidence_after(silence)
        case _:
            assert_never(event.cause)
