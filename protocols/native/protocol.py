"""Speak the native streaming protocol; `docs/protocol.md` specifies it.

It takes messages of the client, and returns actions on the stream and messages for the
client. It takes events of the stream, and returns more messages. `sockets/session.py`
carries all this out in order. These rules hold for any input:

- Every message but the first has `text` and `is_final`.
- Each utterance of the stream has one last message: its final, or an error.
- Once the client or the server ends the input, there is one message with `is_final`,
  whose text is that of all finals; then the socket is closed.
- A mistake of the client is answered with an error and changes nothing.

No I/O, no clock, no asyncio: ids come from outside, times from the stream.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from audio.container import file_kind
from audio.samples import seconds
from live.events import (
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from live.options import StreamOptions
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    CloseCode,
    End,
    Failure,
    Flush,
    Send,
    Stop,
    Teller,
)
from protocols.native import messages as wire
from protocols.native import spoken
from protocols.native.query import NAMES, Query
from protocols.native.setup import Defaults, Setup
from protocols.native.spoken import Naming, Times
from protocols.resumption import Received
from protocols.warnings import parameters_ignored
from schemas import UNKNOWN_TEXT

# Configuration and control are short, except for keywords; only audio is long.
MAX_MESSAGE_CHARS = 64 * 1024

_STOP_TEXTS: Mapping[Stop, str] = {
    Stop.IDLE: (
        "No message came for the longest idle time. Send audio or "
        '{"type": "keepalive"}.'
    ),
    Stop.TOO_LONG: (
        "The session has reached the longest time allowed. Open another to go on."
    ),
}

_FAILURES: Mapping[Failure, tuple[wire.ErrorCode, str, int]] = {
    Failure.SLOW_READER: (
        "slow_reader",
        "Too many finals are unread. Read while you send.",
        CloseCode.POLICY_VIOLATION,
    ),
    Failure.INTERNAL: ("internal_error", UNKNOWN_TEXT, CloseCode.INTERNAL_ERROR),
}


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a session is kept for a client whose connection is lost.

    Attributes:
        token: Names the session.
        window_s: The time, in seconds.
    """

    token: str = field(repr=False)
    window_s: float


@dataclass(frozen=True, slots=True)
class _ChannelTeller:
    """Tells of the events of one of several channels."""

    protocol: "LiveProtocol"
    channel: int

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> list[Action]:
        return self.protocol.tell(
            event,
            latency_ms=latency_ms,
            audio_position=audio_position,
            channel=self.channel,
        )


class LiveProtocol:
    """One session, from `ready` to its close.

    Args:
        session_id: Its id in `ready` and in the log.
        defaults: Its options before the client sends `config`.
        explain: Returns the public text of an exception.
        query: What its URL sets.
        keeping: How the session may be resumed; None if it may not.

    Attributes:
        n_words: Words in the finals so far.

    Raises:
        BadMessage: The URL restricts the text to a language that is unknown.
    """

    def __init__(
        self,
        *,
        session_id: str,
        defaults: Defaults,
        explain: Callable[[Exception], str],
        query: Query | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        query = query or Query()
        self._keeping = keeping
        self._wants_older = query.resume is not None
        ignored = parameters_ignored(query.ignored, known=NAMES)
        self._id = session_id
        self._n_channels = query.n_channels
        self._defaults = replace(defaults, warnings=(*defaults.warnings, *ignored))
        self._explain = explain
        self._wanted = dict(query.wanted)
        self._setup = Setup.of(self._wanted, self._defaults)
        self._heard = False  # any audio
        self._refused = False  # what should have been audio
        self._texts: list[tuple[int, str]] = []  # finals, with their starts
        self._n_utterances: dict[int | None, int] = {}  # of each channel
        self._stop: Stop | None = None
        self._ended = False
        self.n_words = 0

    @property
    def options(self) -> StreamOptions:
        """Options of the stream."""
        return self._setup.options

    @property
    def tellers(self) -> tuple[Teller, ...]:
        """Those who tell of each channel's events; none if there is one channel."""
        if self._n_channels == 1:
            return ()
        return tuple(_ChannelTeller(self, n) for n in range(self._n_channels))

    # --- from the client ---

    def greet(self) -> list[Action]:
        """Return the first actions of the session."""
        resumed = False if self._wants_older else None
        return [self._setup.configure, _send(self._ready(resumed, None))]

    def greet_again(self, received: Received) -> Send:
        """Return the first message to a client that goes on with the session."""
        return _send(self._ready(True, received))

    def _ready(self, resumed: bool | None, received: Received | None) -> wire.Ready:
        keeping: dict[str, Any] = {}
        if (own := self._keeping) is not None:
            keeping = {"resume_token": own.token, "resume_s": own.window_s}
        if received is not None:
            keeping["received_messages"] = received.n_messages
            keeping["received_bytes"] = received.audio_bytes
        return wire.Ready(
            id=self._id,
            model=self._defaults.model,
            channels=self._n_channels,
            resumed=resumed,
            **keeping,
            **self._setup.in_effect(),
        )

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a message of the client, text or audio."""
        if self._stop is not None or self._refused:  # it cannot know yet
            return []
        try:
            if self._ended:
                raise wire.BadMessage(
                    "The input has ended; nothing more is taken.", code="input_ended"
                )
            if isinstance(message, bytes):
                return self._append(message) if message else []
            return self._obey(message)
        except wire.BadMessage as error:
            mistake = wire.Error(code=error.code, message=str(error), fatal=False)
            return [_send(mistake)]

    def stop(self, why: Stop) -> list[Action]:
        """End the session instead of the client; the finals still come."""
        if self._stop is not None or self._ended:
            return []
        self._stop = why
        if why is Stop.SHUTDOWN:
            return [End()]
        code: wire.ErrorCode = (
            "idle_timeout" if why is Stop.IDLE else "session_too_long"
        )
        error = wire.Error(code=code, message=_STOP_TEXTS[why], fatal=True)
        return [_send(error), End()]

    def fail(self, why: Failure) -> list[Action]:
        """End the session after a failure."""
        code, message, close = _FAILURES[why]
        return farewell(code, message, close=close)

    def _append(self, audio: bytes) -> list[Action]:
        kind = None if self._heard else file_kind(audio)
        self._heard = True
        if kind is None:
            return [Append(audio)]
        self._refused = True
        return _refuse_file(kind, self._setup)

    def _obey(self, text: str) -> list[Action]:
        if len(text) > MAX_MESSAGE_CHARS:
            raise wire.BadMessage(
                f"The message is longer than {MAX_MESSAGE_CHARS} characters. Audio is "
                "sent in binary frames.",
                code="message_too_long",
            )
        message = wire.parse(text)
        match message:
            case wire.Config():
                return self._configure(message)
            case wire.Flush():
                return [Flush()]
            case wire.Clear():
                return [Clear()]
            case wire.Keepalive():
                return []
            case wire.End():
                self._ended = True
                return [End()]
            case _:
                assert_never(message)

    def _configure(self, message: wire.Config) -> list[Action]:
        changes = message.model_dump(exclude_unset=True, exclude={"type"})
        wanted = {**self._wanted, **changes}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        self._setup = Setup.of(wanted, self._defaults)
        self._wanted = wanted
        configured = wire.Configured(
            channels=self._n_channels, **self._setup.in_effect()
        )
        return [self._setup.configure, _send(configured)]

    # --- from the stream ---

    def tell(
        self,
        event: LiveEvent,
        *,
        latency_ms: float,
        audio_position: int,
        channel: int | None = None,
    ) -> list[Action]:
        """Take an event of the stream.

        Args:
            latency_ms: Milliseconds since the newest audio that it covers arrived.
            audio_position: Samples received so far.
            channel: Number of its channel, from 0, if there are several.
        """
        number = None if channel is None else channel + 1
        times = Times(round(latency_ms, 1), seconds(audio_position), number)
        with_words = self._setup.words
        match event:
            case SpeechStarted() | SpeechEnded():
                return [_send(spoken.mark(event, times))] if self._setup.events else []
            case Partial():
                if not self._setup.interim:
                    return []
                partial = spoken.partial(event, times, with_words=with_words)
                return [_send(partial, droppable=True)]
            case UtteranceFinal():
                self._n_utterances[number] = event.utterance
                self._texts.append((event.start, event.text))
                self.n_words += len(event.words)
                final = spoken.final(event, times, self._naming, with_words=with_words)
                return [_send(final)]
            case UtteranceFailed():
                return [_send(self._failure(event, times))]
            case EagerEnd() | SpeechResumed():
                return []  # this protocol does not ask for these
            case _:
                assert_never(event)

    def finish(self, *, latency_ms: float, audio_position: int) -> list[Action]:
        """Send the text of the whole session, after the last event of the stream."""
        whole = spoken.whole_session(
            self._texts,
            Times(round(latency_ms, 1), seconds(audio_position), None),
            self._naming,
            n_utterances=sum(self._n_utterances.values()),
        )
        if self._stop is None:
            return [_send(whole), Close(CloseCode.NORMAL_CLOSURE)]
        shutdown = self._stop is Stop.SHUTDOWN
        code = CloseCode.GOING_AWAY if shutdown else CloseCode.POLICY_VIOLATION
        return [_send(whole), Close(code, self._stop.value)]

    def _failure(self, event: UtteranceFailed, times: Times) -> wire.Error:
        self._n_utterances[times.channel] = event.utterance
        return wire.Error(
            code="utterance_failed",
            message=self._explain(event.error),
            fatal=False,
            channel=times.channel,
            utterance=event.utterance,
            utterance_final=True,
        )

    @property
    def _naming(self) -> Naming:
        return Naming(self._setup.hints, self._defaults.language)


def _refuse_file(kind: str, setup: Setup) -> list[Action]:
    return farewell(
        "not_raw_audio",
        f"The audio begins like a file ({kind}). This socket takes raw samples "
        f"({setup.encoding.value}, {setup.sample_rate} Hz; `config` or the URL may set "
        "others), and would hear the file as noise. Decode it first, or send the whole "
        "file to POST /v1/audio/transcriptions.",
        close=CloseCode.POLICY_VIOLATION,
    )


def farewell(
    code: wire.ErrorCode,
    message: str,
    *,
    close: int,
    retry_after_s: int | None = None,
    streams: int | None = None,
) -> list[Action]:
    """Refuse a session, or end one after a failure."""
    error = wire.Error(
        code=code,
        message=message,
        fatal=True,
        retry_after_s=retry_after_s,
        streams=streams,
    )
    return [_send(error), Close(close, code)]


def _send(
    message: wire.Ready
    | wire.Configured
    | wire.Transcript
    | wire.SpeechStarted
    | wire.SpeechEnded
    | wire.Error,
    *,
    droppable: bool = False,
) -> Send:
    return Send(message.model_dump_json(exclude_none=True), droppable)
