"""A stream that keeps its promises, and all that a Deepgram client is sent of it."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from hypothesis import strategies as st
from pydantic import BaseModel

from live.events import (
    Cause,
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    Configure,
    End,
    Flush,
    Machine,
    Send,
    Stop,
)
from tests.support.deepgram_types import validate
from text.ctc import Word
from text.transcript import Segment

Json = dict[str, Any]

AUDIO = (("encoding", "linear16"), ("sample_rate", "16000"))
REQUEST_ID = "6f1ed002-ab5d-4a52-9c1c-0f6d3c2b7c11"

# What a stream may do next.
Happening = Literal["cough", "word", "pause", "resume", "endpoint", "failure", "stall"]
HAPPENINGS: tuple[Happening, ...] = (
    "cough",
    "word",
    "word",
    "pause",
    "resume",
    "endpoint",
    "failure",
    "stall",
)
Step = Happening | str | bytes | Stop


def words(n: int, start: int = 0) -> tuple[Word, ...]:
    """A word every 0.2 s."""
    return tuple(
        Word(f"w{k}", start + 3200 * k, start + 3200 * k + 1600, 0.9, k > 0)
        for k in range(n)
    )


def segments(said: Sequence[Word]) -> tuple[Segment, ...]:
    return (Segment(tuple(said), (), -0.1, 0.0),) if said else ()


def final(
    utterance: int, said: Sequence[Word], cause: Cause, position: int
) -> UtteranceFinal:
    start = said[0].start if said else position
    end = said[-1].end if said else position
    return UtteranceFinal(utterance, start, end, cause, segments(said), position)


def sent(actions: Sequence[Action]) -> list[Json]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def tell(machine: Machine, event: LiveEvent, position: int = 0) -> list[Action]:
    return [*machine.tell(event, latency_ms=1.0, audio_position=position)]


class Conversation:
    """One session between a client that sends anything and a scripted stream.

    Attributes:
        messages: What the client was sent, in order.
        closes: How it ended.
        n_flushes: Asked of the stream.
        texts: Texts of the stream's finals.
    """

    def __init__(self, machine: Machine, types: dict[str, type[BaseModel]]) -> None:
        self.machine = machine
        self.types = types
        self.messages: list[Json] = []
        self.closes: list[Close] = []
        self.n_flushes = 0
        self.texts: list[str] = []
        self.eager_wanted = False
        self._ended = False
        self._utterance = 1
        self._start = 0
        self._said: tuple[Word, ...] = ()
        self._eager: tuple[Word, ...] | None = None
        self._position = 0
        self.do(machine.greet())

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert not self.closes, "nothing happens after the close"
            match action:
                case Send():
                    message = json.loads(action.text)
                    validate(message, self.types)
                    self.messages.append(message)
                case Append() | Flush() | Clear() | Configure():
                    assert not self._ended, "the stream is not asked after its end"
                case End():
                    assert not self._ended
                    self._ended = True
                case Close():
                    self.closes.append(action)
            if isinstance(action, Configure):
                self.eager_wanted = action.options.eager_silence is not None
            if isinstance(action, Append):
                self._position += len(action.audio) // 2
            if isinstance(action, Flush):
                self.n_flushes += 1
                self._end(Cause.FLUSH)

    def take(self, step: Step) -> None:
        """Let something happen."""
        if self.closes:
            return
        if isinstance(step, Stop):
            self.do(self.machine.stop(step))
        elif step in HAPPENINGS:
            self._happen(step)
        elif isinstance(step, str | bytes):
            self.do(self.machine.receive(step))

    def finish(self) -> None:
        """Let the client end it, if it has not ended."""
        if not self._ended and not self.closes:
            self.do(self.machine.receive('{"type": "CloseStream"}'))
        if self.closes:
            return
        if self._said:
            self._end(Cause.END)
        self.do(self.machine.finish(latency_ms=0, audio_position=self._position))

    def _happen(self, step: str) -> None:
        self._position += 1600
        number, position = self._utterance, self._position
        match step:
            case "cough":
                self._tell(SpeechStarted(number, position))
            case "word":
                if self._eager is None:
                    self._said = words(len(self._said) + 1, self._start)
                committed, pending = self._said[:-1], self._said[-1:]
                self._tell(Partial(number, self._start, position, committed, pending))
            case "pause":
                if self._said and self._eager is None and self.eager_wanted:
                    self._eager = self._said
                    end = self._said[-1].end
                    told = segments(self._said)
                    self._tell(EagerEnd(number, self._start, end, told))
            case "resume":
                if self._eager is not None:
                    self._eager = None
                    self._tell(SpeechResumed(number, position))
            case "endpoint":
                self._tell(SpeechEnded(number, position))
                self._end(Cause.ENDPOINT)
            case "stall":
                self._end(Cause.STALLED)
            case "failure":
                failed = UtteranceFailed(
                    number, self._start, position, Cause.ENDPOINT, OSError(), position
                )
                self._next()
                self._tell(failed)

    def _end(self, cause: Cause) -> None:
        told = final(self._utterance, self._said, cause, self._position)
        self.texts.append(told.text)
        self._next()
        self._tell(told)

    def _next(self) -> None:
        self._utterance += 1
        self._said, self._eager = (), None
        self._start = self._position

    def _tell(self, event: LiveEvent) -> None:
        self.do(tell(self.machine, event, self._position))


def messages(kinds: Sequence[str]) -> st.SearchStrategy[str]:
    """What a client may send as text: sense and nonsense."""
    anything = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
    return st.one_of(
        st.sampled_from(kinds).map(lambda kind: json.dumps({"type": kind})),
        st.fixed_dictionaries(
            {"type": st.sampled_from([*kinds, "Configure", "Other"])},
            optional={
                "keyterms": st.lists(st.text()) | anything,
                "language_hints": st.lists(st.text()) | anything,
                "thresholds": anything
                | st.dictionaries(
                    st.sampled_from(
                        ["eot_threshold", "eager_eot_threshold", "eot_timeout_ms"]
                    ),
                    st.floats(0.3, 1.0) | st.integers() | anything,
                ),
                "nonsense": anything,
            },
        ).map(json.dumps),
        anything.map(json.dumps),
        st.text(max_size=20),
    )


def steps(kinds: Sequence[str]) -> st.SearchStrategy[list[Step]]:
    """Anything that may happen, in any order."""
    return st.lists(
        st.one_of(
            st.sampled_from(HAPPENINGS),
            st.sampled_from(HAPPENINGS),
            st.sampled_from([json.dumps({"type": kind}) for kind in kinds]),
            messages(kinds),
            st.binary(max_size=6),
            st.sampled_from([*Stop]),
        ),
        max_size=40,
    )
